// Matrix products where one product of bf16 is exact enough, as for text encoders. Activations of
// one level are kept as bf16 instead of int8, and weights become bf16 as they are read. Sums are
// f32. Activations of two levels meet quantised weights as in the amx tier.

namespace cactus::CACTUS_TIER {

constexpr int kFewRows = CACTUS_FEW_ROWS, kCallRows = CACTUS_CALL_ROWS, kOwnRows = 128;
static_assert(kCallRows == kSplitRows);

template <int L>
constexpr int kPanelBytes = L == 1 ? kRowBytes : amx_bf16_exact::kPanelBytes<L>;

// The tile registers: sums of two panels with two tiles of weights, panels, and weights.
constexpr int kSums = 0, kPanels = 4, kWeights = 6;

using amx_bf16_exact::begin, amx_bf16_exact::linear_q4, amx_bf16_exact::linear_q4_0,
    amx_bf16_exact::linear_q4_nl, amx_bf16_exact::linear_q4_64, amx_bf16_exact::linear_q8,
    amx_bf16_exact::linear_q8_64;

static void quantize_row(const float* x, int width, int group, const PanelRow* out) {
  if (out->levels == 1) return split_row(x, width, out);
  amx_bf16_exact::quantize_row(x, width, group, out);
}

static float panel_value(const PanelRow* at, int group, int column) {
  if (at->levels != 1) return amx_bf16_exact::panel_value(at, group, column);
  const uint8_t* row = at->panel + static_cast<size_t>(column / kGroup) * kPanelUnit +
                       static_cast<size_t>(at->row) * kRowBytes;
  return bf16_value(reinterpret_cast<const uint16_t*>(row) + column % kGroup);
}

// Quantised weights: of each of 16 rows four codes side by side, of which those bits count that are
// set in `mask`, and up to three bytes higher. A code is not shifted to where it begins: its scale
// is as much smaller.
struct Scales {
  F32x16 of[4];
  F32x16 minimum;
  Scales(F32x16 scale, F32x16 least) : of{scale}, minimum(least) {
    for (int n = 1; n < 4; n++) of[n] = mul(of[n - 1], set1(0x1p-8f));
  }
  inline void store(U8x64 codes, uint32_t mask, uint16_t (*to)[2 * kTileRows]) const {
    const auto value = [&](int n) {
      return fma(unsigned_to_f32(and_bits(codes, mask << 8 * n)), of[n], minimum);
    };
    store_bf16(to[0], to_pairs(value(0), value(1)));
    store_bf16(to[1], to_pairs(value(2), value(3)));
  }
};

// In groups of N * 32 columns, whose scales and minima lie behind their codes.
template <int N, int ColumnBytes, int FactorBytes>
struct GroupsOfCodes {
  static constexpr int kCodes = N * kGroup * ColumnBytes, kBlock = kCodes + FactorBytes;
  static size_t bytes(int cols) { return static_cast<size_t>(cols / (N * kGroup)) * kBlock; }
  static size_t offset(int column) {
    const int group = column / (N * kGroup);
    return static_cast<size_t>(group * kBlock + column % (N * kGroup) * ColumnBytes);
  }
  static const uint16_t* factors(const uint8_t* tile, int column) {
    const uint8_t* block = tile + static_cast<size_t>(column / (N * kGroup)) * kBlock;
    return reinterpret_cast<const uint16_t*>(block + kCodes);
  }
};

template <int N>
struct Q8Pairs : GroupsOfCodes<N, kTileRows, 32> {
  static inline void read(const uint8_t* tile, int, int column, ptrdiff_t ahead,
                          uint16_t (*to)[2 * kTileRows]) {
    const uint8_t* codes = tile + Q8Pairs::offset(column);
    prefetch_far(codes + ahead);
    prefetch_far(codes + ahead + 64);
    const F32x16 scale = load_f16(Q8Pairs::factors(tile, column));
    const Scales scales(scale, mul(scale, set1(-128.0f)));
    scales.store(load_codes(codes), 255, to);
    scales.store(load_codes(codes + 64), 255, to + 2);
  }
};

// Of 4 bits that stand for such bytes.
struct Q4NlPairs : GroupsOfCodes<1, kTileRows / 2, 32> {
  static inline void read(const uint8_t* tile, int, int column, ptrdiff_t ahead,
                          uint16_t (*to)[2 * kTileRows]) {
    const uint8_t* at = tile + offset(column);
    prefetch_far(at + ahead);
    const F32x16 scale = load_f16(factors(tile, column));
    const Scales scales(scale, mul(scale, set1(-128.0f)));
    const U8x64 codes = load_codes(at);
    scales.store(look_up(low_nibbles(codes)), 255, to);
    scales.store(look_up(high_nibbles(codes)), 255, to + 2);
  }
};

// The same of 4 bits, with minima or symmetric around code 8.
template <int N, bool Symmetric>
struct Q4Pairs : GroupsOfCodes<N, kTileRows / 2, Symmetric ? 32 : 64> {
  static inline void read(const uint8_t* tile, int, int column, ptrdiff_t ahead,
                          uint16_t (*to)[2 * kTileRows]) {
    const uint8_t* at = tile + Q4Pairs::offset(column);
    prefetch_far(at + ahead);
    const uint16_t* factors = Q4Pairs::factors(tile, column);
    const F32x16 scale = load_f16(factors);
    const F32x16 least = Symmetric ? mul(scale, set1(-8.0f)) : load_f16(factors + 16);
    const U8x64 codes = load_codes(at);
    Scales(scale, least).store(codes, 15, to);
    Scales(mul(scale, set1(0x1p-4f)), least).store(codes, 15 << 4, to + 2);
  }
};

// Tiles of sums of P panels with T tiles of weights, and where they lie.
template <int P, int T>
struct Sums {
  static inline void load(const float* from, size_t panel_floats, size_t stride) {
    tile_load<kSums>(from, stride);
    if constexpr (T == 2) tile_load<kSums + 1>(from + kTileRows, stride);
    if constexpr (P == 2) tile_load<kSums + 2>(from + panel_floats, stride);
    if constexpr (P == 2 && T == 2) {
      tile_load<kSums + 3>(from + panel_floats + kTileRows, stride);
    }
  }
  static inline void store(float* to, size_t panel_floats, size_t stride) {
    tile_store<kSums>(to, stride);
    if constexpr (T == 2) tile_store<kSums + 1>(to + kTileRows, stride);
    if constexpr (P == 2) tile_store<kSums + 2>(to + panel_floats, stride);
    if constexpr (P == 2 && T == 2) tile_store<kSums + 3>(to + panel_floats + kTileRows, stride);
  }
  static inline void clear() {
    tile_zero<kSums>();
    if constexpr (T == 2) tile_zero<kSums + 1>();
    if constexpr (P == 2) tile_zero<kSums + 2>();
    if constexpr (P == 2 && T == 2) tile_zero<kSums + 3>();
  }
  // The products of 32 columns.
  static inline void add(const uint8_t* x, size_t panel_bytes, const Pairs* w) {
    tile_load<kPanels>(x, kRowBytes);
    tile_load<kWeights>(w, kRowBytes);
    tile_dot_bf16<kSums, kPanels, kWeights>();
    if constexpr (T == 2) {
      tile_load<kWeights + 1>(w + kUnitsAtOnce, kRowBytes);
      tile_dot_bf16<kSums + 1, kPanels, kWeights + 1>();
    }
    if constexpr (P == 2) {
      tile_load<kPanels + 1>(x + panel_bytes, kRowBytes);
      tile_dot_bf16<kSums + 2, kPanels + 1, kWeights>();
    }
    if constexpr (P == 2 && T == 2) tile_dot_bf16<kSums + 3, kPanels + 1, kWeights + 1>();
  }
};

// The avx512 tier's gelu_lanes, as far as bf16 tells it apart.
static inline F32x16 gelu_bf16(F32x16 x) {
  const F32x16 slope = fma(mul(x, x), set1(-0.10294324f), set1(-2.3022082f));
  return mul(x, reciprocal(add(set1(1.0f), exp2_lanes(mul(x, slope)))));
}

// Rows [row, row + count) of T tiles become bf16 in panels.
template <int T, F32x16 (*activate)(F32x16)>
static inline void store_activated(const TilesProduct& p, int tile, int row, int count,
                                   const RowSums* sums) {
  const size_t panel_bytes = static_cast<size_t>(p.activated_width) * kPanelRows * 2;
  for (int t = 0; t < T; t++) {
    const int column = p.column + (tile + t) * kTileRows;
    uint8_t* unit = p.activated + static_cast<size_t>(column / kGroup) * kPanelUnit +
                    static_cast<size_t>(column % kGroup) * 2;
    for (int m = row; m < row + count; m++) {
      uint8_t* to = unit + static_cast<size_t>(m / kPanelRows) * panel_bytes +
                    static_cast<size_t>(m % kPanelRows) * kRowBytes;
      store_bf16_half(to, activate(load(sums[m] + t * kTileRows)));
    }
  }
}

// Sums of P panels from `row` on with the chunk's weights; `sums` holds those of the columns
// before.
template <int P, int T, class Format>
static inline void multiply_panels(const TilesProduct& p, const Chunk& chunk, const Pairs* w,
                                   int row, Ahead<Format>& ahead, RowSums* sums) {
  using Tiles = Sums<P, T>;
  constexpr size_t kStride = 2 * kTileRows;
  const int units = (p.cols + kGroup - 1) / kGroup;
  const size_t panel_bytes = static_cast<size_t>(units) * kPanelUnit;
  const uint8_t* x =
      p.panels + row / kPanelRows * panel_bytes + static_cast<size_t>(chunk.unit) * kPanelUnit;
  const size_t column = static_cast<size_t>(chunk.tile) * kTileRows;
  float* so_far = sums[row];
  if (chunk.unit != 0) {
    Tiles::load(so_far, kPanelRows * kStride, kStride * sizeof(float));
  } else if (p.bias != nullptr) {
    Tiles::load(p.bias + column, 0, 0);
  } else {
    Tiles::clear();
  }
  const size_t place = static_cast<size_t>(row) * p.out_stride + column;
  float* out = p.out + place;
  const bool last = chunk.unit + chunk.units == units;
  for (int u = 0; u < chunk.units; u++, x += kPanelUnit) {
    Tiles::add(x, panel_bytes, w + u);
    ahead.step();
  }
  if (last && p.residual == nullptr && p.activation == Activation::kNone &&
      row + P * kPanelRows <= p.rows) {
    Tiles::store(out, kPanelRows * p.out_stride, p.out_stride * sizeof(float));
    return;
  }
  Tiles::store(so_far, kPanelRows * kStride, kStride * sizeof(float));
  if (!last) return;
  const int here = p.rows - row < P * kPanelRows ? p.rows - row : P * kPanelRows;
  if (p.activation == Activation::kGelu) {
    return store_activated<T, gelu_bf16>(p, chunk.tile, row, here, sums);
  }
  if (p.activation == Activation::kGeluErf) {
    return store_activated<T, gelu_erf_lanes>(p, chunk.tile, row, here, sums);
  }
  const float* more = p.residual ? p.residual + place : nullptr;
  for (int m = 0; m < here; m++) {
    for (int t = 0; t < T; t++) {
      const size_t at = static_cast<size_t>(m) * p.out_stride + static_cast<size_t>(t) * kTileRows;
      store_row(load(so_far + static_cast<size_t>(m) * kStride + t * kTileRows), out + at,
                more ? more + at : nullptr);
    }
  }
}

template <int T, class Format>
static void multiply_chunk(const TilesProduct& p, const Chunk& chunk, const Pairs* w,
                           Ahead<Format>& ahead, RowSums* sums) {
  int row = 0;
  for (; row + kPanelRows < p.rows; row += 2 * kPanelRows) {
    multiply_panels<2, T>(p, chunk, w, row, ahead, sums);
  }
  if (row < p.rows) multiply_panels<1, T>(p, chunk, w, row, ahead, sums);
}

template <class Format>
static void multiply_bf16(const TilesProduct* product) {
  const TilesProduct& p = *product;
  const Chunks chunks{p.tiles, (p.cols + kGroup - 1) / kGroup};
  const int blocks = (p.rows + 2 * kPanelRows - 1) / (2 * kPanelRows);
  Unpacked w[2];
  alignas(64) RowSums sums[kCallRows];
  Ahead<Format>(p, chunks.at(0), chunks.at(1), 1, w[0][0]).finish();
  for (int n = 0; n < chunks.count(); n++) {
    const Chunk chunk = chunks.at(n);
    Ahead<Format> ahead(p, chunks.at(n + 1), chunks.at(n + 2), blocks * chunk.units,
                        w[(n + 1) % 2][0]);
    const auto multiply = chunk.tiles == 1 ? multiply_chunk<1, Format> : multiply_chunk<2, Format>;
    multiply(p, chunk, w[n % 2][0], ahead, sums);
    ahead.finish();
  }
}
constexpr MultiplyTiles split_f16 = multiply_bf16<FloatPairs<load_f16>>;
constexpr MultiplyTiles split_bf16 = multiply_bf16<FloatPairs<load_bf16>>;
constexpr MultiplyTiles one_level_q8 = multiply_bf16<Q8Pairs<1>>;
constexpr MultiplyTiles one_level_q4 = multiply_bf16<Q4Pairs<1, false>>;
constexpr MultiplyTiles one_level_q4_0 = multiply_bf16<Q4Pairs<1, true>>;
constexpr MultiplyTiles one_level_q4_nl = multiply_bf16<Q4NlPairs>;
constexpr MultiplyTiles one_level_q4_64 = multiply_bf16<Q4Pairs<2, false>>;
constexpr MultiplyTiles one_level_q8_64 = multiply_bf16<Q8Pairs<2>>;

// In bf16 the unit attends as fast as in bytes.
constexpr decltype(TextKernels::key_bytes) byte_key_bytes = nullptr;
constexpr decltype(TextKernels::scratch) byte_scratch = nullptr;
constexpr decltype(TextKernels::store) store_bytes = nullptr;
constexpr decltype(TextKernels::attend) attend_bytes = nullptr;

// For attention: the sums of two tiles of 16 rows by one or two of 16 queries, in registers 0 to 3,
// which are loaded from and stored to [tiles of queries, `stride` floats][32 rows][16 queries].
class TextSums {
 public:
  TextSums(float* at, int stride, int tiles) : at_(at), stride_(stride), tiles_(tiles) {}

