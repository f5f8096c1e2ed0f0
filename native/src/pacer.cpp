#include "pacer.h"

#include <algorithm>
#include <bit>

namespace cactus {

namespace {

// Threads that are tried, as parts of those that work; the even ones are fewer.
constexpr double kChanges[] = {7.0 / 8, 9.0 / 8, 3.0 / 4, 5.0 / 4, 1.0 / 2, 2};
constexpr int kCount = 6;

constexpr int kTrials = 3;        // the first wakes threads, and does not count
constexpr int kChecks = 4;        // what disturbed the steps before may be over
constexpr double kFar = 2;        // of the mean: one step is enough
constexpr double kBetter = 0.95;  // of the mean: worth a change
constexpr double kWorse = 1.05;   // of the mean before: back
constexpr int kDoubts = 64;
constexpr int kRecent = 32;  // steps of which the mean is, in the main: stalls are rare and long
constexpr int kSoon = 8;     // steps after which a change may be taken back
constexpr double kTooLong = 0.4;    // of the step
constexpr double kLoss = 0.01;      // of the time, for trials
constexpr uint32_t kManyRows = 32;  // from here on the time goes with them

}  // namespace

Pacer::Course& Pacer::course(uint32_t rows) {
  return courses_[static_cast<size_t>(std::bit_width(rows))];
}

int Pacer::next(uint32_t rows) {
  Course& c = course(rows);
  if (c.threads == 0) c.threads = threads_;
  if (c.trials == 0 && c.checks == 0 && c.steps > 0 && c.wait <= 0 && choose(c)) {
    c.trials = kTrials;
    c.counted = 0;
    c.sum = c.lost = 0;
  }
  return c.trials > 0 ? c.tried : c.threads;
}

// Chooses what is tried; false where there is nothing else.
bool Pacer::choose(Course& c) const {
  for (int n = 0; n < kCount; n++, c.change = (c.change + 1) % kCount) {
    const int wanted = static_cast<int>(c.threads * kChanges[c.change]);
    c.tried = c.change % 2 == 0 ? std::min(wanted, c.threads - 1) : std::max(wanted, c.threads + 1);
    c.tried = std::min(c.tried, threads_);
    if (c.tried >= 1 && c.tried != c.threads) return true;
  }
  return false;
}

void Pacer::record(int threads, uint32_t rows, double seconds, double waited) {
  if (threads_ == 1) return;
  Course& c = course(rows);
  const double time = rows < kManyRows ? seconds : seconds / rows;
  if (c.trials > 0) return tried(c, time);
  if (c.steps == 0) c.wait = kTrials * time / kLoss;
  c.steps++;
  c.mean += (time - c.mean) / std::min(c.steps, kRecent);
  c.wait -= time;
  if (c.doubts > 0) c.doubts--;
  if (c.checks > 0) {
    c.checked += time / kChecks;
    if (--c.checks == 0) compare(c);
  } else if (c.doubts > 0 && c.steps >= kSoon && c.mean > kWorse * c.before_mean) {
    c.lost = c.steps * (c.mean - c.before_mean);
    c.threads = c.before;
    c.mean = c.before_mean;
    c.doubts = 0;
    put_off(c);
  } else {
    look_at_waiting(c, threads > 1 && waited > kTooLong * seconds);
  }
}

void Pacer::tried(Course& c, double time) const {
  c.lost += time - c.mean;
  const bool counts = c.trials < kTrials;
  if (counts) {
    c.sum += time;
    c.counted++;
  }
  c.trials--;
  if (c.trials > 0 && !(counts && time > kFar * c.mean)) return;
  c.trials = 0;
  c.checks = kChecks;
  c.checked = 0;
}

void Pacer::compare(Course& c) const {
  const double mean = c.sum / c.counted;
  // What was slow before may have been chance, or the first time that memory was touched.
  if (mean >= kBetter * std::min(c.mean, c.checked)) return put_off(c);
  c.before = c.threads;
  c.before_mean = c.mean;
  c.doubts = kDoubts;
  c.threads = c.tried;
  c.steps = c.counted;
  c.mean = mean;
  c.failures = 0;
  c.wait = kShort * mean;  // and on in the same direction
}

// The next trials are others, when there is time for what these have cost; fewer threads than all
// are tried less and less often.
void Pacer::put_off(Course& c) const {
  c.change = (c.change + 1) % kCount;
  c.failures = std::min(c.failures + 1, 4);
  const double lost = std::max(c.lost, 0.1 * kTrials * c.mean);
  c.wait = lost / kLoss * (c.threads == threads_ ? 1 << c.failures : 1);
  // Threads that have slept may come back late by chance.
  if (c.tried > c.threads && c.failures == 1) c.wait = kShort * c.mean;
}

// After two disturbed steps in succession fewer threads are tried; each time after longer.
void Pacer::look_at_waiting(Course& c, bool disturbed) const {
  const bool again = c.disturbed && disturbed;
  c.disturbed = disturbed;
  if (c.ignored > 0) c.ignored--;
  if (!disturbed) {
    c.patience = std::max(c.patience / 2, kShort);
  } else if (again && c.ignored == 0) {
    c.wait = 0;
    c.change = c.change / 2 * 2;
    c.ignored = c.patience;
    c.patience = std::min(2 * c.patience, kLong);
  }
}

}  // namespace cactus
