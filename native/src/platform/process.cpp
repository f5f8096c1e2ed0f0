#include "platform/process.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace cactus {

namespace {

std::atomic<uint32_t> forks{0};

// Never destroyed: a fork may come while the process ends.
struct Held {
  std::mutex mutex;  // of the list
  std::vector<std::mutex*> locks;
};
Held& held() {
  static Held& held = *new Held;
  return held;
}

void before_fork() {
  held().mutex.lock();
  for (std::mutex* lock : held().locks) lock->lock();
}

void after_fork() {
  for (auto lock = held().locks.rbegin(); lock != held().locks.rend(); ++lock) (*lock)->unlock();
  held().mutex.unlock();
}

void after_fork_in_child() {
  forks.fetch_add(1);
  after_fork();
}

// When the library is loaded, so that no fork is missed.
[[maybe_unused]] const int handlers = [] {
  held();
  return pthread_atfork(before_fork, after_fork, after_fork_in_child);
}();

}  // namespace

uint32_t fork_generation() { return forks.load(); }

void hold_during_fork(std::mutex& mutex) {
  const std::lock_guard<std::mutex> lock(held().mutex);
  held().locks.push_back(&mutex);
}

int available_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  // The call fails where the set has no room for all of the machine's processors.
  for (size_t words = 16; words <= 4096; words *= 2) {
    std::vector<unsigned long> set(words);
    const size_t bytes = words * sizeof set[0];
    cpu_set_t* bits = reinterpret_cast<cpu_set_t*>(set.data());
    if (sched_getaffinity(0, bytes, bits) == 0) {
      cores = CPU_COUNT_S(bytes, bits);
      break;
    }
  }
#endif
  return std::max(cores, 1);
}

void sleep_while(const std::atomic<uint32_t>& value, uint32_t old) {
  value.wait(old, std::memory_order_acquire);
}
void wake_one(std::atomic<uint32_t>& value) { value.notify_one(); }
void wake_all(std::atomic<uint32_t>& value) { value.notify_all(); }

void name_this_thread(const char* name) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
  pthread_setname_np(name);
#else
  static_cast<void>(name);
#endif
}

}  // namespace cactus
