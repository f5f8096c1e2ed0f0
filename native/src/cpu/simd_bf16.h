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

// acc + the first + the last of each pair.
static inline F32x16 add_pairs(F32x16 acc, Bf16x32 pairs) {
  const __m512i ones = _mm512_set1_epi32(0x3F803F80);
  return {_mm512_dpbf16_ps(acc.v, (__m512bh)pairs.v, (__m512bh)ones)};
}

// x = floor + fraction: that fraction, which is 0 of infinities, and a 2^floor, exact.
static inline F32x16 fraction(F32x16 x) { return {_mm512_reduce_ps(x.v, 0x09)}; }
static inline F32x16 times_exp2(F32x16 a, F32x16 x) { return {_mm512_scalef_ps(a.v, x.v)}; }

// 2^x, good to 1e-4: what follows rounds to 2^-9.
static inline F32x16 exp2_lanes(F32x16 x) {
  const F32x16 r = fraction(x);
  F32x16 p = fma(set1(0.0780245371f), r, set1(0.226067199f));
  p = fma(p, r, set1(0.695833489f));
  return times_exp2(fma(p, r, set1(0.999925228f)), x);
}

// Numbers that are no longer normal count as zeros while it lives, as in dots of bf16.
struct FlushSubnormals {
  FlushSubnormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before); }
  const unsigned before;
};

static inline bool any_lt(F32x16 a, F32x16 b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ) != 0;
}
static inline I32x16 load_ints(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
// a where first <= at < last, else b, lane by lane.
static inline F32x16 select_within(I32x16 first, I32x16 last, int32_t at, F32x16 a, F32x16 b) {
  const __m512i here = _mm512_set1_epi32(at);
  const __mmask16 begun = _mm512_cmple_epi32_mask(first.v, here);
  return {_mm512_mask_blend_ps(_mm512_mask_cmplt_epi32_mask(begun, here, last.v), b.v, a.v)};
}
// a with zeros for what is infinite in bf16, or NaN; whether there was any.
static inline F32x16 only_finite(F32x16 a, bool* lost) {
  const __m512i size = _mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7FFFFFFF));
  const __mmask16 finite = _mm512_cmplt_epi32_mask(size, _mm512_set1_epi32(0x7F7F8000));
  *lost = finite != 0xFFFF;
  return {_mm512_maskz_mov_ps(finite, a.v)};
}

static inline void transpose(__m512i* rows) {
  __m512i a[16];
  CACTUS_UNROLL
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  CACTUS_UNROLL
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  // Row 4 i + j now holds, in each quarter q, column 4 q + j of the rows 4 i .. 4 i + 3.
  CACTUS_UNROLL
  for (int j = 0; j < 4; j++) {
    a[j] = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x88);
    a[4 + j] = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xDD);
    a[8 + j] = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x88);
    a[12 + j] = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xDD);
  }
  CACTUS_UNROLL
  for (int j = 0; j < 4; j++) {
    rows[j] = _mm512_shuffle_i32x4(a[j], a[8 + j], 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(a[j], a[8 + j], 0xDD);
    rows[4 + j] = _mm512_shuffle_i32x4(a[4 + j], a[12 + j], 0x88);
    rows[12 + j] = _mm512_shuffle_i32x4(a[4 + j], a[12 + j], 0xDD);
  }
}
// 16 rows of 16 floats, or of 16 pairs of bf16, become columns.
template <class Lanes>
static inline void transpose(Lanes* rows) {
  __m512i bits[16];
  CACTUS_UNROLL
  for (int i = 0; i < 16; i++) bits[i] = (__m512i)rows[i].v;
  transpose(bits);
  CACTUS_UNROLL
  for (int i = 0; i < 16; i++) rows[i] = {(decltype(rows[i].v))bits[i]};
}

}  // namespace cactus::CACTUS_TIER
