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

struct F16 {
  float v[16];
};
struct I16 {
  int32_t v[16];
};
struct B64 {
  uint8_t v[64];
};

#define CACTUS_LANES(expression) \
  for (int i = 0; i < 16; i++) { \
    r.v[i] = expression;         \
  }                              \
  return r

static inline F16 set1(float x) {
  F16 r;
  CACTUS_LANES(x);
}
static inline F16 zero() { return set1(0); }
static inline F16 load(const float* p) {
  F16 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
static inline void store(float* p, F16 a) { std::memcpy(p, &a, sizeof a); }
static inline F16 add(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] + b.v[i]);
}
static inline F16 sub(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] - b.v[i]);
}
static inline F16 mul(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] * b.v[i]);
}
static inline F16 div(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] / b.v[i]);
}
static inline F16 fma(F16 a, F16 b, F16 c) {
  F16 r;
  CACTUS_LANES(a.v[i] * b.v[i] + c.v[i]);
}
static inline F16 max(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline F16 min(F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline F16 abs(F16 a) {
  F16 r;
  CACTUS_LANES(__builtin_fabsf(a.v[i]));
}
static inline F16 select_lt(F16 x, F16 y, F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(x.v[i] < y.v[i] ? a.v[i] : b.v[i]);
}
static inline F16 first_lanes(int n, F16 a, F16 b) {
  F16 r;
  CACTUS_LANES(i < n ? a.v[i] : b.v[i]);
}

static inline void split_quads(F16 a, F16 b, F16* even, F16* odd) {
  for (int i = 0; i < 16; i++) {
    const F16& from = i < 8 ? a : b;
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

static inline F16 load_f16(const uint16_t* p) {
  F16 r;
  CACTUS_LANES(half_to_float(p[i]));
}
static inline void store_f16(uint16_t* p, F16 a) {
  for (int i = 0; i < 16; i++) p[i] = float_to_half(a.v[i]);
}
static inline F16 load_bf16(const uint16_t* p) {
  F16 r;
  CACTUS_LANES(bits_to_float(static_cast<uint32_t>(p[i]) << 16));
}

static inline I16 iset1(int32_t x) {
  I16 r;
  CACTUS_LANES(x);
}
static inline I16 izero() { return iset1(0); }
static inline I16 iadd(I16 a, I16 b) {
  I16 r;
  CACTUS_LANES(a.v[i] + b.v[i]);
}
static inline I16 to_bits(F16 a) {
  I16 r;
  CACTUS_LANES(static_cast<int32_t>(float_to_bits(a.v[i])));
}
static inline I16 imax(I16 a, I16 b) {
  I16 r;
  CACTUS_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline I16 isub(I16 a, I16 b) {
  I16 r;
  CACTUS_LANES(a.v[i] - b.v[i]);
}
template <int N>
static inline I16 shift_left(I16 a) {
  I16 r;
  CACTUS_LANES(a.v[i] * (1 << N));
}
template <int N>
static inline I16 shift_right(I16 a) {
  I16 r;
  CACTUS_LANES(a.v[i] >> N);
}
static inline F16 to_f32(I16 a) {
  F16 r;
  CACTUS_LANES(static_cast<float>(a.v[i]));
}
static inline I16 round_i32(F16 a) {
  I16 r;
  // Values beyond the integers (NaN too) give the smallest integer, as the SSE instruction does.
  for (int i = 0; i < 16; i++) {
    const float x = __builtin_rintf(a.v[i]);
    r.v[i] = x >= -2147483648.0f && x < 2147483648.0f ? static_cast<int32_t>(x) : INT32_MIN;
  }
  return r;
}
static inline void store_i8(int8_t* p, I16 a) {
  for (int i = 0; i < 16; i++) p[i] = static_cast<int8_t>(a.v[i]);
}
static inline I16 load_i8(const int8_t* p) {
  I16 r;
  CACTUS_LANES(p[i]);
}
static inline F16 exp2_int(I16 n) {
  F16 r;
  CACTUS_LANES(bits_to_float(static_cast<uint32_t>(n.v[i] + 127) << 23));
}

static inline B64 load_codes(const uint8_t* p) {
  B64 r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
static inline B64 low_nibbles(B64 a) {
  B64 r;
  for (int i = 0; i < 64; i++) r.v[i] = a.v[i] & 15;
  return r;
}
static inline B64 high_nibbles(B64 a) {
  B64 r;
  for (int i = 0; i < 64; i++) r.v[i] = a.v[i] >> 4;
  return r;
}
static inline I16 dot4(I16 acc, B64 w, const int8_t* a) {
  for (int i = 0; i < 16; i++) {
    acc.v[i] +=
        w.v[4 * i] * a[0] + w.v[4 * i + 1] * a[1] + w.v[4 * i + 2] * a[2] + w.v[4 * i + 3] * a[3];
  }
  return acc;
}
static inline I16 dot4_byte(I16 acc, B64 w, const int8_t* a) { return dot4(acc, w, a); }
static inline I16 dot4_q8(I16 acc, B64 w, const int8_t* a) { return dot4(acc, w, a); }

static inline void prefetch(const void*) {}
static inline void prefetch_far(const void*) {}

// The same tree of additions as the other tiers.
static inline float reduce_add(F16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}
static inline float reduce_max(F16 a) {
  float r = a.v[0];
  for (int i = 1; i < 16; i++) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
static inline int32_t reduce_max(I16 a) {
  int32_t r = a.v[0];
  for (int i = 1; i < 16; i++) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
static inline int32_t reduce_add(I16 a) {
  int32_t r = 0;
  for (int i = 0; i < 16; i++) r += a.v[i];
  return r;
}

#undef CACTUS_LANES

}  // namespace cactus::CACTUS_TIER
