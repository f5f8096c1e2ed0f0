#include "platform/floats.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cactus {

namespace {

#if defined(__x86_64__)
constexpr uint64_t kStandard = 0x1F80;  // of MXCSR: all exceptions masked
uint64_t float_mode() { return _mm_getcsr(); }
void set_float_mode(uint64_t mode) { _mm_setcsr(static_cast<uint32_t>(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t kStandard = 0;  // of FPCR
uint64_t float_mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_float_mode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
constexpr uint64_t kStandard = 0;
uint64_t float_mode() { return 0; }
void set_float_mode(uint64_t) {}
#endif

}  // namespace

StandardFloats::StandardFloats() : before_(float_mode()) { set_float_mode(kStandard); }
StandardFloats::~StandardFloats() { set_float_mode(before_); }

}  // namespace cactus
