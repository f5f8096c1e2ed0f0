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

// Integer sums of a group for M rows, both levels: 128 * sum(w hi) + sum(w lo).
template <int M>
static void tile_q4(const uint8_t* p, int cols, const QuantRows& x, float* out, size_t out_stride,
                    const float* residual) {
  F16 acc[M];
  for (int m = 0; m < M; m++) acc[m] = zero();
  const int groups = cols / kGroup;
  for (int g = 0; g < groups; g++, p += kQ4Block) {
    if constexpr (M == 1) {
      for (int o = 0; o < kQ4Block; o += 64) prefetch(p + 4096 + o);
    }
    I16 hi[M], lo[M];
    for (int m = 0; m < M; m++) hi[m] = lo[m] = izero();
    for (int j = 0; j < 4; j++) {
      const B64 codes = load_codes(p + 64 * j);
      const B64 first = low_nibbles(codes), second = high_nibbles(codes);
      for (int m = 0; m < M; m++) {
        const size_t at = m * x.stride + static_cast<size_t>(g) * kGroup + 8 * j;
        hi[m] = dot4_q4(hi[m], first, x.row.hi + at);
        lo[m] = dot4_q4(lo[m], first, x.row.lo + at);
        hi[m] = dot4_q4(hi[m], second, x.row.hi + at + 4);
        lo[m] = dot4_q4(lo[m], second, x.row.lo + at + 4);
      }
    }
    const uint16_t* factors = reinterpret_cast<const uint16_t*>(p + 256);
    const F16 scale = load_f16(factors), minimum = load_f16(factors + 16);
    for (int m = 0; m < M; m++) {
      const size_t at = m * x.group_stride + g;
      const F16 dot = to_f32(iadd(shift_left<7>(hi[m]), lo[m]));
      acc[m] = fma(dot, mul(scale, set1(x.row.scale[at])), acc[m]);
      acc[m] = fma(minimum, set1(x.row.sum[at]), acc[m]);
    }
  }
  for (int m = 0; m < M; m++) {
    store_row(acc[m], out + m * out_stride, residual ? residual + m * out_stride : nullptr);
  }
}

template <int M>
static void tile_q8(const uint8_t* p, int cols, const QuantRows& x, float* out, size_t out_stride,
                    const float* residual) {
  F16 acc[M];
  for (int m = 0; m < M; m++) acc[m] = zero();
  const int groups = cols / kGroup;
  for (int g = 0; g < groups; g++, p += kQ8Block) {
    if constexpr (M == 1) {
      for (int o = 0; o < kQ8Block; o += 64) prefetch(p + 4096 + o);
    }
    I16 hi[M], lo[M];
    for (int m = 0; m < M; m++) {
      hi[m] = izero();
      lo[m] = iset1(-kQ8Offset * x.row.isum[m * x.group_stride + g]);
    }
    for (int j = 0; j < 8; j++) {
      const B64 codes = load_codes(p + 64 * j);
      for (int m = 0; m < M; m++) {
        const size_t at = m * x.stride + static_cast<size_t>(g) * kGroup + 4 * j;
        hi[m] = dot4_q8(hi[m], codes, x.row.hi + at);
        lo[m] = dot4_q8(lo[m], codes, x.row.lo + at);
      }
    }
    const F16 scale = load_f16(reinterpret_cast<const uint16_t*>(p + 512));
    for (int m = 0; m < M; m++) {
      const F16 dot = to_f32(iadd(shift_left<7>(hi[m]), lo[m]));
      acc[m] = fma(dot, mul(scale, set1(x.row.scale[m * x.group_stride + g])), acc[m]);
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

static void linear_q4(const uint8_t* tile, int cols, const QuantRows* x, int rows, float* out,
                      size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() { tile_q4<M>(tile, cols, *x, out, out_stride, residual); });
}
static void linear_q8(const uint8_t* tile, int cols, const QuantRows* x, int rows, float* out,
                      size_t out_stride, const float* residual) {
  with_rows(rows, [&]<int M>() { tile_q8<M>(tile, cols, *x, out, out_stride, residual); });
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

static void quantize_row(const float* x, int width, const QuantRow* out) {
  for (int g = 0; g < width / kGroup; g++) {
    const F16 a = load(x + g * kGroup), b = load(x + g * kGroup + 16);
    const float largest = reduce_max(max(abs(a), abs(b)));
    // A maximum ignores NaN, a sum does not.
    const float total = reduce_add(add(abs(a), abs(b)));
    int8_t* hi = out->hi + g * kGroup;
    int8_t* lo = out->lo + g * kGroup;
    // Anything not finite must reach the logits, where it is reported.
    const bool finite = total <= 3.0e38f;
    const float scale = finite ? largest / kQMax : __builtin_nanf("");
    const float inverse = finite && scale > 0 ? 1.0f / scale : 0.0f;
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
    const int32_t isum = reduce_add(sums);
    out->scale[g] = scale;
    out->isum[g] = isum;
    out->sum[g] = scale * static_cast<float>(isum);
  }
}

}  // namespace cactus::CACTUS_TIER
