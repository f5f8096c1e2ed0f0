// Matrix products on AMX, a unit that multiplies tiles of 16 rows of 64 bytes: activations by
// weights, of which a tile of the file is laid out as the unit reads them, four columns of each of
// 16 rows. It takes panels of 16 rows; few rows are left to the vector kernels. Integers are exact,
// and floats are added in the order of those kernels: the bits are theirs, but of 16-bit weights.

namespace cactus::CACTUS_TIER {

using namespace CACTUS_VECTORS;

constexpr int kPanelRows = 16;
constexpr int kFewRows = CACTUS_FEW_ROWS;    // these the vector kernels do faster
constexpr int kCallRows = CACTUS_CALL_ROWS;  // share the work of unpacking a tile's weights
constexpr int kOwnRows = 0, kSplitRows = kCallRows;
// Of 32 columns that are unpacked at once: those of kTilesAtOnce tiles fit the first-level cache
// together with a panel, which is read from the second-level one.
constexpr int kUnits = 24;

// The tile registers of operands of int8; those before are of whole size.
constexpr int kX = 6, kW = 7;

// All registers are of whole size, but those of the operands X and W.
static void configure(uint16_t x_bytes, uint8_t w_rows) {
  TileConfig config{};
  config.palette = 1;
  for (int t = 0; t < 8; t++) {
    config.row_bytes[t] = t == kX ? x_bytes : 64;
    config.rows[t] = t == kW ? w_rows : 16;
  }
  tile_configure(config);
}
static void begin() { configure(64, 16); }
static void end() { tile_release(); }

// A group of a panel of 16 rows, N * 32 columns.
template <int L, int N>
struct TilePanel {
  int8_t codes[16][L][N * kGroup];
  float scale[16];
  float sum[16];
  uint8_t unused[64 + (N - 1) * 192];
};
static_assert(sizeof(TilePanel<1, 1>) == 16 * kPanelBytes<1>);
static_assert(sizeof(TilePanel<2, 1>) == 16 * kPanelBytes<2>);
static_assert(sizeof(TilePanel<1, 2>) == 32 * kPanelBytes<1>);
static_assert(sizeof(TilePanel<2, 2>) == 32 * kPanelBytes<2>);

// See Units.
template <int L, int N>
struct TileUnits {
  using Group = TilePanel<L, N>;
  static inline int32_t put(const Codes& c, uint8_t* group, size_t unit, size_t, size_t row) {
    int8_t* to = reinterpret_cast<Group*>(group)->codes[row][0] + unit * kGroup;
    if constexpr (L == 1) {
      store_i8_quads(to, c.hi_first, c.hi_last);
      return reduce_add(iadd(c.hi_first, c.hi_last));
    } else {
      const I32x16 first = iadd(shift_left<8>(c.hi_first), c.lo);
      const I32x16 last = iadd(shift_left<8>(c.hi_last), shift_left<4>(c.lo));
      const I32x16 half = iset1(128);
      const I32x16 first_hi = shift_right<8>(iadd(first, half));
      const I32x16 last_hi = shift_right<8>(iadd(last, half));
      store_i8_quads(to, first_hi, last_hi);
      store_i8_quads(to + N * kGroup, isub(first, shift_left<8>(first_hi)),
                     isub(last, shift_left<8>(last_hi)));
      return reduce_add(iadd(first, last));
    }
  }
  static inline void put_factors(float scale, float sum, const int32_t*, uint8_t* group, size_t,
                                 size_t, size_t row) {
    Group& to = *reinterpret_cast<Group*>(group);
    to.scale[row] = scale;
    to.sum[row] = sum;
  }
  static inline float value(const uint8_t* group, size_t row, int column) {
    const Group& from = *reinterpret_cast<const Group*>(group);
    const auto& codes = from.codes[row];
    const int code = L == 1 ? codes[0][column] : 256 * codes[0][column] + codes[L - 1][column];
    return static_cast<float>(code) * from.scale[row];
  }
};

// body<L, N>() of a panel in so many levels and groups.
template <class Body>
static inline auto with_groups(int levels, int group, const Body& body) {
  if (group == kGroup) {
    return levels == 1 ? body.template operator()<1, 1>() : body.template operator()<2, 1>();
  }
  return levels == 1 ? body.template operator()<1, 2>() : body.template operator()<2, 2>();
}

static void quantize_row(const float* x, int width, int group, const PanelRow* out) {
  if (out->rows <= kFewRows) return CACTUS_VECTORS::quantize_row(x, width, group, out);
  with_groups(out->levels, group,
              [&]<int L, int N>() { quantize_levels<L, TileUnits<L, N>>(x, width, group, *out); });
}

static float panel_value(const PanelRow* at, int group, int column) {
  if (at->rows <= kFewRows) return CACTUS_VECTORS::panel_value(at, group, column);
  return with_groups(at->levels, group, [&]<int L, int N>() {
    return TileUnits<L, N>::value(at->panel, static_cast<size_t>(at->row), column);
  });
}

// Rows of the result lie far apart: up to 16 of them are on their way while the unit works.
template <int T>
static inline void prefetch_rows(const float* out, size_t stride, int rows) {
  for (int m = 0; m < 16 && m < rows; m++, out += stride) {
    for (int t = 0; t < T; t++) prefetch_write(out + t * kTileRows);
  }
}

// Columns of a tile of weights: signed codes, as the unit takes them, and factors of each group.
struct alignas(64) UnpackedInt8 {
  int8_t codes[kUnits][kGroup * kTileRows];
  float scale[kUnits][kTileRows];
  float minimum[kUnits][kTileRows];
};

// Weights in groups of N * 32 columns. unpack() takes one group of the file.
template <int N>
struct Q4Format {
  static constexpr int kUnitsOfGroup = N, kBlock = N * 256 + 64;
  static constexpr bool kMinima = true;
  static inline void unpack(const uint8_t* p, UnpackedInt8& w, int group) {
    for (int j = 0; j < 4 * N; j++) {
      const U8x64 codes = load_codes(p + 64 * j);
      int8_t* to = w.codes[group * N + j / 4] + j % 4 * 128;
      store_codes_64(to, low_nibbles(codes));
      store_codes_64(to + 64, high_nibbles(codes));
    }
    const uint16_t* factors = reinterpret_cast<const uint16_t*>(p + N * 256);
    store(w.scale[group], load_f16(factors));
    store(w.minimum[group], load_f16(factors + 16));
  }
};

struct Q4SymmetricFormat {
  static constexpr int kUnitsOfGroup = 1, kBlock = kQ4_0Block;
  static constexpr bool kMinima = false;
  static inline void unpack(const uint8_t* p, UnpackedInt8& w, int group) {
    for (int j = 0; j < 4; j++) {
      const U8x64 codes = load_codes(p + 64 * j);
      int8_t* to = w.codes[group] + 128 * j;
      store_codes_64(to, subtract_bytes(low_nibbles(codes), 8));
      store_codes_64(to + 64, subtract_bytes(high_nibbles(codes), 8));
    }
    store(w.scale[group], load_f16(reinterpret_cast<const uint16_t*>(p + 256)));
  }
};

struct Q4NlFormat {
  static constexpr int kUnitsOfGroup = 1, kBlock = kQ4NlBlock;
  static constexpr bool kMinima = false;
  static inline void unpack(const uint8_t* p, UnpackedInt8& w, int group) {
    for (int j = 0; j < 4; j++) {
      const U8x64 codes = load_codes(p + 64 * j);
      int8_t* to = w.codes[group] + 128 * j;
      store_codes_64(to, subtract_bytes(look_up(low_nibbles(codes)), 128));
      store_codes_64(to + 64, subtract_bytes(look_up(high_nibbles(codes)), 128));
    }
    store(w.scale[group], load_f16(reinterpret_cast<const uint16_t*>(p + 256)));
  }
};

template <int N>
struct Q8Format {
  static constexpr int kUnitsOfGroup = N, kBlock = N * 512 + 32;
  static constexpr bool kMinima = false;
  static inline void unpack(const uint8_t* p, UnpackedInt8& w, int group) {
    int8_t* to = w.codes[group * N];
    for (int j = 0; j < 8 * N; j++) {
      store_codes_64(to + 64 * j, subtract_bytes(load_codes(p + 64 * j), 128));
    }
    store(w.scale[group], load_f16(reinterpret_cast<const uint16_t*>(p + N * 512)));
  }
};

// Integer products of a panel with one group of weights.
template <int L>
struct Dots {
  alignas(64) int32_t sums[L][16][16];
};

// 16 rows of activations, which meet weights.
template <class Format, int L>
struct Meeting {
  static constexpr int N = Format::kUnitsOfGroup;
  const TilePanel<L, N>* x;
  const UnpackedInt8& w;

