// The SIMD vocabulary of the neon tier (Armv8.2 dotprod): both factors of a dot are signed.
#pragma once

#include "cpu/lanes_neon.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 4;       // sixteen sums, and the codes, in 32 registers
constexpr int kQueries = 4;       // rows of an attention tile
constexpr int kAccumulators = 4;  // lanes that stay in registers beside the operands
constexpr bool kByteDot = false;
constexpr int kQ8Offset = 0;  // dot4_q8 takes the offset off before it multiplies

static inline I16 dot4(I16 acc, B64 w, const int8_t* a) {
  const int8x16_t v = broadcast4(a);
  I16 r;
  CACTUS_QUADS(vdotq_s32(acc.v[i], vreinterpretq_s8_u8(w.v[i]), v));
}
using Nibbles = I16;  // sums of products with nibbles
static inline Nibbles nibbles_zero() { return izero(); }
static inline I16 total(Nibbles a) { return a; }
static inline I16 dot4_q8(I16 acc, B64 w, const int8_t* a) {
  for (int i = 0; i < 4; i++) w.v[i] = veorq_u8(w.v[i], vdupq_n_u8(128));
  return dot4(acc, w, a);
}

}  // namespace cactus::CACTUS_TIER
