// Matrix products: one tile of 16 weight rows against up to kMaxRows activation rows.
//
// Lanes are weight rows, so there is no horizontal sum, and every output is accumulated in one
// order (group after group) whatever the number of activation rows: one row alone and the same row
// inside a batch give the same bits.

namespace cactus::CACTUS_TIER {

// Of one row's 32 columns in a panel, with scale and sums.
template <int L>
constexpr int kPanelBytes = sizeof(Panel<1, L>);
static_assert(sizeof(Panel<kMaxRows, 1>) == kMaxRows * kPanelBytes<1>);
static_assert(sizeof(Panel<kMaxRows, 2>) == kMaxRows * kPanelBytes<2>);

static inline void store_row(F32x16 value, float* out, const float* residual) {
  if (residual != nullptr) value = add(value, load(residual));
  store(out, value);
}

// The first rows that meet a weight wait for memory: they ask for it some kilobytes ahead. Later
// rows find it in a cache and lose little by asking.
template <int Block>
static inline void prefetch_block(const uint8_t* p) {
  constexpr int kAhead = 4096;
  for (int o = 0; o < Block; o += 64) prefetch(p + kAhead + o);
}

// 4-bit weights in groups of N * 32 columns, with minima or symmetric around code 8; activations in
// L levels.
template <int M, int L, int N, bool Symmetric>
static void tile_q4(const uint8_t* p, int cols, const uint8_t* panel, float* out, size_t out_stride,
                    const float* residual) {
  constexpr int kBlock = N * 256 + (Symmetric ? 32 : 64);
  const Panel<M, L>* x = reinterpret_cast<const Panel<M, L>*>(panel);
  F32x16 acc[M];
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int g = 0; g < cols / (N * kGroup); g++, p += kBlock, x += N) {
    prefetch_block<kBlock>(p);
    I32x16 dot[M];
    dot_q4<M, N, L>(p, x, dot);
    const uint16_t* factors = reinterpret_cast<const uint16_t*>(p + N * 256);
    const F32x16 scale = load_f16(factors);
    const F32x16 minimum = Symmetric ? zero() : load_f16(factors + 16);
    if constexpr (Symmetric) {
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(wrapped(-8, x->isum[m])));
    }
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) {
      acc[m] = fma(to_f32(dot[m]), mul(scale, set1(x->scale[m])), acc[m]);
      if constexpr (!Symmetric) acc[m] = fma(minimum, set1(x->sum[m]), acc[m]);
    }
  }
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

// 8-bit weights in groups of N * 32 columns, and codes of 4 bits that stand for some of their
// bytes.
template <int N>
struct Q8Group {
  static constexpr int kUnits = N, kCodes = N * 512;
  template <int M, int L>
  static inline void dot(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
    dot_q8<M, N, L>(p, x, dot);
  }
};
struct Q4NlGroup {
  static constexpr int kUnits = 1, kCodes = 256;
  template <int M, int L>
  static inline void dot(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
    dot_q4_nl<M, L>(p, x, dot);
  }
};

template <int M, int L, class Group>
static void tile_q8(const uint8_t* p, int cols, const uint8_t* panel, float* out, size_t out_stride,
                    const float* residual) {
  constexpr int N = Group::kUnits, kBlock = Group::kCodes + 32;
  const Panel<M, L>* x = reinterpret_cast<const Panel<M, L>*>(panel);
  F32x16 acc[M];
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int g = 0; g < cols / (N * kGroup); g++, p += kBlock, x += N) {
    prefetch_block<kBlock>(p);
    I32x16 dot[M];
    Group::template dot<M, L>(p, x, dot);
    const F32x16 scale = load_f16(reinterpret_cast<const uint16_t*>(p + Group::kCodes));
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) {
      acc[m] = fma(to_f32(dot[m]), mul(scale, set1(x->scale[m])), acc[m]);
    }
  }
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

