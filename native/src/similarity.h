// The products of stored vectors with a query, shared between threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"

namespace cactus {

// out[n] = vectors[n] . query for `count` f16 vectors of `width` values, a multiple of 16. Throws
// std::system_error where threads cannot be started.
void dot_vectors(const KernelTable& kernels, int threads, const uint16_t* vectors, size_t count,
                 size_t width, const float* query, float* out);

}  // namespace cactus