  // Makes the sums of a group in the tile registers S and S + 1.
  template <int S>
  inline void multiply(int group) const {
    const int8_t* codes = x[group].codes[0][0];
    tile_load<kW>(w.codes[group * N], 64);
    for (int level = 0; level < L; level++, codes += N * kGroup) {
      tile_load<kX>(codes, L * N * kGroup);
      if (level == 0) {
        tile_zero<S>();
        tile_dot_int8<S, kX, kW>();
      } else {
        tile_zero<S + 1>();
        tile_dot_int8<S + 1, kX, kW>();
      }
    }
  }

  template <int S>
  static inline void store_sums(Dots<L>& to) {
    tile_store<S>(to.sums[0], 64);
    if constexpr (L == 2) tile_store<S + 1>(to.sums[L - 1], 64);
  }

  inline void add(const Dots<L>& dots, int group, F32x16* acc) const {
    const F32x16 scale = load(w.scale[group]);
    const TilePanel<L, N>& rows = x[group];
    CACTUS_UNROLL
    for (int m = 0; m < 16; m++) {
      I32x16 dot = load_i32(dots.sums[0][m]);
      if constexpr (L == 2) dot = iadd(shift_left<8>(dot), load_i32(dots.sums[L - 1][m]));
      acc[m] = fma(to_f32(dot), mul(scale, set1(rows.scale[m])), acc[m]);
      if constexpr (Format::kMinima) {
        acc[m] = fma(load(w.minimum[group]), set1(rows.sum[m]), acc[m]);
      }
    }
  }

