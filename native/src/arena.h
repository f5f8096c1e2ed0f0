// Where the buffers of a plan lie in one block of memory.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace cactus {

struct Arena {
  std::vector<uint64_t> offsets;  // by buffer; multiples of 64
  uint64_t bytes = 0;
};

// Places buffers of `sizes` bytes (0: not in this arena). Buffers that are never live together
// share memory. Live is a value from the step that writes it to the last that reads it.
Arena place_buffers(const Plan& plan, const std::vector<uint64_t>& sizes);

}  // namespace cactus