// Weights in a floating-point type: [cols][16].
template <int M, class Weight, F32x16 (*load_weights)(const Weight*)>
static void tile_float(const uint8_t* tile, int cols, const float* x, size_t stride, float* out,
                       size_t out_stride, const float* residual) {
  const Weight* w = reinterpret_cast<const Weight*>(tile);
  F32x16 acc[M];
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int k = 0; k < cols; k++) {
    const F32x16 column = load_weights(w + static_cast<size_t>(k) * kTileRows);
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) acc[m] = fma(column, set1(x[m * stride + k]), acc[m]);
  }
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

// Calls body<M>() with the compile-time M that equals `rows`, 1..kMaxRows.
template <class Body, int M = kMaxRows>
static inline void with_rows(int rows, const Body& body) {
  if constexpr (M == 1) {
    body.template operator()<1>();
  } else if (rows == M) {
    body.template operator()<M>();
  } else {
    with_rows<Body, M - 1>(rows, body);
  }
}

// The same with the levels of the activations: body<M, L>().
template <class Body>
static inline void with_panel(int rows, int levels, const Body& body) {
  with_rows(rows, [&]<int M>() {
    levels == 1 ? body.template operator()<M, 1>() : body.template operator()<M, 2>();
  });
}

// body(tile, out, residual) of each of several tiles of weights, which follow one another.
template <class Body>
static inline void each_tile(const uint8_t* tile, int tiles, size_t bytes, float* out,
                             const float* residual, const Body& body) {
  for (int t = 0; t < tiles; t++, tile += bytes, out += kTileRows) {
    body(tile, out, residual);
    if (residual != nullptr) residual += kTileRows;
  }
}

template <int N, bool Symmetric>
static inline void tiles_q4(const uint8_t* tile, int tiles, int cols, const PanelRows& x,
                            float* out, size_t out_stride, const float* residual) {
  constexpr int kBlock = N * 256 + (Symmetric ? 32 : 64);
  const size_t bytes = static_cast<size_t>(cols / (N * kGroup)) * kBlock;
  with_panel(x.rows, x.levels, [&]<int M, int L>() {
    each_tile(tile, tiles, bytes, out, residual, [&](auto* w, float* to, const float* more) {
      tile_q4<M, L, N, Symmetric>(w, cols, x.panels, to, out_stride, more);
    });
  });
}

static void linear_q4(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                      size_t out_stride, const float* residual) {
  tiles_q4<1, false>(tile, tiles, cols, x, out, out_stride, residual);
}
static void linear_q4_0(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                        size_t out_stride, const float* residual) {
  tiles_q4<1, true>(tile, tiles, cols, x, out, out_stride, residual);
}
static void linear_q4_64(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                         size_t out_stride, const float* residual) {
  tiles_q4<2, false>(tile, tiles, cols, x, out, out_stride, residual);
}

template <class Group>
static inline void tiles_q8(const uint8_t* tile, int tiles, int cols, const PanelRows& x,
                            float* out, size_t out_stride, const float* residual) {
  const size_t bytes = static_cast<size_t>(cols / (Group::kUnits * kGroup)) * (Group::kCodes + 32);
  with_panel(x.rows, x.levels, [&]<int M, int L>() {
    each_tile(tile, tiles, bytes, out, residual, [&](auto* w, float* to, const float* more) {
      tile_q8<M, L, Group>(w, cols, x.panels, to, out_stride, more);
    });
  });
}

static void linear_q8(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                      size_t out_stride, const float* residual) {
  tiles_q8<Q8Group<1>>(tile, tiles, cols, x, out, out_stride, residual);
}
static void linear_q8_64(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                         size_t out_stride, const float* residual) {
  tiles_q8<Q8Group<2>>(tile, tiles, cols, x, out, out_stride, residual);
}

static void linear_q4_nl(const uint8_t* tile, int tiles, int cols, const PanelRows& x, float* out,
                         size_t out_stride, const float* residual) {
  tiles_q8<Q4NlGroup>(tile, tiles, cols, x, out, out_stride, residual);
}

