// The SIMD vocabulary of the avx512 tier (F, BW, DQ, VL, VNNI): 16 lanes are one register.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace cactus::CACTUS_TIER {

constexpr int kMaxRows = 12;       // with them 24 accumulators live in registers; more would spill
constexpr int kQueries = 12;       // rows of an attention tile
constexpr int kAccumulators = 24;  // lanes that stay in registers beside the operands
constexpr int kQ8Offset = 128;     // dot4_q8 multiplies the codes as stored, with their offset

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
struct U8x64 {
  __m512i v;
};

static inline F32x16 zero() { return {_mm512_setzero_ps()}; }
static inline F32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
static inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
static inline F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
// a where x < y, else b, lane by lane.
static inline F32x16 select_lt(F32x16 x, F32x16 y, F32x16 a, F32x16 b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), b.v, a.v)};
}
// The first n lanes of a, the rest of b; n is 0..16.
static inline F32x16 first_lanes(int n, F32x16 a, F32x16 b) {
  return {_mm512_mask_blend_ps(static_cast<__mmask16>((1u << n) - 1), b.v, a.v)};
}

// Lane i is lane i ^ N of a.
template <int N>
static inline F32x16 swap_lanes(F32x16 a) {
  if constexpr (N == 8) return {_mm512_shuffle_f32x4(a.v, a.v, 0x4E)};
  if constexpr (N == 4) return {_mm512_shuffle_f32x4(a.v, a.v, 0xB1)};
  return {_mm512_permute_ps(a.v, N == 2 ? 0x4E : 0xB1)};
}

// Of 32 numbers in quads: quads 0, 2, 4, 6 and quads 1, 3, 5, 7.
static inline void split_quads(F32x16 a, F32x16 b, F32x16* even, F32x16* odd) {
  even->v = _mm512_shuffle_f32x4(a.v, b.v, 0x88);
  odd->v = _mm512_shuffle_f32x4(a.v, b.v, 0xDD);
}

static inline F32x16 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline void store_f16(uint16_t* p, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline F32x16 load_bf16(const uint16_t* p) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}

static inline I32x16 izero() { return {_mm512_setzero_si512()}; }
static inline I32x16 iset1(int32_t x) { return {_mm512_set1_epi32(x)}; }
static inline I32x16 iadd(I32x16 a, I32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
static inline I32x16 to_bits(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
static inline I32x16 imax(I32x16 a, I32x16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
static inline I32x16 isub(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
template <int N>
static inline I32x16 shift_left(I32x16 a) {
  return {_mm512_slli_epi32(a.v, N)};
}
template <int N>
static inline I32x16 shift_right(I32x16 a) {
  return {_mm512_srai_epi32(a.v, N)};
}
static inline F32x16 to_f32(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
// Nearest integer, ties to even.
static inline I32x16 round_i32(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
// Truncates lanes to 8 bits; the values fit.
static inline void store_i8(int8_t* p, I32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
// The lowest byte, as store_i8 takes it.
static inline I32x16 low_byte(I32x16 a) { return a; }
static inline F32x16 from_bits(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }

static inline U8x64 load_codes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
static inline U8x64 low_nibbles(U8x64 a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
static inline U8x64 high_nibbles(U8x64 a) {
  return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(15))};
}
// The bytes of q8 that codes of q4_nl stand for.
static inline U8x64 look_up(U8x64 a) {
  const __m128i levels = _mm_load_si128(reinterpret_cast<const __m128i*>(kLevels));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), a.v)};
}
// Four bytes as an operand in memory.
using FourBytes [[gnu::may_alias, gnu::aligned(1)]] = int32_t;
// acc[r] += sum over b < 4 of w[4 r + b] * a[b]: w unsigned, a signed.
static inline I32x16 dot4(I32x16 acc, U8x64 w, const int8_t* a) {
  // As an intrinsic the broadcast becomes an instruction and a register of its own, and the tile
  // with most rows no longer fits the registers.
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(acc.v)
      : "v"(w.v), "m"(*reinterpret_cast<const FourBytes*>(a)));
  return acc;
}
static inline I32x16 dot4_byte(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }
// The same for q8 codes as stored (code + 128).
static inline I32x16 dot4_q8(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }

static inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

// Into the second-level cache, for the next phase of a loop.
static inline void prefetch_far(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

static inline float reduce_add(F32x16 a) {
  const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
static inline float reduce_max(F32x16 a) { return _mm512_reduce_max_ps(a.v); }
static inline int32_t reduce_max(I32x16 a) { return _mm512_reduce_max_epi32(a.v); }
static inline int32_t reduce_add(I32x16 a) { return _mm512_reduce_add_epi32(a.v); }

}  // namespace cactus::CACTUS_TIER
