// What the machine can do at most, measured with our own threads and kernels.
#pragma once

#include <cstdint>

#include "cactus.h"
#include "cpu/kernels.h"

namespace cactus {

// Throws CACTUS_ERROR_ARGUMENT for a buffer that is too small for its threads, std::bad_alloc where
// there is no memory for it.
cactus_machine_peaks measure_peaks(const KernelTable& kernels, int threads, uint64_t buffer_bytes);

}  // namespace cactus
