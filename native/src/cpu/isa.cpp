#include "cpu/isa.h"

#include <cstdlib>

#include "error.h"
#include "platform/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace cactus {

namespace {

bool anywhere() { return true; }

#if defined(__x86_64__)

// __builtin_cpu_supports asks the operating system too (XGETBV), not only the processor.
bool has_avx2() {
  unsigned a = 0, b = 0, c = 0, d = 0;  // not every compiler's knows "f16c"
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

#if defined(CACTUS_AVXVNNI)
// Older compilers' __builtin_cpu_supports does not know this one; its registers are AVX2's.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
#endif

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

// A compiler's __builtin_cpu_supports may not know these.
#if defined(CACTUS_AVX512_BF16)
bool has_avx512_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
}
#endif

#if defined(CACTUS_AMX)
// The system has to allow the registers.
bool has_amx() {
  if (!has_avx512_bf16()) return false;
#if defined(CACTUS_AMX_MODEL)
  return true;
#else
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25,
                     kAll = kBf16 | kTile | kInt8;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll && may_use_amx();
#endif
}
#endif

#elif defined(__aarch64__)

bool has_dotprod_and_i8mm() { return has_arm_dotprod() && has_arm_i8mm(); }

#endif

struct Tier {
  const KernelTable& kernels;
  bool (*available)();
};

// Those of this architecture, the plainest first.
const Tier kTiers[] = {
    {kernels_scalar, anywhere},
#if defined(__x86_64__)
    {kernels_avx2, has_avx2},
#if defined(CACTUS_AVXVNNI)
    {kernels_avxvnni, has_avxvnni},
#endif
#if defined(CACTUS_AVX512_BF16)
    {kernels_avx512_bf16, has_avx512_bf16},  // less exact than avx512: only asked for
#endif
    {kernels_avx512, has_avx512},
#if defined(CACTUS_AMX)
    {kernels_amx_bf16, has_amx},  // less exact than amx: only asked for
    {kernels_amx, has_amx},
#endif
#elif defined(__aarch64__)
    {kernels_neon, has_arm_dotprod},
    {kernels_neon_i8mm, has_dotprod_and_i8mm},
#endif
};
constexpr uint32_t kCount = sizeof kTiers / sizeof kTiers[0];

}  // namespace

const char* tier_name(uint32_t tier) { return tier < kCount ? kTiers[tier].kernels.name : nullptr; }

bool tier_available(uint32_t tier) { return tier < kCount && kTiers[tier].available(); }

const KernelTable& find_kernels(const std::string& wanted) {
  std::string name = wanted;
  if (name.empty()) {
    const char* forced = std::getenv("CACTUS_ISA");
    if (forced != nullptr) name = forced;
  }
  std::string possible;
  for (uint32_t tier = kCount; tier-- > 0;) {
    if (!tier_available(tier)) continue;
    if (name.empty() || name == tier_name(tier)) return kTiers[tier].kernels;
    possible += std::string(possible.empty() ? "" : ", ") + tier_name(tier);
  }
  throw Error(CACTUS_ERROR_ISA,
              "the instruction set \"" + name +
                  "\" is unknown or not possible on this CPU; possible: " + possible);
}

}  // namespace cactus
