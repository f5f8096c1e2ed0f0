// Matrix products on AMX, a unit that multiplies tiles of 16 rows of 64 bytes: activations by
// weights, of which a tile of the file is laid out as the unit reads them, four columns of each of
// 16 rows. It takes panels of 16 rows; few rows are left to the vector kernels. Integers are exact,
// and floats are added in the order of those kernels: the bits are theirs, but of 16-bit weights.

namespace cactus::CACTUS_TIER {

using namespace CACTUS_VECTORS;

constexpr int kPanelRows = 16;
constexpr int kFewRows = CACTUS_FEW_ROWS;    // these the vector kernels do faster
constexpr int kCallRows = CACTUS_CALL_ROWS;  // share the work of unpacking a tile's weights
constexpr int kOwnRows = 0;
constexpr int kUnits = 16;  // of 32 columns that are unpacked at once

// The tile registers of operands of 32 columns of int8; those before are of whole size.
constexpr int kX = 6, kW = 7;

// Written out, because some compilers' functions for them do not say that they read memory.
template <int T>
static inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
static inline void tile_load(const void* from, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
static inline void tile_store(void* to, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}
// T += X W, of signed bytes.
template <int T, int X, int W>
static inline void tile_dot_int8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(T), "i"(X), "i"(W));
}

// The same of bf16, in f32.
template <int T, int X, int W>
static inline void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(T), "i"(X), "i"(W));
}

struct TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// All registers are of whole size, but those of the operands X and W.
static void configure(uint16_t x_bytes, uint8_t w_rows) {
  TileConfig config{};
  config.palette = 1;
  for (int t = 0; t < 8; t++) {
    config.row_bytes[t] = t == kX ? x_bytes : 64;
    config.rows[t] = t == kW ? w_rows : 16;
  }
  asm volatile("ldtilecfg %0" : : "m"(config));
}
static void begin() { configure(kGroup, kGroup / 4); }

// In their initial state the registers cost nothing when threads are switched.
static void end() { asm volatile("tilerelease"); }

// 32 floats of a row; zeros for those behind the `left` that it has.
struct Unit {
  F32x16 first, last;
};
static inline Unit load_unit(const float* x, int left) {
  if (left >= kGroup) return {load(x), load(x + 16)};
  if (left <= 16) return {first_lanes(left, load(x), zero()), zero()};
  return {load(x), first_lanes(left - 16, load(x + 16), zero())};
}

// 32 columns of a panel of 16 rows.
template <int L>
struct TilePanel {
  int8_t codes[16][L][kGroup];
  float scale[16];
  float sum[16];
  int32_t isum[16];
};
static_assert(sizeof(TilePanel<1>) == 16 * kPanelBytes<1>);
static_assert(sizeof(TilePanel<2>) == 16 * kPanelBytes<2>);

template <int L>
static inline int32_t store_tile_codes(const Codes& c, uint8_t* panel, size_t, size_t row) {
  int8_t* to = reinterpret_cast<TilePanel<L>*>(panel)->codes[row][0];
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
    store_i8_quads(to + kGroup, isub(first, shift_left<8>(first_hi)),
                   isub(last, shift_left<8>(last_hi)));
    return reduce_add(iadd(first, last));
  }
}

static void quantize_row(const float* x, int width, int group, const PanelRow* out) {
  if (out->rows <= kFewRows) return CACTUS_VECTORS::quantize_row(x, width, group, out);
  if (out->levels == 1) return quantize_levels<1, store_tile_codes<1>>(x, width, group, *out);
  quantize_levels<2, store_tile_codes<2>>(x, width, group, *out);
}

template <int L>
static inline int32_t read_tile_code(const uint8_t* panel, size_t, size_t row, int column) {
  const auto& codes = reinterpret_cast<const TilePanel<L>*>(panel)->codes[row];
  return L == 1 ? codes[0][column] : 256 * codes[0][column] + codes[L - 1][column];
}

static float panel_value(const PanelRow* at, int column) {
  if (at->rows <= kFewRows) return CACTUS_VECTORS::panel_value(at, column);
  if (at->levels == 1) return value_of<1, read_tile_code<1>>(*at, column);
  return value_of<2, read_tile_code<2>>(*at, column);
}