  void begin() const {
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
  }
  void resume() const {
    tile_load<0>(at_, kRowBytes);
    tile_load<1>(at_ + 256, kRowBytes);
    if (tiles_ == 1) return;
    tile_load<2>(at_ + stride_, kRowBytes);
    tile_load<3>(at_ + stride_ + 256, kRowBytes);
  }
  // Products of [32 rows][32] bf16 and of [tiles, `bytes` from one to the next][16 pairs][16][2].
  void add(const void* rows, const void* queries, size_t bytes) const {
    tile_load<kRows>(rows, kRowBytes);
    tile_load<kRows + 1>(static_cast<const uint8_t*>(rows) + kTileBytes, kRowBytes);
    tile_load<kOfQueries>(queries, kRowBytes);
    if (tiles_ == 2) {
      tile_load<kOfQueries + 1>(static_cast<const uint8_t*>(queries) + bytes, kRowBytes);
    }
    tile_dot_bf16<0, kRows, kOfQueries>();
    tile_dot_bf16<1, kRows + 1, kOfQueries>();
    if (tiles_ == 1) return;
    tile_dot_bf16<2, kRows, kOfQueries + 1>();
    tile_dot_bf16<3, kRows + 1, kOfQueries + 1>();
  }
  void end() const {
    tile_store<0>(at_, kRowBytes);
    tile_store<1>(at_ + 256, kRowBytes);
    if (tiles_ == 1) return;
    tile_store<2>(at_ + stride_, kRowBytes);
    tile_store<3>(at_ + stride_ + 256, kRowBytes);
  }

 private:
  static constexpr int kRows = 4, kOfQueries = 6;  // registers of the operands
  float* const at_;
  const int stride_, tiles_;
};

}  // namespace cactus::CACTUS_TIER
