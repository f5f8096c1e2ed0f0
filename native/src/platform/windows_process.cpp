#include <pthread.h>
#include <windows.h>

#include <algorithm>
#include <bit>
#include <thread>

#include "platform/process.h"

namespace cactus {

// There is no fork.
uint32_t fork_generation() { return 0; }
void hold_during_fork(std::mutex&) {}

int available_cores() {
  DWORD_PTR process = 0, system = 0;
  // Both are 0 where the process has threads in several groups of 64 processors.
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system) != 0 && process != 0) {
    return std::popcount(static_cast<uint64_t>(process));
  }
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

// std::atomic's own wait is not used: libstdc++ 12's can sleep through a call of notify there.
void sleep_while(const std::atomic<uint32_t>& value, uint32_t old) {
  while (value.load(std::memory_order_acquire) == old) {
    WaitOnAddress(const_cast<std::atomic<uint32_t>*>(&value), &old, sizeof old, INFINITE);
  }
}
void wake_one(std::atomic<uint32_t>& value) { WakeByAddressSingle(&value); }
void wake_all(std::atomic<uint32_t>& value) { WakeByAddressAll(&value); }

void name_this_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace cactus
