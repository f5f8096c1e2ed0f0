// The SIMD vocabulary of the avx2 tier (AVX2, FMA, F16C).
#pragma once

#include "cpu/lanes_avx2.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 2;       // more rows would spill the sixteen registers
constexpr int kQueries = 6;       // rows of an attention tile
constexpr int kAccumulators = 6;  // lanes that stay in registers beside the operands
constexpr bool kByteDot = false;
constexpr int kQ8Offset = 0;  // dot4_q8 takes the offset off before it multiplies

// Sums of products with nibbles in 16 bits: up to eight dots, 8 * 2 * 15 * 127 = 30480.
struct Nibbles {
  __m256i a, b;
};
static inline Nibbles nibbles_zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline Nibbles dot4(Nibbles acc, B64 w, const int8_t* a) {
  const __m256i v = _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(a));
  return {_mm256_add_epi16(acc.a, _mm256_maddubs_epi16(w.a, v)),
          _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(w.b, v))};
}
static inline I16 total(Nibbles x) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(x.a, ones), _mm256_madd_epi16(x.b, ones)};
}
static inline I16 dot4_q8(I16 acc, B64 w, const int8_t* a) {
  const __m256i v = _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(a));
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i offset = _mm256_set1_epi8(-128);
  // maddubs saturates at 16 bits: with |w| <= 128 and |a| <= 127 the two products of a pair
  // stay below 2 * 128 * 127 = 32512.
  const __m256i wa = _mm256_xor_si256(w.a, offset), wb = _mm256_xor_si256(w.b, offset);
  const __m256i pa = _mm256_maddubs_epi16(_mm256_abs_epi8(wa), _mm256_sign_epi8(v, wa));
  const __m256i pb = _mm256_maddubs_epi16(_mm256_abs_epi8(wb), _mm256_sign_epi8(v, wb));
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(pa, ones)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(pb, ones))};
}

}  // namespace cactus::CACTUS_TIER
