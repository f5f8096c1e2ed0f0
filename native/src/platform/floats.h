// The floating-point mode of a thread.
#pragma once

#include <cstdint>

namespace cactus {

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
