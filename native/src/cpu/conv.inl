// Depthwise causal convolution, with the optional gates of LFM2's short convolution fused in.

namespace cactus::CACTUS_TIER {

// out[t] = c[t] * sum_j w[:, j] * u[t - (taps - 1) + j] with u = b * x; columns before this call
// come from the history ring, and this call's last columns are stored there.
static void conv(const ConvArgs* args) {
  const ConvArgs& a = *args;
  for (int ch = a.first; ch < a.last; ch += 16) {
    for (int t = 0; t < a.rows; t++) {
      const size_t row = static_cast<size_t>(t) * a.stride + ch;
      const int64_t position = a.position + t;
      F32x16 u = load(a.x + row);
      if (a.b != nullptr) u = mul(u, load(a.b + row));
      store(a.history + static_cast<size_t>(position % a.ring) * a.width + ch, u);
      F32x16 sum = zero();
      for (int j = 0; j < a.taps; j++) {
        const int64_t from = position - (a.taps - 1) + j;
        if (from < 0) continue;
        float w[16];
        for (int i = 0; i < 16; i++) w[i] = a.w[static_cast<size_t>(ch + i) * a.taps + j];
        const F32x16 column = load(a.history + static_cast<size_t>(from % a.ring) * a.width + ch);
        sum = fma(load(w), column, sum);
      }
      if (a.c != nullptr) sum = mul(sum, load(a.c + row));
      store(a.out + static_cast<size_t>(t) * a.out_stride + ch, sum);
    }
  }
}

}  // namespace cactus::CACTUS_TIER
