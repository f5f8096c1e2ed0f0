#include "cpu/isa.h"

#include <cstdlib>

#include "error.h"

namespace cactus {

namespace {

constexpr const char* kNames[kTiers] = {"scalar", "avx2", "avx512"};

const KernelTable* table(uint32_t tier) {
#if defined(__x86_64__)
  if (tier == 1) return &kernels_avx2;
  if (tier == 2) return &kernels_avx512;
#endif
  return tier == 0 ? &kernels_scalar : nullptr;
}

}  // namespace

const char* tier_name(uint32_t tier) { return tier < kTiers ? kNames[tier] : nullptr; }

bool tier_available(uint32_t tier) {
#if defined(__x86_64__)
  // These ask the operating system too (XGETBV), not only the processor.
  if (tier == 1) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
  }
  if (tier == 2) {
    return tier_available(1) && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  }
#endif
  return tier == 0;
}

const KernelTable& find_kernels(const std::string& wanted) {
  std::string name = wanted;
  if (name.empty()) {
    const char* forced = std::getenv("CACTUS_ISA");
    if (forced != nullptr) name = forced;
  }
  std::string possible;
  for (uint32_t tier = kTiers; tier-- > 0;) {
    if (!tier_available(tier)) continue;
    if (name.empty() || name == kNames[tier]) return *table(tier);
    possible += std::string(possible.empty() ? "" : ", ") + kNames[tier];
  }
  throw Error(CACTUS_ERROR_ISA,
              "the instruction set \"" + name +
                  "\" is unknown or not possible on this CPU; possible: " + possible);
}

}  // namespace cactus
