// The SIMD vocabulary of the scalar tier: 16 lanes are an array, for any CPU. Lane loops are left
// to the compiler; multiply and add are two roundings here, which is the one difference to the
// others.
#pragma once

#include <cstdint>
#include <cstring>

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 2;
constexpr int kQueries = 4;       // rows of an attention tile
constexpr int kAccumulators = 8;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 128;

struct F32x16 {
  float v[16];
};
struct I32x16 {
  int32_t v[16];
};
struct U8x64 {
  uint8_t v[64];
};

#define CACTUS_LANES(expression) \
  for (int i = 0; i < 16; i++) { \
    r.v[i] = expression;         \
  }                              \
  return r

static inline F32x16 set1(float x) {
  F32x16 r;
  CACTUS_LANES(x);
}
static inline F32x16 zero() { return set1(0); }
static inline F32x16 load(const float* p) {
  F32x16 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
static inline void store(float* p, F32x16 a) { std::memcpy(p, &a, sizeof a); }
static inline F32x16 add(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] + b.v[i]);
}
static inline F32x16 sub(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] - b.v[i]);
}
static inline F32x16 mul(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] * b.v[i]);
}
static inline F32x16 div(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] / b.v[i]);
}
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  F32x16 r;
  CACTUS_LANES(a.v[i] * b.v[i] + c.v[i]);
}
static inline F32x16 max(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline F32x16 min(F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline F32x16 abs(F32x16 a) {
  F32x16 r;
  CACTUS_LANES(__builtin_fabsf(a.v[i]));
}
static inline F32x16 select_lt(F32x16 x, F32x16 y, F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(x.v[i] < y.v[i] ? a.v[i] : b.v[i]);
}
static inline F32x16 first_lanes(int n, F32x16 a, F32x16 b) {
  F32x16 r;
  CACTUS_LANES(i < n ? a.v[i] : b.v[i]);
}

template <int N>
static inline F32x16 swap_lanes(F32x16 a) {
  F32x16 r;
  CACTUS_LANES(a.v[i ^ N]);
}

static inline void split_quads(F32x16 a, F32x16 b, F32x16* even, F32x16* odd) {
  for (int i = 0; i < 16; i++) {
    const F32x16& from = i < 8 ? a : b;
    even->v[i] = from.v[i / 4 % 2 * 8 + i % 4];
    odd->v[i] = from.v[i / 4 % 2 * 8 + 4 + i % 4];
  }
}

static inline float bits_to_float(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
static inline uint32_t float_to_bits(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  return bits;
}
// IEEE 754 half <-> single, round to nearest even, as F16C does it.
static inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) return bits_to_float(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}
static inline uint16_t float_to_half(float f) {
  const uint32_t bits = float_to_bits(f), magnitude = bits & 0x7FFFFFFFu;
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x38800000u) {
    // Below the smallest normal half: adding 0.5 lets the FPU round at the right bit.
    const float shifted = bits_to_float(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (float_to_bits(shifted) - 0x3F000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xFFFu + odd) >> 13));
}

static inline F32x16 load_f16(const uint16_t* p) {
  F32x16 r;
  CACTUS_LANES(half_to_float(p[i]));
}
static inline void store_f16(uint16_t* p, F32x16 a) {
  for (int i = 0; i < 16; i++) p[i] = float_to_half(a.v[i]);
}
static inline F32x16 load_bf16(const uint16_t* p) {
  F32x16 r;
  CACTUS_LANES(bits_to_float(static_cast<uint32_t>(p[i]) << 16));
}

static inline I32x16 iset1(int32_t x) {
  I32x16 r;
  CACTUS_LANES(x);
}
static inline I32x16 izero() { return iset1(0); }
static inline I32x16 iadd(I32x16 a, I32x16 b) {
  I32x16 r;
  CACTUS_LANES(a.v[i] + b.v[i]);
}
static inline I32x16 to_bits(F32x16 a) {
  I32x16 r;
  CACTUS_LANES(static_cast<int32_t>(float_to_bits(a.v[i])));
}
static inline I32x16 imax(I32x16 a, I32x16 b) {
  I32x16 r;
  CACTUS_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline I32x16 isub(I32x16 a, I32x16 b) {
  I32x16 r;
  CACTUS_LANES(a.v[i] - b.v[i]);
}
template <int N>
static inline I32x16 shift_left(I32x16 a) {
  I32x16 r;
  CACTUS_LANES(static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << N));
}
template <int N>
static inline I32x16 shift_right(I32x16 a) {
  I32x16 r;
  CACTUS_LANES(a.v[i] >> N);
}
static inline F32x16 to_f32(I32x16 a) {
  F32x16 r;
  CACTUS_LANES(static_cast<float>(a.v[i]));
}
static inline I32x16 round_i32(F32x16 a) {
  I32x16 r;
  // Values beyond the integers (NaN too) give the smallest integer, as the SSE instruction does.
  for (int i = 0; i < 16; i++) {
    const float x = __builtin_rintf(a.v[i]);
    r.v[i] = x >= -2147483648.0f && x < 2147483648.0f ? static_cast<int32_t>(x) : INT32_MIN;
  }
  return r;
}
static inline void store_i8(int8_t* p, I32x16 a) {
  for (int i = 0; i < 16; i++) p[i] = static_cast<int8_t>(a.v[i]);
}
static inline I32x16 low_byte(I32x16 a) { return a; }
static inline F32x16 from_bits(I32x16 a) {
  F32x16 r;
  CACTUS_LANES(bits_to_float(static_cast<uint32_t>(a.v[i])));
}

static inline U8x64 load_codes(const uint8_t* p) {
  U8x64 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
static inline U8x64 low_nibbles(U8x64 a) {
  U8x64 r;
  for (int i = 0; i < 64; i++) r.v[i] = a.v[i] & 15;
  return r;
}
static inline U8x64 high_nibbles(U8x64 a) {
  U8x64 r;
  for (int i = 0; i < 64; i++) r.v[i] = a.v[i] >> 4;
  return r;
}
// The bytes of q8 that codes of q4_nl stand for.
static inline U8x64 look_up(U8x64 a) {
  U8x64 r;
  for (int i = 0; i < 64; i++) r.v[i] = kLevels[a.v[i]];
  return r;
}
static inline I32x16 dot4(I32x16 acc, U8x64 w, const int8_t* a) {
  for (int i = 0; i < 16; i++) {
    acc.v[i] +=
        w.v[4 * i] * a[0] + w.v[4 * i + 1] * a[1] + w.v[4 * i + 2] * a[2] + w.v[4 * i + 3] * a[3];
  }
  return acc;
}
static inline I32x16 dot4_byte(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }

static inline void prefetch(const void*) {}
static inline void prefetch_far(const void*) {}

// The same tree of additions as the other tiers.
static inline float reduce_add(F32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}
static inline float reduce_max(F32x16 a) {
  float r = a.v[0];
  for (int i = 1; i < 16; i++) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
static inline int32_t reduce_max(I32x16 a) {
  int32_t r = a.v[0];
  for (int i = 1; i < 16; i++) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
static inline int32_t reduce_add(I32x16 a) {
  int32_t r = 0;
  for (int i = 0; i < 16; i++) r += a.v[i];
  return r;
}

#undef CACTUS_LANES

}  // namespace cactus::CACTUS_TIER
