// What a step has left behind: the values of a buffer, and where its time went.
#include <algorithm>

#include "error.h"
#include "program.h"

namespace cactus {

void Program::read(uint32_t index, float* out, uint64_t count) {
  check(index < buffers_.size(), CACTUS_ERROR_ARGUMENT, "read: unknown buffer");
  const Buffer& buffer = buffers_[index];
  const uint64_t rows = buffer.output_rows ? batch_.outputs.size() : batch_.rows();
  check(out != nullptr && count == rows * buffer.width, CACTUS_ERROR_ARGUMENT,
        "read: the buffer holds " + std::to_string(rows * buffer.width) + " values");
  for (uint32_t row = 0; row < rows; row++) {
    for (uint32_t i = 0; i < buffer.width; i++) {
      if (buffer.group == 0) {
        *out++ = buffer.values[size_t{row} * buffer.stride + i];
        continue;
      }
      const uint32_t column = i % buffer.group;
      const PanelRow at = panel_row(buffer, static_cast<uint32_t>(rows), row, i - column);
      *out++ = kernels_.panel_value(&at, static_cast<int>(buffer.group), static_cast<int>(column));
    }
  }
}

void Program::profile(bool enable, double* seconds, uint32_t n_steps) {
  check(n_steps == 0 || (seconds != nullptr && n_steps == seconds_.size()), CACTUS_ERROR_ARGUMENT,
        "profile: the plan has " + std::to_string(seconds_.size()) + " steps");
  if (n_steps != 0) std::copy(seconds_.begin(), seconds_.end(), seconds);
  if (enable && !profiling_) std::fill(seconds_.begin(), seconds_.end(), 0.0);
  profiling_ = enable;
}

}  // namespace cactus
