#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cactus {

namespace {

// How long a thread spins before it sleeps. A thread that sleeps at a barrier loses its core to
// whatever else is running, and may get it back only after that one's time slice.
constexpr std::chrono::microseconds kSpin{500};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or until kSpin is over; whether it was done. The first microseconds, which is
// all that a step on a quiet machine needs, do without a clock.
template <class Done>
bool spin(const Done& done) {
  for (int n = 0; n < 256; n++) {
    if (done()) return true;
    pause();
  }
  const auto end = std::chrono::steady_clock::now() + kSpin;
  while (std::chrono::steady_clock::now() < end) {
    for (int n = 0; n < 64; n++) {
      if (done()) return true;
      pause();
    }
  }
  return false;
}

// Waits until `value` differs from `old`.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  if (spin([&] { return value.load(std::memory_order_acquire) != old; })) return;
  value.wait(old, std::memory_order_acquire);
}

std::atomic<uint32_t> forks{0};

}  // namespace

uint32_t fork_generation() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); }); });
  return forks.load();
}

int default_threads() {
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
  return std::clamp(cores, 1, kMaxThreads);
}

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

int Pacer::next() {
  if (alone_ == 0) return threads_;
  alone_--;
  return 1;
}

void Pacer::record(int threads, double seconds, double waited) {
  if (threads == 1) return;
  if (waited <= kTooLong * seconds) {
    period_ = std::max(period_ / 2, kShort);
    return;
  }
  // Ask again after a while, each time after a longer one.
  alone_ = period_;
  period_ = std::min(2 * period_, kLong);
}

void Barrier::wait() {
  if (parties_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == parties_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_acq_rel);
    phase_.notify_all();
  } else {
    wait_for_change(phase_, phase);
  }
}

Team::Team(int threads) : size_(threads), barrier_(threads), fork_generation_(fork_generation()) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stopping_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw;
  }
}

Team::~Team() {
  if (fork_generation() != fork_generation_) {
    // The threads stayed in the parent; only their records are here, and neither join nor detach
    // may touch them: the system may have given their ids to threads of this process.
    new std::vector<std::thread>(std::move(workers_));
    return;
  }
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::run(const std::function<void(int)>& job) {
  if (size_ == 1) {
    job(0);
    return;
  }
  job_ = &job;
  running_.store(size_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  job(0);
  // The others are at most one barrier behind.
  const auto done = [this] { return running_.load(std::memory_order_acquire) == 0; };
  while (!spin(done)) std::this_thread::yield();
}

void Team::work(int thread) {
  const StandardFloats floats;  // a new thread has its maker's
  uint32_t seen = 0;
  while (true) {
    wait_for_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    (*job_)(thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace cactus