static void linear_f32(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                       float* out, size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() {
    tile_float<M, float, load>(tile, cols, x, stride, out, out_stride, residual);
  });
}
static void linear_f16(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                       float* out, size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() {
    tile_float<M, uint16_t, load_f16>(tile, cols, x, stride, out, out_stride, residual);
  });
}
static void linear_bf16(const uint8_t* tile, int cols, const float* x, size_t stride, int rows,
                        float* out, size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() {
    tile_float<M, uint16_t, load_bf16>(tile, cols, x, stride, out, out_stride, residual);
  });
}

// `inverse` is the largest magnitude of a code over that of the values.
static inline Codes codes_of_8(F32x16 first, F32x16 last, F32x16 inverse) {
  const F32x16 most = set1(kQ8Steps), least = set1(-kQ8Steps);
  return {round_i32(min(max(mul(first, inverse), least), most)),
          round_i32(min(max(mul(last, inverse), least), most)), izero()};
}

// The steps of the last columns leave the low four bits of lo, 0..15; what the first columns then
// need of lo is -8..7 times 16.
static inline Codes codes_of_12(F32x16 first, F32x16 last, F32x16 inverse) {
  // A column of the first four may be a step beyond: it is rounded together with the low bits.
  const F32x16 most = set1(kQ12Steps + 1), least = set1(-kQ12Steps - 1);
  const I32x16 last_steps = round_i32(min(max(mul(last, inverse), least), most));
  const I32x16 last_hi = shift_right<4>(last_steps);
  const I32x16 low_bits = isub(last_steps, shift_left<4>(last_hi));
  const F32x16 rest = sub(mul(first, inverse), mul(to_f32(low_bits), set1(0.0625f)));
  const I32x16 first_steps = round_i32(min(max(rest, least), most));
  const I32x16 first_hi = shift_right<4>(iadd(first_steps, iset1(8)));
  // -128 is left out: some instructions cannot negate it.
  const I32x16 high_bits = imax(isub(first_steps, shift_left<4>(first_hi)),
                                iadd(iset1(-7), shift_right<31>(isub(izero(), low_bits))));
  return {first_hi, isub(last_hi, high_bits), iadd(shift_left<4>(high_bits), low_bits)};
}

// Where a group of `units` times 32 columns lies in a panel of so many rows: put() stores the codes
// of one unit of a row and returns their sum in units, put_factors() what belongs to the group.
template <int L>
struct Units {
  static inline int32_t put(const Codes& codes, uint8_t* group, size_t unit, size_t rows,
                            size_t row) {
    return store_codes<L>(codes, group + unit * rows * kPanelBytes<L>, rows, row);
  }
  static inline void put_factors(float scale, float sum, const int32_t* isum, uint8_t* group,
                                 size_t units, size_t rows, size_t row) {
    for (size_t n = 0; n < units; n++, group += rows * kPanelBytes<L>) {
      uint8_t* factors = group + rows * kCodeBytes<L> + row * 4;
      __builtin_memcpy(factors, &scale, 4);
      __builtin_memcpy(factors + rows * 4, &sum, 4);
      __builtin_memcpy(factors + rows * 8, &isum[n], 4);
    }
  }
};

