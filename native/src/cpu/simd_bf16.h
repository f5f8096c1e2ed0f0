// Words that tiers whose products are of bf16 have beside those of avx512.
#pragma once

#include "cpu/simd_avx512.h"

namespace cactus::CACTUS_TIER {

struct Bf16x32 {
  __m512i v;
};
// Numbers of a, then of b, rounded to nearest.
static inline Bf16x32 to_bf16(F32x16 a, F32x16 b) {
  const __m512bh both = _mm512_cvtne2ps_pbh(b.v, a.v);
  return {(__m512i)both};
}
// Numbers of a and b, lane by lane side by side, rounded to nearest.
static inline Bf16x32 to_pairs(F32x16 a, F32x16 b) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return {_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), to_bf16(a, b).v)};
}
static inline void store_bf16(void* p, Bf16x32 a) { _mm512_storeu_si512(p, a.v); }
static inline Bf16x32 load_pairs(const uint16_t* p) { return {_mm512_load_si512(p)}; }
// The pair at p in every lane.
static inline Bf16x32 broadcast_pair(const void* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return {_mm512_set1_epi32(pair)};
}
// acc + the products of both numbers of each pair.
static inline F32x16 dot_pairs(F32x16 acc, Bf16x32 a, Bf16x32 b) {
  return {_mm512_dpbf16_ps(acc.v, (__m512bh)a.v, (__m512bh)b.v)};
}

// 32 floats of a row; zeros for those behind the `left` that it has.
struct Unit {
  F32x16 first, last;
};
static inline Unit load_unit(const float* x, int left) {
  if (left >= kGroup) return {load(x), load(x + 16)};
  if (left <= 16) return {first_lanes(left, load(x), zero()), zero()};
  return {load(x), first_lanes(left - 16, load(x + 16), zero())};
}

}  // namespace cactus::CACTUS_TIER
