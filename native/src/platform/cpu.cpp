#include "platform/cpu.h"

#include <cstddef>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace cactus {

#if defined(__x86_64__) && defined(__linux__)

namespace {

// ARCH_REQ_XCOMP_PERM for the tiles' data (asm/prctl.h), for all threads of the process; a system
// that does not know it, or a filter of system calls, refuses.
bool request_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

}  // namespace

bool may_use_amx() {
  static const bool allowed = request_tiles();
  return allowed;
}

#else

bool may_use_amx() { return false; }

#endif

#if defined(__aarch64__) && defined(__linux__)

// The kernel's numbers (asm/hwcap.h), which old headers do not have.
bool has_arm_dotprod() { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
bool has_arm_i8mm() { return (getauxval(AT_HWCAP2) >> 13 & 1) != 0; }

#elif defined(__aarch64__) && defined(__APPLE__)

namespace {

bool system_says(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

bool has_arm_dotprod() { return system_says("hw.optional.arm.FEAT_DotProd"); }
bool has_arm_i8mm() { return system_says("hw.optional.arm.FEAT_I8MM"); }

#else

bool has_arm_dotprod() { return false; }
bool has_arm_i8mm() { return false; }

#endif

}  // namespace cactus
