// The SIMD vocabulary of the avx2 tier (AVX2, FMA, F16C).
#pragma once

#include "cpu/lanes_avx2.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 4;       // more rows would spill the sixteen registers
constexpr int kQueries = 6;       // rows of an attention tile
constexpr int kAccumulators = 6;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 128;    // word_bytes has the codes as stored, with their offset

// acc[r] += w[2 r] * a[0] + w[2 r + 1] * a[1]
static inline I32x16 dot2(I32x16 acc, U8x64 w, const int16_t* a) {
  const __m256i v = _mm256_set1_epi32(load_word(a));
  acc = {_mm256_add_epi32(acc.a, _mm256_madd_epi16(w.a, v)),
         _mm256_add_epi32(acc.b, _mm256_madd_epi16(w.b, v))};
  // Otherwise GCC does the additions of a loop together at its end, and keeps the products in
  // memory until then.
  asm volatile("" : "+x"(acc.a), "+x"(acc.b));
  return acc;
}
static inline U8x64 zero_words() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
// Words of 16 bits: acc[r] += w[2 r] * a[2 r % 4] + w[2 r + 1] * a[2 r % 4 + 1], w unsigned and of
// 4 bits; sixteen such products fit a word.
static inline U8x64 dot_nibbles(U8x64 acc, U8x64 w, const int8_t* a) {
  const __m256i v = _mm256_set1_epi32(load_word(a));
  return {_mm256_add_epi16(acc.a, _mm256_maddubs_epi16(w.a, v)),
          _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(w.b, v))};
}
// acc[r] += words[2 r] + words[2 r + 1]
static inline I32x16 add_words(I32x16 acc, U8x64 words) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(words.a, ones)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(words.b, ones))};
}
// acc[r] += sum over b < 4 of (w[4 r + b] - 128) * a[b]: magnitudes times signed activations.
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) {
  const __m256i v = _mm256_set1_epi32(load_word(a));
  const __m256i offset = _mm256_set1_epi8(-128);
  const __m256i x = _mm256_xor_si256(w.a, offset), y = _mm256_xor_si256(w.b, offset);
  return add_words(acc, {_mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(v, x)),
                         _mm256_maddubs_epi16(_mm256_abs_epi8(y), _mm256_sign_epi8(v, y))});
}
// Nibble N of every 16 bits, as a number of 16 bits.
template <int N>
static inline U8x64 word_nibbles(U8x64 x) {
  if constexpr (N > 0) x = {_mm256_srli_epi16(x.a, 4 * N), _mm256_srli_epi16(x.b, 4 * N)};
  if constexpr (N == 3) return x;
  const __m256i mask = _mm256_set1_epi16(15);
  return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
template <int N>
static inline U8x64 word_bytes(U8x64 x) {
  if constexpr (N == 1) return {_mm256_srli_epi16(x.a, 8), _mm256_srli_epi16(x.b, 8)};
  const __m256i mask = _mm256_set1_epi16(255);
  return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
// Four runs of 8 words: lanes 0, 2 of four of x, then of y, then lanes 1, 3.
static inline void store_words(uint8_t* p, size_t stride, I32x16 x, I32x16 y) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i a = _mm256_shuffle_epi8(_mm256_packs_epi32(x.a, y.a), order);
  const __m256i b = _mm256_shuffle_epi8(_mm256_packs_epi32(x.b, y.b), order);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + stride), _mm256_extracti128_si256(a, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * stride), _mm256_castsi256_si128(b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 3 * stride), _mm256_extracti128_si256(b, 1));
}
// 16 words: lanes 0, 2, 1, 3 of each four.
static inline void store_fours(int16_t* p, I32x16 x) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_shuffle_epi8(words, order));
}

}  // namespace cactus::CACTUS_TIER
