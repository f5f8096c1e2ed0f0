// Matrix products: one tile of 16 weight rows against up to kMaxRows activation rows.
//
// Lanes are weight rows, so there is no horizontal sum, and every output is accumulated in one
// order (group after group) whatever the number of activation rows: one row alone and the same row
// inside a batch give the same bits.

namespace cactus::CACTUS_TIER {

static inline void store_row(F16 value, float* out, const float* residual) {
  if (residual != nullptr) value = add(value, load(residual));
  store(out, value);
}

// A group of a panel of M rows.
template <int M>
struct PanelGroup {
  int8_t codes[kGroup / 4][M][8];
  float scale[M];
  float sum[M];
  int32_t isum[M];
};
static_assert(sizeof(PanelGroup<kMaxRows>) == kMaxRows * kGroupBytes);

template <int M>
static void tile_q4(const uint8_t* p, int cols, const uint8_t* panel, float* out, size_t out_stride,
                    const float* residual) {
  const PanelGroup<M>* x = reinterpret_cast<const PanelGroup<M>*>(panel);
  F16 acc[M];
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int g = 0; g < cols / kGroup; g++, p += kQ4Block, x++) {
    if constexpr (M == 1) {
      for (int o = 0; o < kQ4Block; o += 64) prefetch(p + 4096 + o);
    }
    // First the high level, then the low one on top: 128 * sum(w hi) + sum(w lo), in one
    // accumulator a row, so that more rows share each load of the weights.
    I16 dot[M];
    for (int m = 0; m < M; m++) dot[m] = izero();
    for (int j = 0; j < 4; j++) {
      const B64 codes = load_codes(p + 64 * j);
      const B64 first = low_nibbles(codes), second = high_nibbles(codes);
      for (int m = 0; m < M; m++) dot[m] = dot4_q4(dot[m], first, x->codes[2 * j][m]);
      for (int m = 0; m < M; m++) dot[m] = dot4_q4(dot[m], second, x->codes[2 * j + 1][m]);
    }
    for (int m = 0; m < M; m++) dot[m] = shift_left<7>(dot[m]);
    for (int j = 0; j < 4; j++) {
      const B64 codes = load_codes(p + 64 * j);
      const B64 first = low_nibbles(codes), second = high_nibbles(codes);
      for (int m = 0; m < M; m++) dot[m] = dot4_q4(dot[m], first, x->codes[2 * j][m] + 4);
      for (int m = 0; m < M; m++) dot[m] = dot4_q4(dot[m], second, x->codes[2 * j + 1][m] + 4);
    }
    const uint16_t* factors = reinterpret_cast<const uint16_t*>(p + 256);
    const F16 scale = load_f16(factors), minimum = load_f16(factors + 16);
    for (int m = 0; m < M; m++) {
      acc[m] = fma(to_f32(dot[m]), mul(scale, set1(x->scale[m])), acc[m]);
      acc[m] = fma(minimum, set1(x->sum[m]), acc[m]);
    }
  }
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

template <int M>
static void tile_q8(const uint8_t* p, int cols, const uint8_t* panel, float* out, size_t out_stride,
                    const float* residual) {
  const PanelGroup<M>* x = reinterpret_cast<const PanelGroup<M>*>(panel);
  F16 acc[M];
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int g = 0; g < cols / kGroup; g++, p += kQ8Block, x++) {
    if constexpr (M == 1) {
      for (int o = 0; o < kQ8Block; o += 64) prefetch(p + 4096 + o);
    }
    I16 dot[M];
    for (int m = 0; m < M; m++) dot[m] = izero();
    for (int j = 0; j < 8; j++) {
      const B64 codes = load_codes(p + 64 * j);
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], codes, x->codes[j][m]);
    }
    for (int m = 0; m < M; m++) {
      dot[m] = iadd(shift_left<7>(dot[m]), iset1(-kQ8Offset * x->isum[m]));
    }
    for (int j = 0; j < 8; j++) {
      const B64 codes = load_codes(p + 64 * j);
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], codes, x->codes[j][m] + 4);
    }
    const F16 scale = load_f16(reinterpret_cast<const uint16_t*>(p + 512));
    for (int m = 0; m < M; m++) {
      acc[m] = fma(to_f32(dot[m]), mul(scale, set1(x->scale[m])), acc[m]);
    }
  }
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

// Weights in a floating-point type: [cols][16].
template <int M, class Weight, F16 (*load_weights)(const Weight*)>
static void tile_float(const uint8_t* tile, int cols, const float* x, size_t stride, float* out,
                       size_t out_stride, const float* residual) {
  const Weight* w = reinterpret_cast<const Weight*>(tile);
  F16 acc[M];
  for (int m = 0; m < M; m++) acc[m] = zero();
  for (int k = 0; k < cols; k++) {
    const F16 column = load_weights(w + static_cast<size_t>(k) * kTileRows);
    for (int m = 0; m < M; m++) acc[m] = fma(column, set1(x[m * stride + k]), acc[m]);
  }
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

static void linear_q4(const uint8_t* tile, int cols, const uint8_t* panel, int rows, float* out,
                      size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() { tile_q4<M>(tile, cols, panel, out, out_stride, residual); });
}
static void linear_q8(const uint8_t* tile, int cols, const uint8_t* panel, int rows, float* out,
                      size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() { tile_q8<M>(tile, cols, panel, out, out_stride, residual); });
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

static void quantize_row(const float* x, int width, const PanelRow* out) {
  const size_t rows = static_cast<size_t>(out->rows), row = static_cast<size_t>(out->row);
  uint8_t* group = out->panel;
  for (int g = 0; g < width / kGroup; g++, group += rows * kGroupBytes) {
    const F16 a = load(x + g * kGroup), b = load(x + g * kGroup + 16);
    const float largest = reduce_max(max(abs(a), abs(b)));
    // A maximum ignores NaN, a sum does not.
    const float total = reduce_add(add(abs(a), abs(b)));
    // Anything not finite must reach the logits, where it is reported.
    const bool finite = total <= 3.0e38f;
    const float scale = finite ? largest / kQMax : __builtin_nanf("");
    const float inverse = finite && scale > 0 ? 1.0f / scale : 0.0f;
    int8_t hi[kGroup], lo[kGroup];
    I16 sums = izero();
    for (int half = 0; half < 2; half++) {
      const F16 value = half == 0 ? a : b;
      const F16 scaled = inverse > 0 ? mul(value, set1(inverse)) : zero();
      // A subnormal scale may round up past the largest code.
      const I16 code = round_i32(min(max(scaled, set1(-kQMax)), set1(kQMax)));
      const I16 high = shift_right<7>(iadd(code, iset1(64)));
      store_i8(hi + 16 * half, high);
      store_i8(lo + 16 * half, isub(code, shift_left<7>(high)));
      sums = iadd(sums, code);
    }
    for (size_t k = 0; k < kGroup / 4; k++) {
      uint8_t* codes = group + (k * rows + row) * 8;
      __builtin_memcpy(codes, hi + 4 * k, 4);
      __builtin_memcpy(codes + 4, lo + 4 * k, 4);
    }
    const int32_t isum = reduce_add(sums);
    const float sum = scale * static_cast<float>(isum);
    uint8_t* factors = group + rows * 64 + row * 4;
    __builtin_memcpy(factors, &scale, 4);
    __builtin_memcpy(factors + rows * 4, &sum, 4);
    __builtin_memcpy(factors + rows * 8, &isum, 4);
  }
}

}  // namespace cactus::CACTUS_TIER
