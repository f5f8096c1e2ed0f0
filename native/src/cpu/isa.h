// Which kernel tiers this CPU can run, and the choice between them.
#pragma once

#include <cstdint>
#include <string>

#include "cpu/kernels.h"

namespace cactus {

// The tiers of this architecture are numbered from 0, the plainest first.
const char* tier_name(uint32_t tier);  // null past the last
bool tier_available(uint32_t tier);    // false past the last
// The tier of that name; empty: the environment's CACTUS_ISA, else the best. Throws
// CACTUS_ERROR_ISA where it is unknown or cannot run.
const KernelTable& find_kernels(const std::string& name);

}  // namespace cactus
