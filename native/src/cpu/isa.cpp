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

// Asked of the processor itself: the compiler's library answers __builtin_cpu_supports, and that of
// zig says no to everything.
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned number, unsigned part) {
  Leaf leaf;  // zeros where the processor does not have it
  __get_cpuid_count(number, part, &leaf.a, &leaf.b, &leaf.c, &leaf.d);
  return leaf;
}

bool has(unsigned found, unsigned wanted) { return (found & wanted) == wanted; }

// Whether the system keeps these registers of a thread; their bits of XCR0.
bool are_kept(unsigned registers) {
  constexpr unsigned kOsxsave = 1u << 27;
  if (!has(cpuid(1, 0).c, kOsxsave)) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return has(low, registers);
}

bool has_avx2() {
  constexpr unsigned kFma = 1u << 12, kAvx = 1u << 28, kF16c = 1u << 29, kAvx2 = 1u << 5;
  constexpr unsigned kXmmYmm = 6;
  return has(cpuid(1, 0).c, kFma | kAvx | kF16c) && has(cpuid(7, 0).b, kAvx2) && are_kept(kXmmYmm);
}

#if defined(CACTUS_AVXVNNI)
bool has_avxvnni() { return has_avx2() && has(cpuid(7, 1).a, 1u << 4); }
#endif

bool has_avx512() {
  constexpr unsigned kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr unsigned kVnni = 1u << 11;
#if defined(__APPLE__)
  constexpr unsigned kXmmYmmMasksZmm = 6;  // the others are kept from their first use on
#else
  constexpr unsigned kXmmYmmMasksZmm = 0xe6;
#endif
  const Leaf leaf = cpuid(7, 0);
  return has_avx2() && has(leaf.b, kF | kDq | kBw | kVl) && has(leaf.c, kVnni) &&
         are_kept(kXmmYmmMasksZmm);
}

#if defined(CACTUS_AVX512_BF16)
bool has_avx512_bf16() { return has_avx512() && has(cpuid(7, 1).a, 1u << 5); }
#endif

#if defined(CACTUS_AMX)
// The system has to allow the registers.
bool has_amx() {
  if (!has_avx512_bf16()) return false;
#if defined(CACTUS_AMX_MODEL)
  return true;
#else
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  return has(cpuid(7, 0).d, kBf16 | kTile | kInt8) && may_use_amx();
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
