// What the arm64 tiers have in common: 16 lanes are four registers. The dots, in which the tiers
// differ, are in simd_neon.h and simd_neon_i8mm.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace cactus::CACTUS_TIER {

struct F32x16 {
  float32x4_t v[4];
};
struct I32x16 {
  int32x4_t v[4];
};
struct U8x64 {
  uint8x16_t v[4];
};

#define CACTUS_QUADS(expression) \
  for (int i = 0; i < 4; i++) {  \
    r.v[i] = expression;         \
  }                              \
  return r

static inline F32x16 set1(float x) {
  F32x16 r;
  CACTUS_QUADS(vdupq_n_f32(x));
}
static inline F32x16 zero() { return set1(0); }
static inline F32x16 load(const float* p) {
  F32x16 r;
  CACTUS_QUADS(vld1q_f32(p + 4 * i));
}
static inline void store(float* p, F32x16 x) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
}
static inline F32x16 add(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vaddq_f32(x.v[i], y.v[i]));
}
static inline F32x16 sub(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vsubq_f32(x.v[i], y.v[i]));
}
static inline F32x16 mul(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vmulq_f32(x.v[i], y.v[i]));
}
static inline F32x16 div(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vdivq_f32(x.v[i], y.v[i]));
}
static inline F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  F32x16 r;
  CACTUS_QUADS(vfmaq_f32(z.v[i], x.v[i], y.v[i]));
}
// Not fmax and fmin: the second operand is the result where one is NaN, as on x86.
static inline F32x16 max(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]));
}
static inline F32x16 min(F32x16 x, F32x16 y) {
  F32x16 r;
  CACTUS_QUADS(vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]));
}
static inline F32x16 abs(F32x16 x) {
  F32x16 r;
  CACTUS_QUADS(vabsq_f32(x.v[i]));
}
static inline F32x16 select_lt(F32x16 x, F32x16 y, F32x16 p, F32x16 q) {
  F32x16 r;
  CACTUS_QUADS(vbslq_f32(vcltq_f32(x.v[i], y.v[i]), p.v[i], q.v[i]));
}
static inline F32x16 first_lanes(int n, F32x16 p, F32x16 q) {
  const int32_t numbers[4] = {0, 1, 2, 3};
  const int32x4_t lanes = vld1q_s32(numbers);
  F32x16 r;
  CACTUS_QUADS(vbslq_f32(vcltq_s32(lanes, vdupq_n_s32(n - 4 * i)), p.v[i], q.v[i]));
}

template <int N>
static inline F32x16 swap_lanes(F32x16 x) {
  F32x16 r;
  if constexpr (N == 1) {
    CACTUS_QUADS(vrev64q_f32(x.v[i]));
  } else if constexpr (N == 2) {
    CACTUS_QUADS(vextq_f32(x.v[i], x.v[i], 2));
  } else {
    CACTUS_QUADS(x.v[i ^ (N / 4)]);
  }
}

static inline void split_quads(F32x16 x, F32x16 y, F32x16* even, F32x16* odd) {
  *even = {{x.v[0], x.v[2], y.v[0], y.v[2]}};
  *odd = {{x.v[1], x.v[3], y.v[1], y.v[3]}};
}

static inline F32x16 load_f16(const uint16_t* p) {
  F32x16 r;
  CACTUS_QUADS(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
static inline void store_f16(uint16_t* p, F32x16 x) {
  for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
static inline F32x16 load_bf16(const uint16_t* p) {
  F32x16 r;
  CACTUS_QUADS(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}

static inline I32x16 iset1(int32_t x) {
  I32x16 r;
  CACTUS_QUADS(vdupq_n_s32(x));
}
static inline I32x16 izero() { return iset1(0); }
static inline I32x16 iadd(I32x16 x, I32x16 y) {
  I32x16 r;
  CACTUS_QUADS(vaddq_s32(x.v[i], y.v[i]));
}
static inline I32x16 to_bits(F32x16 x) {
  I32x16 r;
  CACTUS_QUADS(vreinterpretq_s32_f32(x.v[i]));
}
static inline I32x16 imax(I32x16 x, I32x16 y) {
  I32x16 r;
  CACTUS_QUADS(vmaxq_s32(x.v[i], y.v[i]));
}
static inline I32x16 isub(I32x16 x, I32x16 y) {
  I32x16 r;
  CACTUS_QUADS(vsubq_s32(x.v[i], y.v[i]));
}
template <int N>
static inline I32x16 shift_left(I32x16 x) {
  I32x16 r;
  CACTUS_QUADS(vshlq_n_s32(x.v[i], N));
}
template <int N>
static inline I32x16 shift_right(I32x16 x) {
  I32x16 r;
  CACTUS_QUADS(vshrq_n_s32(x.v[i], N));
}
static inline F32x16 to_f32(I32x16 x) {
  F32x16 r;
  CACTUS_QUADS(vcvtq_f32_s32(x.v[i]));
}
// Where it is NaN or beyond the integers the result differs from x86's; no kernel uses that lane.
static inline I32x16 round_i32(F32x16 x) {
  I32x16 r;
  CACTUS_QUADS(vcvtnq_s32_f32(x.v[i]));
}
static inline void store_i8(int8_t* p, I32x16 x) {
  const int16x8_t low = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
  vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
static inline I32x16 low_byte(I32x16 x) { return x; }
static inline F32x16 from_bits(I32x16 x) {
  F32x16 r;
  CACTUS_QUADS(vreinterpretq_f32_s32(x.v[i]));
}

static inline U8x64 load_codes(const uint8_t* p) {
  U8x64 r;
  CACTUS_QUADS(vld1q_u8(p + 16 * i));
}
static inline U8x64 low_nibbles(U8x64 x) {
  U8x64 r;
  CACTUS_QUADS(vandq_u8(x.v[i], vdupq_n_u8(15)));
}
static inline U8x64 high_nibbles(U8x64 x) {
  U8x64 r;
  CACTUS_QUADS(vshrq_n_u8(x.v[i], 4));
}
// The bytes of q8 that codes of q4_nl stand for.
static inline U8x64 look_up(U8x64 x) {
  U8x64 r;
  CACTUS_QUADS(vqtbl1q_u8(vld1q_u8(kLevels), x.v[i]));
}
// Four codes of an activation, for every lane.
static inline int8x16_t broadcast4(const int8_t* a) {
  int32_t word;
  std::memcpy(&word, a, sizeof word);
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

static inline void prefetch(const void* p) { __builtin_prefetch(p); }
// Into the second-level cache, for the next phase of a loop.
static inline void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

// The same tree of additions as the other tiers.
static inline float reduce_add(F32x16 x) {
  const float32x4_t q = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
  const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
static inline float reduce_max(F32x16 x) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[2]), vmaxq_f32(x.v[1], x.v[3])));
}
static inline int32_t reduce_max(I32x16 x) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.v[0], x.v[2]), vmaxq_s32(x.v[1], x.v[3])));
}
static inline int32_t reduce_add(I32x16 x) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[2]), vaddq_s32(x.v[1], x.v[3])));
}

}  // namespace cactus::CACTUS_TIER