// Up to 16 groups: all scales first, because a division waits for a whole reduction.
template <int L, class Layout>
static void quantize_groups(const float* x, int groups, int group, uint8_t* panel, size_t rows,
                            size_t row) {
  constexpr float kStep = L == 1 ? 1 : 16,
                  kMost = kStep * (L == 1 ? kQ8Steps : kQ12Steps);  // units
  float scale[16], inverse[16];
  int32_t largest[16] = {};
  for (int g = 0; g < groups; g++) {
    // Magnitudes are in the order of their bits, and NaN is above them all.
    I32x16 bits = izero();
    for (int i = 0; i < group; i += 16) bits = imax(bits, to_bits(abs(load(x + g * group + i))));
    largest[g] = reduce_max(bits);
  }
  const F32x16 top = load(reinterpret_cast<const float*>(largest));
  // x - x is NaN for an infinity: what is not finite must reach the logits, where it is reported.
  const F32x16 scales = div(add(top, sub(top, top)), set1(kMost));
  store(scale, scales);
  // Below, 1 / scale could be infinite: such a group is a group of zeros.
  const F32x16 smallest = set1(1e-37f);
  store(inverse, select_lt(scales, smallest, zero(), div(set1(1 / kStep), scales)));
  for (int g = 0; g < groups; g++) {
    const F32x16 factor = set1(inverse[g]);
    const size_t units = static_cast<size_t>(group) / kGroup;
    int32_t isum[2] = {};
    for (size_t n = 0; n < units; n++) {
      const float* from = x + g * group + n * kGroup;
      F32x16 first, last;
      split_quads(load(from), load(from + 16), &first, &last);
      const Codes codes =
          L == 1 ? codes_of_8(first, last, factor) : codes_of_12(first, last, factor);
      isum[n] = Layout::put(codes, panel, n, rows, row);
    }
    const float sum = scale[g] * static_cast<float>(isum[0] + isum[1]);
    Layout::put_factors(scale[g], sum, isum, panel, units, rows, row);
    panel += units * rows * kPanelBytes<L>;
  }
}

template <int L, class Layout>
static void quantize_levels(const float* x, int width, int group, const PanelRow& out) {
  const size_t rows = static_cast<size_t>(out.rows), row = static_cast<size_t>(out.row);
  uint8_t* panel = out.panel;
  for (int at = 0; at < width; at += 16 * group) {
    const int groups = (width - at) / group < 16 ? (width - at) / group : 16;
    quantize_groups<L, Layout>(x + at, groups, group, panel, rows, row);
    panel += static_cast<size_t>(groups) * (group / kGroup) * rows * kPanelBytes<L>;
  }
}

static void quantize_row(const float* x, int width, int group, const PanelRow* out) {
  if (out->levels == 1) return quantize_levels<1, Units<1>>(x, width, group, *out);
  quantize_levels<2, Units<2>>(x, width, group, *out);
}

using ReadCode = int32_t (*)(const uint8_t* panel, size_t rows, size_t row, int column);

template <int L, ReadCode read>
static float value_of(const PanelRow& at, int column) {
  const size_t rows = static_cast<size_t>(at.rows), row = static_cast<size_t>(at.row);
  const uint8_t* unit = at.panel + static_cast<size_t>(column / kGroup) * rows * kPanelBytes<L>;
  float scale;
  __builtin_memcpy(&scale, unit + rows * kCodeBytes<L> + row * 4, sizeof scale);
  return static_cast<float>(read(unit, rows, row, column % kGroup)) * scale;
}

static float panel_value(const PanelRow* at, int, int column) {
  if (at->levels == 1) return value_of<1, read_code<1>>(*at, column);
  return value_of<2, read_code<2>>(*at, column);
}

// Rows of a panel, those up to which one is laid out for just as many, and those of a call.
constexpr int kPanelRows = kMaxRows, kFewRows = kMaxRows, kCallRows = kMaxRows, kOwnRows = 0;

// No unit of its own for 16-bit weights.
constexpr int kSplitBytes = 0, kSplitRows = 0;
constexpr decltype(KernelTable::split_row) split_row = nullptr;
constexpr MultiplyTiles split_f16 = nullptr, split_bf16 = nullptr;

// `linear` takes panels of one level.
constexpr MultiplyTiles one_level_q4 = nullptr, one_level_q8 = nullptr, one_level_q4_0 = nullptr,
                        one_level_q4_nl = nullptr, one_level_q4_64 = nullptr,
                        one_level_q8_64 = nullptr;

[[maybe_unused]] static void begin() {}
[[maybe_unused]] static void end() {}

}  // namespace cactus::CACTUS_TIER
