// The process's team of threads, of which each step takes a crew that runs one function together
// (SPMD) and meets at barriers.
#pragma once

#include <algorithm>
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

// Sense-reversing barrier: spins for the microseconds that a step takes, sleeps after. Threads meet
// in groups, and the last of each group with those of the others, so that a line of the cache has
// few writers and few readers.
class Barrier {
 public:
  // Where there are more threads than cores, those who wait sleep at once.
  Barrier(int parties, bool spins);
  // Seconds that the thread waited, but for the first microseconds.
  double wait(int thread);

 private:
  static constexpr int kMembers = 8;
  // Apart: those who wait read the phase, which those who arrive must not slow down.
  struct Group {
    alignas(kCacheLine) std::atomic<int> arrived{0};
    alignas(kCacheLine) std::atomic<uint32_t> phase{0};
  };
  const int parties_, count_;
  const bool spins_;
  std::array<Group, (kMaxThreads + kMembers - 1) / kMembers> groups_;
  alignas(kCacheLine) std::atomic<int> arrived_{0};  // groups
};

// Pieces [first, last) of a share.
struct Pieces {
  uint32_t first, last;
  bool empty() const { return first == last; }
};

// What is taken of a thread's share of some work: by itself from the front, by others from the
// back.
class alignas(kCacheLine) Share {
 public:
  // The next of the `count` pieces, in multiples of `grain`: half of what is left, as few and large
  // pieces cost least, until others take some, too; then an eighth of all at a time.
  Pieces front(uint32_t turn, uint32_t count, uint32_t grain);
  Pieces back(uint32_t turn, uint32_t count, uint32_t grain);
  // The turn that its thread is at, and to the next, of whose work nothing is taken.
  uint32_t turn() const { return turn_; }
  void next_turn() {
    turn_++;
    taken_[turn_ % 2].store(0, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> taken_[2]{};  // in the low half from the front
  uint32_t turn_ = 0;
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
  // Shares work between all threads, each of which has count_of(thread) pieces of it: calls
  // work(owner, first, last) for some of this thread's own, then of those that are behind. Once
  // between two barriers. Which thread does a piece must not matter.
  template <class CountOf, class Work>
  void share(int thread, uint32_t grain, const CountOf& count_of, const Work& work);
  // The barrier: waits for all threads. Seconds, but for the first microseconds.
  double meet(int thread);

 private:
  friend struct Worker;

  Team& team_;
  const int size_;
  Barrier barrier_;
  std::vector<Share> shares_;  // by thread
  const std::function<void(int)>* job_ = nullptr;
  std::array<Worker*, kMaxThreads> workers_;  // of threads 1 to size_ - 1
  alignas(kCacheLine) std::atomic<int> running_{0};
};

template <class CountOf, class Work>
void Crew::share(int thread, uint32_t grain, const CountOf& count_of, const Work& work) {
  Share& own = shares_[static_cast<size_t>(thread)];
  const uint32_t turn = own.turn(), count = count_of(thread);
  for (Pieces p; !(p = own.front(turn, count, grain)).empty();) work(thread, p.first, p.last);
  // Far ones and near ones, but not all of many: each look takes a line from its owner.
  for (int distance = std::max(size_ / 2, 3); distance > 0;
       distance = distance > 7 ? distance / 2 : std::min(distance, 4) - 1) {
    if (distance >= size_) continue;
    const int other = (thread + distance) % size_;
    const uint32_t theirs = count_of(other);
    Share& share = shares_[static_cast<size_t>(other)];
    for (Pieces p; !(p = share.back(turn, theirs, grain)).empty();) work(other, p.first, p.last);
  }
}

}  // namespace cactus
