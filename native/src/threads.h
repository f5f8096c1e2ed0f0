// The process's team of threads, of which each step takes a crew that runs one function together
// (SPMD) and meets at barriers.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace cactus {

// The most threads of a crew.
constexpr int kMaxThreads = 256;

// Threads to use when the caller does not say: the cores this process may run on, at most
// kMaxThreads.
int default_threads();

// Bytes that no two threads should write to at once: a line of any processor's cache.
constexpr size_t kCacheLine = 64;

// Centralised sense-reversing barrier: spins for the microseconds that a step takes, sleeps after.
class Barrier {
 public:
  explicit Barrier(int parties) : parties_(parties) {}
  void wait();

 private:
  const int parties_;
  // Apart: those who wait read the phase, which those who arrive must not slow down.
  alignas(kCacheLine) std::atomic<int> arrived_{0};
  alignas(kCacheLine) std::atomic<uint32_t> phase_{0};
};

class Crew;
struct Worker;

// Threads that all programs of this process share; those that nobody needs sleep. They end with the
// last program. Steps run side by side as long as their crews have no more threads together than
// there are cores, or than the largest crew has; the others wait, in the order in which they came.
class Team {
 public:
  // This process's, with the threads for one more program whose crews have so many. Throws
  // std::system_error where they cannot be started.
  static std::shared_ptr<Team> shared(int threads);

  Team();
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

 private:
  friend class Crew;

  void grow(int threads);
  void take(int threads, Worker** workers);
  void give_back(int threads, Worker* const* workers);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;  // the last is the next to be taken
  const int cores_;
  int largest_ = 1;               // of the crews of any program
  int demand_ = 0;                // workers that the crews of all programs would take at once
  int running_ = 0;               // threads of all crews
  uint64_t last_ = 0, next_ = 0;  // numbers of those who take a crew: given out, and to be served
  const uint32_t forks_;
};

// Some threads for one step: the caller's and idle ones of the team, for as long as it lives. One
// thread is the caller alone and waits for nobody.
class Crew {
 public:
  Crew(Team& team, int threads);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  int size() const { return size_; }
  // Calls job(thread) on every thread, the caller being thread 0; returns when all are done. The
  // job must not throw.
  void run(const std::function<void(int)>& job);
  Barrier& barrier() { return barrier_; }

 private:
  friend struct Worker;

  Team& team_;
  const int size_;
  Barrier barrier_;
  const std::function<void(int)>* job_ = nullptr;
  std::array<Worker*, kMaxThreads> workers_;  // of threads 1 to size_ - 1
  alignas(kCacheLine) std::atomic<int> running_{0};
};

}  // namespace cactus
