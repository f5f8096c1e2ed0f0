// The plan: a flat list of steps over buffers, weights and slots, read from a blob.
#pragma once

#include <cstdint>
#include <vector>

#include "plan_records.h"
#include "steps.h"

namespace cactus {

// Everything in it has been checked: what a step names is there and fits.
struct Plan {
  PlanHeader header;
  std::vector<WeightRecord> weights;
  std::vector<BufferRecord> buffers;
  std::vector<SlotRecord> slots;
  std::vector<float> constants;
  std::vector<RotarySet> rotaries;  // each once, as are the shapes
  std::vector<TileShape> shapes;
  std::vector<Step> steps;
  bool of_features = false;    // rows are features, no tokens
  bool keeps_nothing = false;  // sessions stay as they are
  uint32_t axes = 0;           // numbers of a row's position that the caller gives
};

// Throws CACTUS_ERROR_PLAN naming the record; `weights_size` is the size of the weights file.
Plan read_plan(const void* data, uint64_t size, uint64_t weights_size);

constexpr uint32_t padded(uint32_t width) { return (width + 15) / 16 * 16; }

}  // namespace cactus
