// Words that the amx tier has beside those of avx512.
#pragma once

#include "cpu/simd_bf16.h"

namespace cactus::CACTUS_TIER {

static inline I32x16 load_i32(const int32_t* p) { return {_mm512_load_si512(p)}; }
static inline void store_codes_64(int8_t* p, U8x64 a) { _mm512_store_si512(p, a.v); }
static inline U8x64 subtract_bytes(U8x64 a, int n) {
  return {_mm512_sub_epi8(a.v, _mm512_set1_epi8(static_cast<char>(n)))};
}
// Truncates lanes to 8 bits and stores quads of both in turn: four of a, four of b, and so on.
static inline void store_i8_quads(int8_t* p, I32x16 a, I32x16 b) {
  const __m128i first = _mm512_cvtepi32_epi8(a.v), last = _mm512_cvtepi32_epi8(b.v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_unpacklo_epi32(first, last));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm_unpackhi_epi32(first, last));
}

// Stores 64 numbers of 16 bits, of -32639..32639, as 256 first + second of signed bytes.
static inline void store_code16(const I32x16* x, int8_t* first, int8_t* second) {
  // What packing does to the order of fours within and between 128 bits.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i a = _mm512_packs_epi32(x[0].v, x[1].v), b = _mm512_packs_epi32(x[2].v, x[3].v);
  const __m512i half = _mm512_set1_epi16(128), low = _mm512_set1_epi16(255);
  const __m512i high_a = _mm512_srai_epi16(_mm512_add_epi16(a, half), 8);
  const __m512i high_b = _mm512_srai_epi16(_mm512_add_epi16(b, half), 8);
  const __m512i high = _mm512_packs_epi16(high_a, high_b);
  const __m512i rest = _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low));
  _mm512_storeu_si512(first, _mm512_permutexvar_epi32(order, high));
  _mm512_storeu_si512(second, _mm512_permutexvar_epi32(order, rest));
}

// For a store that comes soon.
static inline void prefetch_write(const void* p) { __builtin_prefetch(p, 1); }

// Numbers that are no longer normal count as zeros while it lives, as in the unit.
struct FlushSubnormals {
  FlushSubnormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before); }
  const unsigned before;
};

// Numbers of a, rounded to nearest.
static inline void store_bf16_half(void* p, F32x16 a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
static inline F32x16 first_half(Bf16x32 a) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(a.v));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
static inline F32x16 last_half(Bf16x32 a) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(a.v, 1));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Of each four bytes, as one number, the bits that are set in `mask`.
static inline U8x64 and_bits(U8x64 a, uint32_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi32(static_cast<int>(mask)))};
}
static inline F32x16 unsigned_to_f32(U8x64 a) { return {_mm512_cvtepu32_ps(a.v)}; }
static inline float bf16_value(const uint16_t* p) {
  const uint32_t bits = uint32_t{*p} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
static inline F32x16 broadcast_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(uint32_t{*p} << 16)))};
}
// What of a number bf16 has room for, without rounding.
static inline F32x16 high_part(F32x16 a) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), mask))};
}
// The same of a and b, lane by lane side by side.
static inline Bf16x32 high_pairs(F32x16 a, F32x16 b) {
  const __m512i first = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
  return {_mm512_mask_blend_epi16(0xAAAAAAAAu, first, _mm512_castps_si512(b.v))};
}
// acc + the first + the last of each pair.
static inline F32x16 add_pairs(F32x16 acc, Bf16x32 pairs) {
  const __m512i ones = _mm512_set1_epi32(0x3F803F80);
  return {_mm512_dpbf16_ps(acc.v, (__m512bh)pairs.v, (__m512bh)ones)};
}

// x = floor + fraction: that fraction, which is 0 of infinities, and a 2^floor, exact.
static inline F32x16 fraction(F32x16 x) { return {_mm512_reduce_ps(x.v, 0x09)}; }
static inline F32x16 times_exp2(F32x16 a, F32x16 x) { return {_mm512_scalef_ps(a.v, x.v)}; }
// 1 / a, good to 2^-14.
static inline F32x16 reciprocal(F32x16 a) { return {_mm512_rcp14_ps(a.v)}; }
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
