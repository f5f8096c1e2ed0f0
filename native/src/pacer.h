// How many threads a step is worth.
#pragma once

#include <array>
#include <cstdint>

namespace cactus {

// Threads that share a step wait for the slowest at each barrier, and there may be more of them
// than the work or the memory keeps busy: what a number of threads is worth can only be measured.
// Now and then some steps are done by more or fewer, and where these took less time, so are the
// next ones. A try ends when it has cost about a step, and what tries cost is a hundredth of the
// time: all threads are back about a hundred steps after a core that was taken away is free.
// Where threads wait long for each other, fewer are tried at once. Results do not depend on the
// choice.
class Pacer {
 public:
  explicit Pacer(int threads) : threads_(threads) {}
  // Threads of the next step, of so many rows.
  int next(uint32_t rows);
  // How long that step took, and the longest that one of its threads waited for the others.
  void record(int threads, uint32_t rows, double seconds, double waited);

 private:
  static constexpr int kShort = 16, kLong = 128, kNear = 8, kCalm = 64;

  // Steps of about as many rows. Times are those of a step, or of a row where there are many.
  struct Course {
    int threads = 0;  // of most steps
    int steps = 0;    // since that was changed
    double mean = 0;  // time, the last ones counting most

    int tried = 0;       // threads that are compared with these
    int change = 0;      // which of kChanges they are
    bool fewer = false;  // only fewer are asked for
    int trials = 0;      // steps of them that are still to be done,
    int checks = 0;      // and then others, before they are compared
    double checked = 0;  // mean time of those
    int counted = 0;     // trials that count,
    double sum = 0;      // and their time
    double lost = 0;     // time that all trials took more than the others
    double wait = 0;     // time before the next trials
    int failures = 0;    // in succession

    int before = 0;  // what `threads` and `mean` were
    double before_mean = 0;
    int doubts = 0;     // steps in which that may come back
    double regret = 0;  // time that the change has cost

    int calm = kCalm;       // steps since the last disturbed one
    double ignored = 0;     // steps that may be disturbed now, without what they wait,
    int patience = kShort;  // and after the next trial
  };

  Course& course(uint32_t rows);
  bool choose(Course& course) const;
  void tried(Course& course, double time) const;
  void compare(Course& course) const;
  bool doubt(Course& course, double time) const;
  void put_off(Course& course) const;
  void look_at_waiting(Course& course, double waited) const;

  const int threads_;
  std::array<Course, 33> courses_;  // by the bits of the number of rows
};

}  // namespace cactus
