#include "threads.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "platform/floats.h"
#include "platform/process.h"
#include "platform/thread.h"

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

using Clock = std::chrono::steady_clock;

// Spins for some microseconds, which is all that a step on a quiet machine needs, without a clock;
// whether it was done.
template <class Done>
bool spin_briefly(const Done& done) {
  for (int n = 0; n < 256; n++) {
    if (done()) return true;
    pause();
  }
  return false;
}

// The same until kSpin is over.
template <class Done>
bool spin(const Done& done) {
  for (const auto end = Clock::now() + kSpin; Clock::now() < end;) {
    for (int n = 0; n < 64; n++) {
      if (done()) return true;
      pause();
    }
  }
  return false;
}

// Waits until `value` differs from `old`; seconds, but for the first microseconds.
double wait_for_change(const std::atomic<uint32_t>& value, uint32_t old, bool spins) {
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  if (spin_briefly(changed)) return 0;
  const auto begin = Clock::now();
  if (!spins || !spin(changed)) sleep_while(value, old);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

int default_threads() { return std::min(available_cores(), kMaxThreads); }

Barrier::Barrier(int parties, bool spins)
    : parties_(parties), count_((parties + kMembers - 1) / kMembers), spins_(spins) {}

double Barrier::wait(int thread) {
  if (parties_ == 1) return 0;
  const int number = thread / kMembers;
  const int members = std::min(kMembers, parties_ - number * kMembers);
  Group& own = groups_[static_cast<size_t>(number)];
  const uint32_t phase = own.phase.load(std::memory_order_relaxed);
  if (own.arrived.fetch_add(1, std::memory_order_acq_rel) < members - 1) {
    return wait_for_change(own.phase, phase, spins_);
  }
  own.arrived.store(0, std::memory_order_relaxed);
  if (count_ > 1) {
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) < count_ - 1) {
      return wait_for_change(own.phase, phase, spins_);
    }
    arrived_.store(0, std::memory_order_relaxed);
  }
  for (size_t n = 0; n < static_cast<size_t>(count_); n++) {
    groups_[n].phase.fetch_add(1, std::memory_order_acq_rel);
    wake_all(groups_[n].phase);
  }
  return 0;
}

namespace {

// Takes some of what is left of a share: take(left, back) pieces, on the side that `unit` counts.
template <class Take>
Pieces take_of(std::atomic<uint64_t>& taken, uint32_t count, uint64_t unit, const Take& take) {
  uint64_t now = taken.load(std::memory_order_relaxed);
  for (;;) {
    const uint32_t front = static_cast<uint32_t>(now), back = static_cast<uint32_t>(now >> 32);
    const uint32_t left = count - front - back;
    if (left == 0) return {0, 0};
    const uint32_t pieces = std::min(left, take(left, back));
    // The barrier orders what is done; here it matters only who does it.
    if (taken.compare_exchange_weak(now, now + pieces * unit, std::memory_order_relaxed)) {
      const uint32_t end = count - back;
      return unit == 1 ? Pieces{front, front + pieces} : Pieces{end - pieces, end};
    }
  }
}

uint32_t part(uint32_t count, uint32_t of, uint32_t grain) {
  return (count + of * grain - 1) / (of * grain) * grain;
}

}  // namespace

Pieces Share::front(uint32_t turn, uint32_t count, uint32_t grain) {
  return take_of(taken_[turn % 2], count, 1, [&](uint32_t left, uint32_t back) {
    const uint32_t least = part(count, 8, grain);
    return back == 0 ? std::max(least, part(left, 2, grain)) : least;
  });
}

Pieces Share::back(uint32_t turn, uint32_t count, uint32_t grain) {
  return take_of(taken_[turn % 2], count, uint64_t{1} << 32,
                 [&](uint32_t, uint32_t) { return part(count, 8, grain); });
}

// A thread of the team, and what it has to do next.
struct Worker {
  explicit Worker(size_t number) : thread([this, number] { work(number); }) {}

  // Does its part of the crew's job; null ends it.
  void start(Crew* next, int part_of_it) {
    crew = next;
    part = part_of_it;
    generation.fetch_add(1, std::memory_order_release);
    wake_one(generation);
  }

