#include "pacer.h"

#include <algorithm>
#include <bit>

namespace cactus {

namespace {

// Threads that are tried, as parts of those that work, in this order. Twice as many come often:
// they find cores that are free again.
constexpr double kChanges[] = {7.0 / 8, 2, 9.0 / 8, 2, 3.0 / 4, 2, 5.0 / 4, 2, 1.0 / 2, 2};
constexpr int kCount = 10;

constexpr int kTrials = 8;        // the first wakes threads, and does not count
constexpr int kChecks = 4;        // what disturbed the steps before may be over
constexpr double kMost = 1;       // steps that trials, or a change, may cost before they end
constexpr double kLeast = 0.25;   // steps that they count as
constexpr double kBetter = 0.95;  // of the mean: worth a change
constexpr int kDoubts = 64;
constexpr int kSoon = 4;     // trials after a change that come soon
constexpr int kRecent = 32;  // steps of which the mean is, in the main: stalls are rare and long
constexpr double kTooLong = 0.4;    // of the step
constexpr double kShortest = 0.02;  // of the step, without what was waited
constexpr double kLoss = 0.01;      // of the time, for trials,
constexpr double kLossSoon = 0.05;  // and for those that come soon
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
    const double change = kChanges[c.change];
    const int wanted = static_cast<int>(c.threads * change);
    c.tried = change < 1 ? std::min(wanted, c.threads - 1) : std::max(wanted, c.threads + 1);
    c.tried = std::min(c.tried, threads_);
    if (c.tried >= 1 && (c.fewer ? c.tried < c.threads : c.tried != c.threads)) return true;
  }
  return false;
}

void Pacer::record(int threads, uint32_t rows, double seconds, double waited) {
  if (threads_ == 1) return;
  Course& c = course(rows);
  const double time = rows < kManyRows ? seconds : seconds / rows;
  if (c.trials > 0) return tried(c, time);
  if (c.steps == 0) c.wait = time / kLoss;
  c.steps++;
  c.mean += (time - c.mean) / std::min(c.steps, kRecent);
  c.wait -= time;
  if (c.checks > 0) {
    c.checked += time / kChecks;
    if (--c.checks == 0) compare(c);
  } else if (!doubt(c, time)) {
    look_at_waiting(c, threads > 1 ? waited / seconds : 0);
  }
}

void Pacer::tried(Course& c, double time) const {
  c.lost += time - c.mean;
  if (c.trials < kTrials) {
    c.sum += time;
    c.counted++;
  }
  c.trials--;
  if (c.lost > kMost * c.mean) {
    c.trials = 0;
    put_off(c);
  } else if (c.trials == 0) {
    c.checks = kChecks;
    c.checked = 0;
  }
}

void Pacer::compare(Course& c) const {
  const double mean = c.sum / c.counted;
  // What was slow before may have been chance, or the first time that memory was touched.
  const double usual = std::min(c.mean, c.checked);
  if (mean >= kBetter * usual) return put_off(c);
  c.before = c.threads;
  c.before_mean = usual;
  c.doubts = kDoubts;
  c.regret = c.counted * (mean - usual);
  c.threads = c.tried;
  c.steps = c.counted;
  c.mean = mean;
  c.failures = 0;
  c.fewer = false;
  c.wait = kShort * mean;  // and on in the same direction
}

// Whether a change is taken back, which took more time than what was before.
bool Pacer::doubt(Course& c, double time) const {
  if (c.doubts == 0) return false;
  c.doubts--;
  c.regret += time - c.before_mean;
  if (c.regret <= kMost * c.before_mean) return false;
  c.threads = c.before;
  c.mean = c.before_mean;
  c.doubts = 0;
  c.lost = c.regret;
  c.failures = kSoon;
  put_off(c);
  return true;
}

// The next trials are others, when there is time for what these have cost, but soon after a change.
// Fewer threads than all are tried less and less often.
void Pacer::put_off(Course& c) const {
  c.change = (c.change + 1) % kCount;
  c.fewer = false;
  c.wait = std::max(c.lost, kLeast * c.mean) / kLoss;
  if (c.threads == threads_) {
    c.wait *= 2 << std::min(c.failures, 3);
  } else if (c.failures < kSoon) {
    c.wait = std::min(c.wait, std::max((kShort << c.failures) * c.mean, c.lost / kLossSoon));
  }
  c.failures++;
}

// After two disturbed steps, one soon after the other, fewer threads are tried; each time after
// longer. Steps that wait long bring that nearer: where a core is taken there are few of them.
void Pacer::look_at_waiting(Course& c, double waited) const {
  const bool disturbed = waited > kTooLong;
  c.ignored -= 1 / std::max(1 - waited, kShortest);
  const bool again = c.calm < kNear;
  c.calm = disturbed ? 0 : c.calm + 1;
  if (c.calm > kCalm) c.patience = kShort;
  if (!disturbed || !again || c.ignored > 0) return;
  c.wait = 0;
  c.fewer = true;
  c.ignored = c.patience;
  c.patience = std::min(2 * c.patience, kLong);
}

}  // namespace cactus
