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
// 1 / a, good to 2^-14.
static inline F32x16 reciprocal(F32x16 a) { return {_mm512_rcp14_ps(a.v)}; }

}  // namespace cactus::CACTUS_TIER