  // acc[m] += the products of all groups. A store that comes right behind the products that it
  // stores waits for them, and all that follows with it: so the products of a group are made while
  // those of the group before are stored and those of the one before that are added.
  inline void add_groups(int groups, F32x16* acc) const {
    Dots<L> even, odd;
    multiply<0>(0);
    if (groups > 1) multiply<2>(1);
    store_sums<0>(even);
    for (int g = 0; g < groups; g += 2) {
      if (g + 2 < groups) multiply<0>(g + 2);
      add(even, g, acc);
      if (g + 1 == groups) break;
      store_sums<2>(odd);
      if (g + 3 < groups) multiply<2>(g + 3);
      add(odd, g + 1, acc);
      if (g + 2 < groups) store_sums<0>(even);
    }
  }
};

// Up to kTilesAtOnce tiles of weights against panels of 16 rows, the last of which may be filled in
// part.
template <class Format, int L>
static void multiply_tiles(const uint8_t* tile, int tiles, int cols, const uint8_t* panels,
                           int rows, float* out, size_t out_stride, const float* residual) {
  constexpr int N = Format::kUnitsOfGroup;
  UnpackedInt8 w[kTilesAtOnce];
  alignas(64) float sums[kCallRows][kTilesAtOnce][16];
  const int units = cols / kGroup;
  const size_t bytes = static_cast<size_t>(units / N) * Format::kBlock;
  // In passes of nearly the same length: the first and the last group of each wait for the unit.
  const int passes = (units + kUnits - 1) / kUnits;
  for (int pass = 0, unit = 0, count; pass < passes; pass++, unit += count) {
    count = units / N * (pass + 1) / passes * N - unit;
    const int groups = count / N;
    for (int t = 0; t < tiles; t++) {
      const uint8_t* p =
          tile + static_cast<size_t>(t) * bytes + static_cast<size_t>(unit / N) * Format::kBlock;
      for (int g = 0; g < groups; g++, p += Format::kBlock) {
        prefetch_block<Format::kBlock>(p);
        Format::unpack(p, w[t], g);
      }
    }
    const bool first = unit == 0, last = unit + count == units;
    const TilePanel<L, N>* x = reinterpret_cast<const TilePanel<L, N>*>(panels) + unit / N;
    for (int row = 0; row < rows; row += 16, x += units / N) {
      float* to = out + static_cast<size_t>(row) * out_stride;
      if (last) prefetch_rows<kTilesAtOnce>(to, out_stride, rows - row);
      for (int t = 0; t < tiles; t++) {
        F32x16 acc[16];
        CACTUS_UNROLL
        for (int m = 0; m < 16; m++) acc[m] = first ? zero() : load(sums[row + m][t]);
        Meeting<Format, L>{x, w[t]}.add_groups(groups, acc);
        CACTUS_UNROLL
        for (int m = 0; m < 16; m++) {
          if (!last) {
            store(sums[row + m][t], acc[m]);
          } else if (row + m < rows) {
            const size_t at = static_cast<size_t>(m) * out_stride + t * kTileRows;
            const size_t before = static_cast<size_t>(row) * out_stride;
            store_row(acc[m], to + at, residual ? residual + before + at : nullptr);
          }
        }
      }
    }
  }
}

template <class Format, int L>
static void multiply_all(const uint8_t* tile, int tiles, int cols, const uint8_t* panels, int rows,
                         float* out, size_t out_stride, const float* residual) {
  constexpr int kColumns = Format::kUnitsOfGroup * kGroup;
  configure(kColumns, kColumns / 4);
  for (int t = 0; t < tiles; t += kTilesAtOnce) {
    const size_t at = static_cast<size_t>(t) * kTileRows;
    multiply_tiles<Format, L>(tile + static_cast<size_t>(t) * (cols / kColumns) * Format::kBlock,
                              tiles - t < kTilesAtOnce ? tiles - t : kTilesAtOnce, cols, panels,
                              rows, out + at, out_stride, residual ? residual + at : nullptr);
  }
  begin();
}

// The last panel may be laid out for few rows.
template <class Format, LinearTiles few>
static void multiply(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                     size_t out_stride, const float* residual) {
  const int rest = x.rows % 16 <= kFewRows ? x.rows % 16 : 0, whole = x.rows - rest;
  if (whole != 0) {
    const auto all = x.levels == 1 ? multiply_all<Format, 1> : multiply_all<Format, 2>;
    all(tile, tiles, cols, x.panels, whole, out, out_stride, residual);
  }
  if (rest == 0) return;
  const size_t bytes = static_cast<size_t>(cols) / kGroup *
                       static_cast<size_t>(x.levels == 1 ? kPanelBytes<1> : kPanelBytes<2>);
  const size_t at = static_cast<size_t>(whole) * out_stride;
  const PanelRows last{x.panels + static_cast<size_t>(whole) * bytes, rest, x.levels};
  few(tile, tiles, cols, last, out + at, out_stride, residual ? residual + at : nullptr);
}

constexpr LinearTiles linear_q4 = multiply<Q4Format<1>, CACTUS_VECTORS::linear_q4>;
constexpr LinearTiles linear_q4_0 = multiply<Q4SymmetricFormat, CACTUS_VECTORS::linear_q4_0>;
constexpr LinearTiles linear_q4_nl = multiply<Q4NlFormat, CACTUS_VECTORS::linear_q4_nl>;
constexpr LinearTiles linear_q4_64 = multiply<Q4Format<2>, CACTUS_VECTORS::linear_q4_64>;
constexpr LinearTiles linear_q8 = multiply<Q8Format<1>, CACTUS_VECTORS::linear_q8>;
constexpr LinearTiles linear_q8_64 = multiply<Q8Format<2>, CACTUS_VECTORS::linear_q8_64>;

// Weights that meet rows of floats are left to the vector kernels.
template <LinearFloats few>
static void in_turn(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                    float* out, size_t out_stride, const float* residual) {
  for (int row = 0; row < rows; row += kMaxRows) {
    const size_t at = static_cast<size_t>(row) * out_stride;
    few(tile, cols, x + static_cast<size_t>(row) * stride, stride,
        rows - row < kMaxRows ? rows - row : kMaxRows, out + at, out_stride,
        residual ? residual + at : nullptr);
  }
}
constexpr LinearFloats linear_f32 = in_turn<CACTUS_VECTORS::linear_f32>;
constexpr LinearFloats linear_f16 = in_turn<CACTUS_VECTORS::linear_f16>;
constexpr LinearFloats linear_bf16 = in_turn<CACTUS_VECTORS::linear_bf16>;

// For measuring: whole tiles, each as both operands.
constexpr int kDotTimes = 4, kDotLanes = 64, kDotChains = 16 * kDotTimes;

static float peak_dot(const uint8_t* operands, int rounds) {
  begin();
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int round = 0; round < rounds; round++) {
    tile_load<4>(operands, 64);
    tile_load<5>(operands + 1024, 64);
    tile_load<6>(operands + 2048, 64);
    tile_load<7>(operands + 3072, 64);
    // A sum of its own for each of four: the unit begins one before it has ended those before; and
    // several times, because loads take longer than products.
    for (int n = 0; n < kDotTimes; n++) {
      tile_dot_int8<0, 4, 6>();
      tile_dot_int8<1, 4, 7>();
      tile_dot_int8<2, 5, 6>();
      tile_dot_int8<3, 5, 7>();
    }
  }
  alignas(64) int32_t sums[4][16][16];
  tile_store<0>(sums[0], 64);
  tile_store<1>(sums[1], 64);
  tile_store<2>(sums[2], 64);
  tile_store<3>(sums[3], 64);
  end();
  return static_cast<float>(sums[0][0][0] ^ sums[1][0][0] ^ sums[2][0][0] ^ sums[3][0][0]);
}
static_assert(kPeakBytes / 64 * kDotLanes * kDotChains == kDotTimes * 4 * 16 * 16 * 64);

}  // namespace cactus::CACTUS_TIER
