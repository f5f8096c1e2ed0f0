// AMX in software, to the bit as Intel's manual defines its instructions: what a tier for the unit
// computes can be tested where there is none. It traps where the unit would: a register that is not
// configured, or shapes that do not fit.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace cactus::CACTUS_TIER::amx_model {

constexpr int kRegisters = 8;

struct Register {
  alignas(64) uint8_t bytes[16][64];
  int rows, row_bytes;  // 0: not configured
};
static thread_local Register registers[kRegisters];

static inline Register& at(int t) {
  Register& found = registers[t];
  if (found.rows == 0) __builtin_trap();
  return found;
}

static inline void zero(int t) { __builtin_memset(at(t).bytes, 0, sizeof registers[t].bytes); }

static inline void configure(const uint16_t* row_bytes, const uint8_t* rows) {
  for (int t = 0; t < kRegisters; t++) {
    const bool none = rows[t] == 0 || row_bytes[t] == 0;
    if (rows[t] > 16 || row_bytes[t] > 64 || row_bytes[t] % 4 != 0) __builtin_trap();
    __builtin_memset(registers[t].bytes, 0, sizeof registers[t].bytes);
    registers[t].rows = none ? 0 : rows[t];
    registers[t].row_bytes = none ? 0 : row_bytes[t];
  }
}

static inline void release() { __builtin_memset(registers, 0, sizeof registers); }

// What lies beyond the configured bytes of a row, and beyond the rows, becomes zero.
static inline void load(int t, const void* from, size_t stride) {
  zero(t);
  Register& to = at(t);
  const uint8_t* row = static_cast<const uint8_t*>(from);
  for (int m = 0; m < to.rows; m++, row += stride) {
    __builtin_memcpy(to.bytes[m], row, static_cast<size_t>(to.row_bytes));
  }
}

static inline void store(int t, void* to, size_t stride) {
  const Register& from = at(t);
  uint8_t* row = static_cast<uint8_t*>(to);
  for (int m = 0; m < from.rows; m++, row += stride) {
    __builtin_memcpy(row, from.bytes[m], static_cast<size_t>(from.row_bytes));
  }
}

// The registers of T += X W, where W has a row for each four bytes of one of X.
struct Operands {
  Register& sum;
  const Register& x;
  const Register& w;
  Operands(int t, int x_register, int w_register)
      : sum(at(t)), x(at(x_register)), w(at(w_register)) {
    const bool distinct = t != x_register && t != w_register && x_register != w_register;
    if (!distinct || x.rows != sum.rows || w.rows != x.row_bytes / 4 ||
        w.row_bytes != sum.row_bytes) {
      __builtin_trap();
    }
  }
};

// Sums wrap, as the unit's do.
template <class Byte>
static inline void dot_bytes(int t, int x_register, int w_register) {
  const Operands o(t, x_register, w_register);
  for (int m = 0; m < o.sum.rows; m++) {
    uint32_t sums[16];
    __builtin_memcpy(sums, o.sum.bytes[m], sizeof sums);
    for (int k = 0; k < o.w.rows; k++) {
      for (int n = 0; n < o.sum.row_bytes; n++) {
        const int x = static_cast<int8_t>(o.x.bytes[m][4 * k + n % 4]);
        const int w = static_cast<Byte>(o.w.bytes[k][n]);
        sums[n / 4] += static_cast<uint32_t>(x * w);
      }
    }
    __builtin_memcpy(o.sum.bytes[m], sums, sizeof sums);
  }
}

// Pairs of bf16: the products of the first of each, and those of the last, are summed apart from
// zero on, by fused multiply-adds, and added to each other and then to the sum. Rounded to nearest,
// subnormal numbers are zeros.
static inline void dot_bf16(int t, int x_register, int w_register) {
  const Operands o(t, x_register, w_register);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x9FC0);  // all exceptions masked, to nearest, subnormal results and operands zero
  const __m512i last = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
  for (int m = 0; m < o.sum.rows; m++) {
    __m512 firsts = _mm512_setzero_ps(), lasts = firsts;
    for (int k = 0; k < o.w.rows; k++) {
      int32_t pair;
      __builtin_memcpy(&pair, o.x.bytes[m] + 4 * k, 4);
      const __m512i x = _mm512_set1_epi32(pair), w = _mm512_load_si512(o.w.bytes[k]);
      firsts = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                               _mm512_castsi512_ps(_mm512_slli_epi32(w, 16)), firsts);
      lasts = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, last)),
                              _mm512_castsi512_ps(_mm512_and_si512(w, last)), lasts);
    }
    float* sums = reinterpret_cast<float*>(o.sum.bytes[m]);
    _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), _mm512_add_ps(firsts, lasts)));
  }
  _mm_setcsr(before);
}

}  // namespace cactus::CACTUS_TIER::amx_model
