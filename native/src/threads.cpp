#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <mutex>

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
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

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