  void work(size_t number) {
    const StandardFloats floats;  // a new thread has its maker's
    name_this_thread(("cactus-" + std::to_string(number)).c_str());
    for (uint32_t seen = 0;; seen++) {
      wait_for_change(generation, seen, true);
      if (crew == nullptr) return;
      (*crew->job_)(part);
      crew->running_.fetch_sub(1, std::memory_order_release);  // the crew may be gone after this
    }
  }

  alignas(kCacheLine) std::atomic<uint32_t> generation{0};
  Crew* crew = nullptr;
  int part = 0;
  Thread thread;  // the last: it uses the others
};

namespace {

// The team of this process, as long as somebody has it; never destroyed, as a program may not be.
struct Shared {
  Shared() { hold_during_fork(mutex); }
  std::mutex mutex;
  std::weak_ptr<Team> team;
  uint32_t forks = 0;  // of the process whose team it is
};
Shared& shared_team = *new Shared;

}  // namespace

std::shared_ptr<Team> Team::shared(int threads) {
  const std::lock_guard<std::mutex> lock(shared_team.mutex);
  std::shared_ptr<Team> team;
  if (shared_team.forks == fork_generation()) team = shared_team.team.lock();
  if (team == nullptr) team = std::make_shared<Team>();
  team->grow(threads);
  shared_team.team = team;
  shared_team.forks = fork_generation();
  return team;
}

Team::Team() : cores_(default_threads()), forks_(fork_generation()) {}

Team::~Team() {
  if (forks_ != fork_generation()) {
    // The threads stayed in the parent; only their records are here, and neither join nor detach
    // may touch them: the system may have given their ids to threads of this process.
    for (std::unique_ptr<Worker>& worker : workers_) static_cast<void>(worker.release());
    return;
  }
  for (const std::unique_ptr<Worker>& worker : workers_) worker->start(nullptr, 0);
  for (const std::unique_ptr<Worker>& worker : workers_) worker->thread.join();
}

void Team::grow(int threads) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int largest = std::max(largest_, threads);
  const int demand = std::min(demand_ + threads - 1, kMaxThreads);
  const size_t wanted = static_cast<size_t>(std::min(demand, std::max(cores_, largest) - 1));
  workers_.reserve(wanted);
  idle_.reserve(wanted);
  while (workers_.size() < wanted) {
    workers_.push_back(std::make_unique<Worker>(workers_.size() + 1));
    // The first are taken first, so that a single caller always has the same ones.
    idle_.insert(idle_.begin(), workers_.back().get());
  }
  largest_ = largest;
  demand_ = demand;
}

void Team::take(int threads, Worker** workers) {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t number = last_++;
  const int count = threads - 1;
  changed_.wait(lock, [&] {
    return number == next_ && static_cast<size_t>(count) <= idle_.size() &&
           (running_ == 0 || running_ + threads <= std::max(cores_, largest_));
  });
  next_++;
  running_ += threads;
  for (int n = 0; n < count; n++) {
    workers[n] = idle_.back();
    idle_.pop_back();
  }
  if (next_ != last_) changed_.notify_all();  // there may be room for the next, too
}

void Team::give_back(int threads, Worker* const* workers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  running_ -= threads;
  for (int n = threads - 1; n-- > 0;) idle_.push_back(workers[n]);
  if (next_ != last_) changed_.notify_all();
}

Crew::Crew(Team& team, int threads)
    : team_(team),
      size_(threads),
      barrier_(threads, threads <= team.cores_),
      shares_(static_cast<size_t>(threads)) {
  if (size_ > 1) team_.take(size_, workers_.data());
}

Crew::~Crew() {
  if (size_ > 1) team_.give_back(size_, workers_.data());
}

void Crew::run(const std::function<void(int)>& job) {
  job_ = &job;
  running_.store(size_ - 1, std::memory_order_relaxed);
  for (int part = 1; part < size_; part++)
    workers_[static_cast<size_t>(part - 1)]->start(this, part);
  job(0);
  // The others are at most one barrier behind.
  const auto done = [this] { return running_.load(std::memory_order_acquire) == 0; };
  if (spin_briefly(done)) return;
  while (!spin(done)) std::this_thread::yield();
}

double Crew::meet(int thread) {
  // Nobody uses the counters of the turn before any more, and those who pass the barrier first use
  // them for the next.
  shares_[static_cast<size_t>(thread)].next_turn();
  return barrier_.wait(thread);
}

}  // namespace cactus
