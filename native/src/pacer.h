// How many threads a step is worth.
#pragma once

#include <array>
#include <cstdint>

namespace cactus {

// Threads that share every step wait for the slowest at each barrier; where another program holds a
// core, one thread alone is faster than two that wait. Waiting alone does not say so: the work may
// not divide evenly, or the disturbance be over. So sharing is given up after two steps in
// succession that were waited in, and taken up again at the first step that takes one thread longer
// than such steps took all threads lately. Results do not depend on the choice.
class Pacer {
 public:
  explicit Pacer(int threads) : threads_(threads) {}
  // Threads of the next step: all, or one.
  int next();
  // How long the last step took, of so many rows, and the longest that one of its threads waited
  // for the others.
  void record(int threads, uint32_t rows, double seconds, double waited);

 private:
  static constexpr double kTooLong = 0.4;  // of the step
  static constexpr int kShort = 16, kLong = 512;
  const int threads_;
  bool disturbed_ = false;  // the last step that was shared
  int alone_ = 0;           // steps that one thread still does alone
  int together_ = 0;        // steps that are shared before one thread is tried again
  int period_ = kShort;     // how many of either the next time
  // Seconds of a shared step, the last ones counting most, by the bits of its number of rows; 0:
  // not known.
  std::array<double, 33> shared_{};
};

}  // namespace cactus