// Rows of the result lie far apart: up to 16 of them are on their way while the unit works.
template <int T>
static inline void prefetch_rows(const float* out, size_t stride, int rows) {
  for (int m = 0; m < 16 && m < rows; m++, out += stride) {
    for (int t = 0; t < T; t++) prefetch_write(out + t * kTileRows);
  }
}

// Up to 512 columns of a tile of weights: signed codes, as the unit takes them, and factors of each
// group.
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

// Sums in the tile registers S and S + 1, so that a group's can be made while those of the one
// before are still read.
template <int S, int N, int L>
static inline void dot_group(const TilePanel<L>* x, const UnpackedInt8& w, int group, Dots<L>* to) {
  tile_zero<S>();
  if constexpr (L == 2) tile_zero<S + 1>();
  for (int n = 0; n < N; n++) {
    tile_load<kW>(w.codes[group * N + n], 64);
    tile_load<kX>(x[group * N + n].codes[0][0], L * kGroup);
    tile_dot_int8<S, kX, kW>();
    if constexpr (L == 1) continue;
    tile_load<kX>(x[group * N + n].codes[0][L - 1], L * kGroup);
    tile_dot_int8<S + 1, kX, kW>();
  }
  tile_store<S>(to->sums, 64);
  if constexpr (L == 2) tile_store<S + 1>(to->sums[L - 1], 64);
}

template <class Format, int L>
static inline void add_dots(const Dots<L>& dots, const TilePanel<L>& x, const UnpackedInt8& w,
                            int group, F32x16* acc) {
  const F32x16 scale = load(w.scale[group]);
  CACTUS_UNROLL
  for (int m = 0; m < 16; m++) {
    I32x16 dot = load_i32(dots.sums[0][m]);
    if constexpr (L == 2) dot = iadd(shift_left<8>(dot), load_i32(dots.sums[L - 1][m]));
    acc[m] = fma(to_f32(dot), mul(scale, set1(x.scale[m])), acc[m]);
    if constexpr (Format::kMinima) {
      acc[m] = fma(load(w.minimum[group]), set1(x.sum[m]), acc[m]);
    }
  }
}

// acc[m] += the products of one panel with `groups` groups of unpacked weights.
template <class Format, int L>
static inline void add_groups(const TilePanel<L>* x, const UnpackedInt8& w, int groups,
                              F32x16* acc) {
  constexpr int N = Format::kUnitsOfGroup;
  Dots<L> even, odd;
  dot_group<0, N>(x, w, 0, &even);
  for (int g = 0; g < groups; g += 2) {
    const bool more = g + 1 < groups;
    if (more) dot_group<2, N>(x, w, g + 1, &odd);
    add_dots<Format>(even, x[g * N], w, g, acc);
    if (!more) break;
    if (g + 2 < groups) dot_group<0, N>(x, w, g + 2, &even);
    add_dots<Format>(odd, x[(g + 1) * N], w, g + 1, acc);
  }
}

// One tile of weights against panels of 16 rows, the last of which may be filled in part.
template <class Format, int L>
static void multiply_tile(const uint8_t* p, int cols, const uint8_t* panels, int rows, float* out,
                          size_t out_stride, const float* residual) {
  UnpackedInt8 w;
  alignas(64) float sums[kCallRows][16];
  const int units = cols / kGroup;
  for (int unit = 0; unit < units; unit += kUnits) {
    const int count = units - unit < kUnits ? units - unit : kUnits;
    const int groups = count / Format::kUnitsOfGroup;
    for (int g = 0; g < groups; g++, p += Format::kBlock) {
      prefetch_block<Format::kBlock>(p);
      Format::unpack(p, w, g);
    }
    const bool last = unit + count == units;
    const TilePanel<L>* x = reinterpret_cast<const TilePanel<L>*>(panels) + unit;
    for (int row = 0; row < rows; row += 16, x += units) {
      if (last)
        prefetch_rows<1>(out + static_cast<size_t>(row) * out_stride, out_stride, rows - row);
      F32x16 acc[16];
      CACTUS_UNROLL
      for (int m = 0; m < 16; m++) acc[m] = unit == 0 ? zero() : load(sums[row + m]);
      add_groups<Format, L>(x, w, groups, acc);
      CACTUS_UNROLL
      for (int m = 0; m < 16; m++) {
        if (!last) {
          store(sums[row + m], acc[m]);
        } else if (row + m < rows) {
          const size_t at = static_cast<size_t>(row + m) * out_stride;
          store_row(acc[m], out + at, residual ? residual + at : nullptr);
        }
      }
    }
  }
}

