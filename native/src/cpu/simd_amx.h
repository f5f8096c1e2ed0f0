// Words that the amx tier has beside those of avx512.
#pragma once

#include "cpu/simd_avx512.h"

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

// For a store that comes soon.
static inline void prefetch_write(const void* p) { __builtin_prefetch(p, 1); }

// Numbers that are no longer normal count as zeros while it lives, as in the unit.
struct FlushSubnormals {
  FlushSubnormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before); }
  const unsigned before;
};

struct Bf16x32 {
  __m512i v;
};
// Numbers of a, then of b, rounded to nearest.
static inline Bf16x32 to_bf16(F32x16 a, F32x16 b) {
  const __m512bh both = _mm512_cvtne2ps_pbh(b.v, a.v);
  return {(__m512i)both};
}
static inline F32x16 first_half(Bf16x32 a) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(a.v));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
static inline F32x16 last_half(Bf16x32 a) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(a.v, 1));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
static inline F32x16 broadcast_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(uint32_t{*p} << 16)))};
}
static inline void store_bf16(void* p, Bf16x32 a) { _mm512_storeu_si512(p, a.v); }
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

}  // namespace cactus::CACTUS_TIER
