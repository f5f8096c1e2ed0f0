// What reads a plan's parts, and how they refuse what is wrong.
#pragma once

#include <string>
#include <vector>

#include "error.h"
#include "plan.h"

namespace cactus {

constexpr uint32_t kMaxWidth = 1u << 24;
constexpr uint32_t kMaxAxes = 16;

inline std::string at(const char* kind, size_t index) {
  return std::string("plan: ") + kind + " " + std::to_string(index) + ": ";
}
inline void need(bool ok, const std::string& where, const char* what) {
  check(ok, CACTUS_ERROR_PLAN, where + what);
}

inline bool is_quantized(const WeightRecord& w) {
  return w.dtype >= static_cast<uint32_t>(DType::kQ8);
}
// Columns that share a scale.
inline uint32_t weight_group(const WeightRecord& w) {
  const auto dtype = static_cast<DType>(w.dtype);
  return dtype == DType::kQ4_64 || dtype == DType::kQ8_64 ? 64 : 32;
}

// Decodes the records into the plan's steps and rotary sets; its other tables have been checked.
void read_steps(const std::vector<StepRecord>& records, Plan& plan);

}  // namespace cactus
