// The instructions of AMX: eight registers, each a tile of up to 16 rows of 64 bytes. With
// CACTUS_AMX_MODEL they are a model that any CPU with avx512 and its bf16 dots runs (amx_model.h),
// for tests on CPUs without the unit.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(CACTUS_AMX_MODEL)
#include "cpu/amx_model.h"
#endif

namespace cactus::CACTUS_TIER {

struct TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

#if defined(CACTUS_AMX_MODEL)

template <int T>
static inline void tile_zero() {
  amx_model::zero(T);
}
template <int T>
static inline void tile_load(const void* from, size_t stride) {
  amx_model::load(T, from, stride);
}
template <int T>
static inline void tile_store(void* to, size_t stride) {
  amx_model::store(T, to, stride);
}
template <int T, int X, int W>
static inline void tile_dot_int8() {
  amx_model::dot_bytes<int8_t>(T, X, W);
}
template <int T, int X, int W>
static inline void tile_dot_bytes() {
  amx_model::dot_bytes<uint8_t>(T, X, W);
}
template <int T, int X, int W>
static inline void tile_dot_bf16() {
  amx_model::dot_bf16(T, X, W);
}
static inline void tile_configure(const TileConfig& config) {
  amx_model::configure(config.row_bytes, config.rows);
}
static inline void tile_release() { amx_model::release(); }

#else

// Written out, because some compilers' functions for them do not say that they read memory.
template <int T>
static inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
static inline void tile_load(const void* from, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
static inline void tile_store(void* to, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}
// T += X W, of signed bytes.
template <int T, int X, int W>
static inline void tile_dot_int8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(T), "i"(X), "i"(W));
}
// The same of signed bytes times bytes.
template <int T, int X, int W>
static inline void tile_dot_bytes() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(T), "i"(X), "i"(W));
}
// The same of bf16, in f32.
template <int T, int X, int W>
static inline void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(T), "i"(X), "i"(W));
}
static inline void tile_configure(const TileConfig& config) {
  asm volatile("ldtilecfg %0" : : "m"(config));
}
// In their initial state the registers cost nothing when threads are switched.
static inline void tile_release() { asm volatile("tilerelease"); }

#endif

}  // namespace cactus::CACTUS_TIER
