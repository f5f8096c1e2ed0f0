// The SIMD vocabulary of the avxvnni tier (avx2 with AVX-VNNI): a dot is one instruction.
#pragma once

#include "cpu/lanes_avx2.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 5;       // more rows would spill the sixteen registers
constexpr int kQueries = 6;       // rows of an attention tile
constexpr int kAccumulators = 6;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 128;    // dot4_q8 multiplies the codes as stored, with their offset

static inline I32x16 dot4(I32x16 acc, U8x64 w, const int8_t* a) {
  const __m256i v = _mm256_set1_epi32(load_word(a));
  return {_mm256_dpbusd_avx_epi32(acc.a, w.a, v), _mm256_dpbusd_avx_epi32(acc.b, w.b, v)};
}
static inline I32x16 dot4_byte(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }

}  // namespace cactus::CACTUS_TIER