using Linear = void (*)(const uint8_t* tile, int cols, const uint8_t* panel, int levels, int rows,
                        float* out, size_t out_stride, const float* residual);

// The last panel may be laid out for few rows.
template <class Format, Linear few>
static void multiply(const uint8_t* tile, int cols, const uint8_t* panel, int levels, int rows,
                     float* out, size_t out_stride, const float* residual) {
  const int rest = rows % 16 <= kFewRows ? rows % 16 : 0, whole = rows - rest;
  if (whole != 0 && levels == 1) {
    multiply_tile<Format, 1>(tile, cols, panel, whole, out, out_stride, residual);
  } else if (whole != 0) {
    multiply_tile<Format, 2>(tile, cols, panel, whole, out, out_stride, residual);
  }
  if (rest == 0) return;
  const size_t bytes = static_cast<size_t>(cols) / kGroup *
                       static_cast<size_t>(levels == 1 ? kPanelBytes<1> : kPanelBytes<2>);
  const size_t at = static_cast<size_t>(whole) * out_stride;
  few(tile, cols, panel + static_cast<size_t>(whole) * bytes, levels, rest, out + at, out_stride,
      residual ? residual + at : nullptr);
}

constexpr Linear linear_q4 = multiply<Q4Format<1>, CACTUS_VECTORS::linear_q4>;
constexpr Linear linear_q4_0 = multiply<Q4SymmetricFormat, CACTUS_VECTORS::linear_q4_0>;
constexpr Linear linear_q4_64 = multiply<Q4Format<2>, CACTUS_VECTORS::linear_q4_64>;
constexpr Linear linear_q8 = multiply<Q8Format<1>, CACTUS_VECTORS::linear_q8>;
constexpr Linear linear_q8_64 = multiply<Q8Format<2>, CACTUS_VECTORS::linear_q8_64>;

// Weights that meet rows of floats are left to the vector kernels.
using LinearFloat = void (*)(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                             float* out, size_t out_stride, const float* residual);

template <LinearFloat few>
static void in_turn(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                    float* out, size_t out_stride, const float* residual) {
  for (int row = 0; row < rows; row += kMaxRows) {
    const size_t at = static_cast<size_t>(row) * out_stride;
    few(tile, cols, x + static_cast<size_t>(row) * stride, stride,
        rows - row < kMaxRows ? rows - row : kMaxRows, out + at, out_stride,
        residual ? residual + at : nullptr);
  }
}
constexpr LinearFloat linear_f32 = in_turn<CACTUS_VECTORS::linear_f32>;
constexpr LinearFloat linear_f16 = in_turn<CACTUS_VECTORS::linear_f16>;
constexpr LinearFloat linear_bf16 = in_turn<CACTUS_VECTORS::linear_bf16>;

// For measuring: whole tiles, each as both operands.
constexpr int kDotLanes = 64, kDotChains = 16;

static float peak_dot(const uint8_t* operands, int rounds) {
  begin();
  tile_zero<0>();
  tile_zero<1>();
  for (int round = 0; round < rounds; round++) {
    tile_load<2>(operands, 64);
    tile_load<3>(operands + 1024, 64);
    tile_load<4>(operands + 2048, 64);
    tile_load<5>(operands + 3072, 64);
    tile_dot_int8<0, 2, 4>();
    tile_dot_int8<1, 2, 5>();
    tile_dot_int8<0, 3, 4>();
    tile_dot_int8<1, 3, 5>();
  }
  alignas(64) int32_t sums[16][16];
  tile_store<0>(sums, 64);
  const int32_t first = sums[0][0];
  tile_store<1>(sums, 64);
  end();
  return static_cast<float>(first ^ sums[0][0]);
}
static_assert(kPeakBytes / 64 * kDotLanes * kDotChains == 4 * 16 * 16 * 64);

}  // namespace cactus::CACTUS_TIER
