// Matrix products where one product of bf16 is exact enough, as for text encoders. Activations of
// one level are kept as bf16 instead of int8, and weights become bf16 as they are read. Sums are
// f32. Activations of two levels meet quantised weights as in the amx tier.

namespace cactus::CACTUS_TIER {

using namespace amx_bf16_exact;

constexpr int kPanelRows = amx_bf16_exact::kPanelRows, kFewRows = CACTUS_FEW_ROWS,
              kCallRows = CACTUS_CALL_ROWS, kOwnRows = 128;

// A panel is, for each 32 columns, [16 rows][32] bf16; no row is left out.
constexpr int kRowBytes = kGroup * 2;
template <int L>
constexpr int kPanelBytes = L == 1 ? kRowBytes : amx_bf16_exact::kPanelBytes<L>;
constexpr int kSplitBytes = kRowBytes;
constexpr int kPanelUnit = kPanelRows * kRowBytes;

// The tile registers: sums of two panels with two tiles of weights, panels, and weights.
constexpr int kSums = 0, kPanels = 4, kWeights = 6;
constexpr int kUnitsAtOnce = 12;  // of 32 columns of two tiles: half of the first-level cache

static void begin() { configure(64, 16); }

// Activations of two levels.
template <Linear exact>
static void with_levels(const uint8_t* tile, int cols, const uint8_t* panel, int levels, int rows,
                        float* out, size_t out_stride, const float* residual) {
  amx_bf16_exact::begin();
  exact(tile, cols, panel, levels, rows, out, out_stride, residual);
  begin();
}
constexpr Linear linear_q4 = with_levels<amx_bf16_exact::linear_q4>;
constexpr Linear linear_q4_0 = with_levels<amx_bf16_exact::linear_q4_0>;
constexpr Linear linear_q4_64 = with_levels<amx_bf16_exact::linear_q4_64>;
constexpr Linear linear_q8 = with_levels<amx_bf16_exact::linear_q8>;
constexpr Linear linear_q8_64 = with_levels<amx_bf16_exact::linear_q8_64>;

static void split_row(const float* x, int cols, const PanelRow* at) {
  uint8_t* to = at->panel + static_cast<size_t>(at->row) * kRowBytes;
  for (int k = 0; k < cols; k += kGroup, to += kPanelUnit) {
    const Unit unit = load_unit(x + k, cols - k);
    store_bf16(to, to_bf16(unit.first, unit.last));
  }
}

static void quantize_row(const float* x, int width, int group, const PanelRow* out) {
  if (out->levels == 1) return split_row(x, width, out);
  amx_bf16_exact::quantize_row(x, width, group, out);
}

static float panel_value(const PanelRow* at, int column) {
  if (at->levels != 1) return amx_bf16_exact::panel_value(at, column);
  const uint8_t* row = at->panel + static_cast<size_t>(at->row) * kRowBytes;
  return bf16_value(reinterpret_cast<const uint16_t*>(row) + column);
}

// 32 columns of a tile, each two of them side by side, as the unit takes them.
struct alignas(64) Pairs {
  uint16_t of[kGroup / 2][2 * kTileRows];
};

// Formats of weights: a unit is 32 columns of a tile, of which read() makes pairs.

// 16-bit weights; zeros behind the last column.
template <F32x16 (*load_weights)(const uint16_t*)>
struct FloatPairs {
  static constexpr size_t kUnitBytes = kGroup * kTileRows * 2;
  static size_t bytes(int cols) { return static_cast<size_t>(cols) * kTileRows * 2; }
  static inline void read(const uint8_t* tile, int cols, int unit, Pairs& to) {
    const int first = unit * kGroup, count = cols - first < kGroup ? cols - first : kGroup;
    const uint16_t* w = reinterpret_cast<const uint16_t*>(tile) + first * kTileRows;
    if (count == kGroup) {
      CACTUS_UNROLL
      for (int k = 0; k < kGroup; k += 2, w += 2 * kTileRows) {
        store_bf16(to.of[k / 2], to_pairs(load_weights(w), load_weights(w + kTileRows)));
      }
      return;
    }
    for (int k = 0; k < kGroup; k += 2, w += 2 * kTileRows) {
      const F32x16 a = k < count ? load_weights(w) : zero();
      store_bf16(to.of[k / 2], to_pairs(a, k + 1 < count ? load_weights(w + kTileRows) : zero()));
    }
  }
};

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

// In groups of N * 32 columns.
template <int N>
struct Q8Pairs {
  static constexpr int kBlock = N * 512 + 32;
  static constexpr size_t kUnitBytes = kBlock / N;
  static size_t bytes(int cols) { return static_cast<size_t>(cols / (N * kGroup)) * kBlock; }
  static inline void read(const uint8_t* tile, int, int unit, Pairs& to) {
    const uint8_t* p = tile + static_cast<size_t>(unit / N) * kBlock;
    const F32x16 scale = load_f16(reinterpret_cast<const uint16_t*>(p + N * 512));
    const Scales scales(scale, mul(scale, set1(-128.0f)));
    p += unit % N * 512;
    CACTUS_UNROLL
    for (int j = 0; j < 8; j++) scales.store(load_codes(p + 64 * j), 255, to.of + 2 * j);
  }
};

// The same of 4 bits, with minima or symmetric around code 8.
template <int N, bool Symmetric>
struct Q4Pairs {
  static constexpr int kBlock = N * 256 + (Symmetric ? 32 : 64);
  static constexpr size_t kUnitBytes = kBlock / N;
  static size_t bytes(int cols) { return static_cast<size_t>(cols / (N * kGroup)) * kBlock; }
  static inline void read(const uint8_t* tile, int, int unit, Pairs& to) {
    const uint8_t* p = tile + static_cast<size_t>(unit / N) * kBlock;
    const uint16_t* factors = reinterpret_cast<const uint16_t*>(p + N * 256);
    const F32x16 scale = load_f16(factors);
    const F32x16 least = Symmetric ? mul(scale, set1(-8.0f)) : load_f16(factors + 16);
    const Scales first(scale, least), last(mul(scale, set1(0x1p-4f)), least);
    CACTUS_UNROLL
    for (int j = 0; j < 4; j++) {
      const U8x64 codes = load_codes(p + unit % N * 256 + 64 * j);
      first.store(codes, 15, to.of + 4 * j);
      last.store(codes, 15 << 4, to.of + 4 * j + 2);
    }
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
  static inline void add(const uint8_t* x, size_t panel_bytes, const Pairs* w, size_t tile_pairs) {
    tile_load<kPanels>(x, kRowBytes);
    tile_load<kWeights>(w, kRowBytes);
    tile_dot_bf16<kSums, kPanels, kWeights>();
    if constexpr (T == 2) {
      tile_load<kWeights + 1>(w + tile_pairs, kRowBytes);
      tile_dot_bf16<kSums + 1, kPanels, kWeights + 1>();
    }
    if constexpr (P == 2) {
      tile_load<kPanels + 1>(x + panel_bytes, kRowBytes);
      tile_dot_bf16<kSums + 2, kPanels + 1, kWeights>();
    }
    if constexpr (P == 2 && T == 2) tile_dot_bf16<kSums + 3, kPanels + 1, kWeights + 1>();
  }
};

// Weights that come next: a few lines of them are asked for in each step of a loop, while the unit
// multiplies, so that none waits for memory. Lines of up to two tiles.
struct Ahead {
  const uint8_t* at[2];
  size_t left, step;  // bytes of each
  inline void ask() {
    for (size_t n = 0; n < step && left > 0; n += 64) {
      prefetch_far(at[0]);
      prefetch_far(at[1]);
      at[0] += 64;
      at[1] += 64;
      left -= left < 64 ? left : 64;
    }
  }
};

// What a call multiplies: units of 32 columns of panels of 16 rows with T tiles of weights.
struct Product {
  const uint8_t* panels;
  int rows, units;
  float* out;
  size_t out_stride;
  const float* bias;
  const float* residual;
};

// Sums of P panels from `row` on with units [unit, unit + count); `sums` holds those before them.
template <int P, int T>
static inline void multiply_panels(const Product& p, const Pairs (*w)[kUnitsAtOnce], int row,
                                   int unit, int count, Ahead& ahead,
                                   float (*sums)[2 * kTileRows]) {
  using Tiles = Sums<P, T>;
  constexpr size_t kStride = 2 * kTileRows;
  const size_t panel_bytes = static_cast<size_t>(p.units) * kPanelUnit;
  const uint8_t* x =
      p.panels + row / kPanelRows * panel_bytes + static_cast<size_t>(unit) * kPanelUnit;
  float* so_far = sums[row];
  if (unit != 0) {
    Tiles::load(so_far, kPanelRows * kStride, kStride * sizeof(float));
  } else if (p.bias != nullptr) {
    Tiles::load(p.bias, 0, 0);
  } else {
    Tiles::clear();
  }
  for (int u = 0; u < count; u++, x += kPanelUnit) {
    Tiles::add(x, panel_bytes, w[0] + u, kUnitsAtOnce);
    ahead.ask();
  }
  float* out = p.out + static_cast<size_t>(row) * p.out_stride;
  const bool last = unit + count == p.units;
  if (last && p.residual == nullptr && row + P * kPanelRows <= p.rows) {
    Tiles::store(out, kPanelRows * p.out_stride, p.out_stride * sizeof(float));
    return;
  }
  Tiles::store(so_far, kPanelRows * kStride, kStride * sizeof(float));
  if (!last) return;
  const int here = p.rows - row < P * kPanelRows ? p.rows - row : P * kPanelRows;
  for (int m = 0; m < here; m++) {
    const size_t at = static_cast<size_t>(m) * p.out_stride;
    const float* more =
        p.residual ? p.residual + static_cast<size_t>(row) * p.out_stride + at : nullptr;
    for (int t = 0; t < T; t++) {
      store_row(load(so_far + static_cast<size_t>(m) * kStride + t * kTileRows),
                out + at + t * kTileRows, more ? more + t * kTileRows : nullptr);
    }
  }
}

template <class Format, int T>
static void multiply_tiles(const uint8_t* tile, int cols, const Product& p) {
  const size_t bytes = Format::bytes(cols);
  const int blocks = (p.rows + 2 * kPanelRows - 1) / (2 * kPanelRows);
  Pairs w[T][kUnitsAtOnce];
  alignas(64) float sums[kCallRows][2 * kTileRows];
  const auto units_at = [&](int unit) {
    return p.units - unit < kUnitsAtOnce ? p.units - unit : kUnitsAtOnce;
  };
  for (int unit = 0; unit < p.units; unit += kUnitsAtOnce) {
    const int count = units_at(unit), next = unit + count < p.units ? unit + count : 0;
    // The next columns of these tiles, or the first ones of those behind them.
    const uint8_t* from =
        tile + (next == 0 ? T * bytes : 0) + static_cast<size_t>(next) * Format::kUnitBytes;
    const size_t left = static_cast<size_t>(units_at(next)) * Format::kUnitBytes;
    Ahead ahead{{from, from + (T == 2 ? bytes : 0)},
                left,
                left / static_cast<size_t>((T + blocks) * count) + 1};
    for (int t = 0; t < T; t++) {
      for (int u = 0; u < count; u++) {
        Format::read(tile + static_cast<size_t>(t) * bytes, cols, unit + u, w[t][u]);
        ahead.ask();
      }
    }
    int row = 0;
    for (; row + kPanelRows < p.rows; row += 2 * kPanelRows) {
      multiply_panels<2, T>(p, w, row, unit, count, ahead, sums);
    }
    if (row < p.rows) multiply_panels<1, T>(p, w, row, unit, count, ahead, sums);
  }
}

template <class Format>
static void multiply_bf16(const uint8_t* tile, int tiles, int cols, const uint8_t* panels, int rows,
                          float* out, size_t out_stride, const float* bias, const float* residual) {
  const Product p{panels, rows, (cols + kGroup - 1) / kGroup, out, out_stride, bias, residual};
  tiles == 1 ? multiply_tiles<Format, 1>(tile, cols, p) : multiply_tiles<Format, 2>(tile, cols, p);
}
constexpr MultiplyTiles split_f16 = multiply_bf16<FloatPairs<load_f16>>;
constexpr MultiplyTiles split_bf16 = multiply_bf16<FloatPairs<load_bf16>>;
constexpr MultiplyTiles one_level_q8 = multiply_bf16<Q8Pairs<1>>;
constexpr MultiplyTiles one_level_q4 = multiply_bf16<Q4Pairs<1, false>>;
constexpr MultiplyTiles one_level_q4_0 = multiply_bf16<Q4Pairs<1, true>>;
constexpr MultiplyTiles one_level_q4_64 = multiply_bf16<Q4Pairs<2, false>>;
constexpr MultiplyTiles one_level_q8_64 = multiply_bf16<Q8Pairs<2>>;

}  // namespace cactus::CACTUS_TIER
