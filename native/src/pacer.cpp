#include "pacer.h"

#include <algorithm>
#include <bit>

namespace cactus {

int Pacer::next() {
  if (alone_ == 0) return threads_;
  alone_--;
  return 1;
}

void Pacer::record(int threads, uint32_t rows, double seconds, double waited) {
  if (threads_ == 1) return;
  double& shared = shared_[static_cast<size_t>(std::bit_width(rows))];
  if (threads == 1) {
    if (shared > 0 && seconds > shared) {
      alone_ = 0;
      together_ = period_;
    }
    return;
  }
  shared = shared > 0 ? (shared + seconds) / 2 : seconds;
  const bool again = disturbed_;
  disturbed_ = waited > kTooLong * seconds;
  if (together_ > 0) together_--;
  if (!disturbed_) {
    period_ = std::max(period_ / 2, kShort);
  } else if (again && together_ == 0) {
    // Ask again after a while, each time after a longer one.
    alone_ = period_;
    period_ = std::min(2 * period_, kLong);
  }
}

}  // namespace cactus
