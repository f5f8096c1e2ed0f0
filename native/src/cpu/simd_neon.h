// The SIMD vocabulary of the neon tier (Armv8.2 dotprod): both factors of a dot are signed.
#pragma once

#include "cpu/lanes_neon.h"

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 4;       // sixteen sums, and the codes, in 32 registers
constexpr int kQueries = 4;       // rows of an attention tile
constexpr int kAccumulators = 4;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 0;      // dot4_q8 takes the offset off before it multiplies

static inline I32x16 dot4(I32x16 acc, U8x64 w, const int8_t* a) {
  const int8x16_t v = broadcast4(a);
  I32x16 r;
  CACTUS_QUADS(vdotq_s32(acc.v[i], vreinterpretq_s8_u8(w.v[i]), v));
}
// The same for weights of all 8 bits: (w - 128) a + 128 a.
static inline I32x16 dot4_byte(I32x16 acc, U8x64 w, const int8_t* a) {
  const int32x4_t excess = vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(-128), broadcast4(a));
  for (int i = 0; i < 4; i++) w.v[i] = veorq_u8(w.v[i], vdupq_n_u8(128));
  I32x16 r = dot4(acc, w, a);
  for (int i = 0; i < 4; i++) r.v[i] = vsubq_s32(r.v[i], excess);
  return r;
}
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) {
  for (int i = 0; i < 4; i++) w.v[i] = veorq_u8(w.v[i], vdupq_n_u8(128));
  return dot4(acc, w, a);
}

}  // namespace cactus::CACTUS_TIER
