// The SIMD vocabulary of the neon_i8mm tier: dots of unsigned weights and signed activations.
#pragma once

#include "cpu/lanes_neon.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 4;       // sixteen sums, and the codes, in 32 registers
constexpr int kQueries = 4;       // rows of an attention tile
constexpr int kAccumulators = 4;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 128;    // dot4_q8 multiplies the codes as stored, with their offset

static inline I32x16 dot4(I32x16 acc, U8x64 w, const int8_t* a) {
  const int8x16_t v = broadcast4(a);
  I32x16 r;
  CACTUS_QUADS(vusdotq_s32(acc.v[i], w.v[i], v));
}
static inline I32x16 dot4_byte(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }

}  // namespace cactus::CACTUS_TIER
