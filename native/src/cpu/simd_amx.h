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

}  // namespace cactus::CACTUS_TIER
