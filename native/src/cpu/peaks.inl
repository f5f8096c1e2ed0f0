// What this tier can do at most: reading memory, int8 dots and multiply-adds, and nothing else.
//
// Every operand comes from memory that the compiler knows nothing about and every chain has values
// of its own, so that no loop can be folded or shared.

namespace cactus::CACTUS_TIER {

constexpr int kDotChains = kMaxRows;                     // as in the matrix kernels
constexpr int kFmaChains = kMaxRows > 5 ? kMaxRows : 5;  // hide the instruction's latency

// Four streams: a single one waits for the hardware's prefetcher at every page.
static float peak_read(const float* data, size_t count) {
  const size_t quarter = count / 4;
  F32x16 sum[4] = {zero(), zero(), zero(), zero()};
  for (size_t i = 0; i < quarter; i += 16) {
    for (size_t s = 0; s < 4; s++) sum[s] = add(sum[s], load(data + s * quarter + i));
  }
  return reduce_add(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

[[maybe_unused]] static float peak_dot(const uint8_t* operands, int rounds) {
  const int8_t* x = reinterpret_cast<const int8_t*>(operands);
  I32x16 sum[kDotChains];
  CACTUS_UNROLL
  for (int c = 0; c < kDotChains; c++) sum[c] = izero();
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < kPeakBytes; i += 64) {
      const U8x64 w = load_codes(operands + i);
      CACTUS_UNROLL
      for (int c = 0; c < kDotChains; c++) sum[c] = one_dot(sum[c], w, x + 4 * c);
    }
  }
  int32_t result = 0;
  CACTUS_UNROLL
  for (int c = 0; c < kDotChains; c++) result ^= reduce_add(sum[c]);
  return static_cast<float>(result);
}

static float peak_fma(const float* x, int rounds) {
  F32x16 sum[kFmaChains];
  CACTUS_UNROLL
  for (int c = 0; c < kFmaChains; c++) sum[c] = set1(x[c]);
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < kPeakBytes / 4; i += 16) {
      const F32x16 w = load(x + i);
      CACTUS_UNROLL
      for (int c = 0; c < kFmaChains; c++) sum[c] = fma(w, set1(x[c]), sum[c]);
    }
  }
  F32x16 total = zero();
  CACTUS_UNROLL
  for (int c = 0; c < kFmaChains; c++) total = max(total, sum[c]);
  return reduce_add(total);
}

}  // namespace cactus::CACTUS_TIER
