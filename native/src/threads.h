// A team of persistent threads that run one function together (SPMD) and meet at barriers.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace cactus {

// Centralised sense-reversing barrier: spins for the microseconds that a step takes, sleeps after.
class Barrier {
 public:
  explicit Barrier(int parties) : parties_(parties) {}
  void wait();

 private:
  const int parties_;
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> phase_{0};
};

class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }
  // Calls job(thread) on every thread, the caller being thread 0; returns when all are done. One
  // call at a time. The job must not throw.
  void run(const std::function<void(int)>& job);
  Barrier& barrier() { return barrier_; }

 private:
  void work(int thread);

  const int size_;
  Barrier barrier_;
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stopping_{false};
  const std::function<void(int)>* job_ = nullptr;
  std::vector<std::thread> workers_;
  uint32_t fork_generation_;
};

// Decides how many threads a step is worth. Threads that share every step wait for the slowest at
// each barrier; where another program holds a core, one thread alone is faster than two that wait.
// Results do not depend on the choice.
class Pacer {
 public:
  explicit Pacer(int threads) : threads_(threads) {}
  // Threads of the next step: all, or one.
  int next();
  // How long the last step took, and the longest that one of its threads waited for the others.
  void record(int threads, double seconds, double waited);

 private:
  static constexpr double kTooLong = 0.4;  // of the step
  static constexpr int kShort = 16, kLong = 512;
  const int threads_;
  int alone_ = 0;        // steps that one thread still does alone
  int period_ = kShort;  // how many the next time
};

// Number of fork() calls that led to this process, counted since the library was loaded. Threads do
// not survive a fork, so what was made under another number cannot be used here.
uint32_t fork_generation();

// The most threads of a team.
constexpr int kMaxThreads = 256;

// Threads to use when the caller does not say: the cores this process may run on, at most
// kMaxThreads.
int default_threads();

// Rounding to nearest and gradual underflow, as C begins with, for as long as it lives: what other
// code has set on the caller's thread must not change a step's numbers.
class StandardFloats {
 public:
  StandardFloats();
  ~StandardFloats();
  StandardFloats(const StandardFloats&) = delete;
  StandardFloats& operator=(const StandardFloats&) = delete;

 private:
  uint64_t before_;
};

}  // namespace cactus
