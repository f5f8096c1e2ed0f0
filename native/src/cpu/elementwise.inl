// Norms, activations, rotary embedding and element-wise arithmetic of one row.

namespace cactus::CACTUS_TIER {

// e^x to about 1 ulp (Cody-Waite reduction, polynomial of degree 7 on |r| <= ln 2 / 2, its halves
// side by side because a loop waits for this chain), x being -87.7..88.3 or NaN; 0 of the lowest,
// where 2^n would be subnormal.
static inline F32x16 exp_within(F32x16 x) {
  // Its lowest bits are n + 127, where x = n ln 2 + r.
  const F32x16 biased = fma(x, set1(1.44269504f), set1(0x1.8p23f + 127));
  const F32x16 n = sub(biased, set1(0x1.8p23f + 127));
  F32x16 r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  const F32x16 r2 = mul(r, r);
  const F32x16 high = fma(set1(1.9875691500e-4f), r, set1(1.3981999507e-3f));
  const F32x16 middle = fma(set1(8.3334519073e-3f), r, set1(4.1665795894e-2f));
  const F32x16 low = fma(set1(1.6666665459e-1f), r, set1(5.0000001201e-1f));
  const F32x16 p = add(fma(fma(fma(high, r2, middle), r2, low), r2, r), set1(1.0f));
  return mul(p, from_bits(shift_left<23>(to_bits(biased))));
}

// The same of any x; 0 below -87.3, where the result would be subnormal, so that a masked score is
// exactly nothing.
static inline F32x16 exp(F32x16 x) {
  // In this order a NaN stays one.
  const F32x16 bounded = min(set1(88.3f), max(set1(-87.3f), x));
  return select_lt(x, set1(-87.3f), zero(), exp_within(bounded));
}

// The same of x <= 0, which is NaN where that is; 0 below -87.7.
static inline F32x16 exp_negative(F32x16 x) { return exp_within(max(set1(-87.7f), x)); }

static inline F32x16 silu_lanes(F32x16 x) { return div(x, add(set1(1.0f), exp(sub(zero(), x)))); }

// x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3): the same as x / (1 + exp(-2u)).
static inline F32x16 gelu_lanes(F32x16 x) {
  const F32x16 slope = fma(mul(x, x), set1(-0.071354816272600245f), set1(-1.5957691216057308f));
  return div(x, add(set1(1.0f), exp(mul(x, slope))));
}

// `width` counts in the mean, `padded` (a multiple of 16) is what is stored; the padding is zero.
static void rms_norm(const float* x, const float* w, float eps, int width, int padded, float* out) {
  F32x16 squares = zero();
  for (int i = 0; i < padded; i += 16) {
    const F32x16 v = load(x + i);
    squares = fma(v, v, squares);
  }
  const float mean = reduce_add(squares) / static_cast<float>(width);
  const F32x16 factor = set1(1.0f / __builtin_sqrtf(mean + eps));
  for (int i = 0; i < padded; i += 16) store(out + i, mul(mul(load(x + i), factor), load(w + i)));
}

// (x - mean) / sqrt(variance + eps) * w (+ bias)
static void layer_norm(const float* x, const float* w, const float* bias, float eps, int width,
                       float* out) {
  F32x16 sum = zero();
  for (int i = 0; i < width; i += 16) sum = add(sum, load(x + i));
  const F32x16 mean = set1(reduce_add(sum) / static_cast<float>(width));
  F32x16 squares = zero();
  for (int i = 0; i < width; i += 16) {
    const F32x16 v = sub(load(x + i), mean);
    squares = fma(v, v, squares);
  }
  const float variance = reduce_add(squares) / static_cast<float>(width);
  const F32x16 factor = set1(1.0f / __builtin_sqrtf(variance + eps));
  for (int i = 0; i < width; i += 16) {
    const F32x16 normed = mul(sub(load(x + i), mean), factor);
    store(out + i,
          bias == nullptr ? mul(normed, load(w + i)) : fma(normed, load(w + i), load(bias + i)));
  }
}

static void add_rows(const float* a, const float* b, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, add(load(a + i), load(b + i)));
}
static void mul_rows(const float* a, const float* b, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, mul(load(a + i), load(b + i)));
}
static void silu(const float* x, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, silu_lanes(load(x + i)));
}
// x * Phi(x), Phi the normal distribution's: max(x, 0) - |x| Q(|x|), Q = 1 - Phi. The eighth root
// of Q is so smooth that a polynomial of degree 8 is enough: fitted on [0, 5.5] by Lawson's
// weighted least squares for the smallest largest error of |x| Q. Good to 1.4e-7 of max(|x|, 1).
static inline F32x16 gelu_erf_lanes(F32x16 v) {
  const F32x16 u = min(set1(5.5f), max(v, sub(zero(), v)));
  F32x16 p = fma(set1(-2.95227892e-07f), u, set1(7.45228999e-06f));
  p = fma(p, u, set1(-6.00052008e-05f));
  p = fma(p, u, set1(3.32715026e-05f));
  p = fma(p, u, set1(1.50650705e-03f));
  p = fma(p, u, set1(-6.74371200e-04f));
  p = fma(p, u, set1(-3.19266655e-02f));
  p = fma(p, u, set1(-9.14577916e-02f));
  p = fma(p, u, set1(9.17004049e-01f));
  p = mul(p, p);
  p = mul(p, p);
  // In this order a NaN stays one.
  return sub(max(zero(), v), mul(u, mul(p, p)));
}
static void gelu_erf(const float* x, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, gelu_erf_lanes(load(x + i)));
}
static void geglu_erf(const float* gate, const float* up, int width, float* out) {
  for (int i = 0; i < width; i += 16) {
    store(out + i, mul(gelu_erf_lanes(load(gate + i)), load(up + i)));
  }
}

static void swiglu(const float* gate, const float* up, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, mul(silu_lanes(load(gate + i)), load(up + i)));
}
static void gelu(const float* x, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, gelu_lanes(load(x + i)));
}
static void geglu(const float* gate, const float* up, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, mul(gelu_lanes(load(gate + i)), load(up + i)));
}
static void scale(const float* x, float factor, int width, float* out) {
  for (int i = 0; i < width; i += 16) store(out + i, mul(load(x + i), set1(factor)));
}

static void rope(const float* x, const float* cos, const float* sin, int half, int head_dim,
                 float* out) {
  int i = 0;
  for (; i + 16 <= half; i += 16) {
    const F32x16 a = load(x + i), b = load(x + half + i), c = load(cos + i), s = load(sin + i);
    store(out + i, sub(mul(a, c), mul(b, s)));
    store(out + half + i, add(mul(b, c), mul(a, s)));
  }
  for (; i < half; i++) {
    const float a = x[i], b = x[half + i];
    // Two roundings a product, as in the lanes above.
    const float ac = a * cos[i], bs = b * sin[i], bc = b * cos[i], as = a * sin[i];
    out[i] = ac - bs;
    out[half + i] = bc + as;
  }
  for (i = 2 * half; i < head_dim; i++) out[i] = x[i];
}

}  // namespace cactus::CACTUS_TIER
