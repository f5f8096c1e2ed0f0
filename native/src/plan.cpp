#include "plan.h"

#include <cstring>
#include <string>

#include "cpu/kernels.h"
#include "read_steps.h"

namespace cactus {

namespace {

constexpr uint32_t kMaxRecords = 1u << 16;  // of a kind
constexpr uint32_t kMaxConstants = 1u << 20;
constexpr size_t kMaxBuffers = 4096;  // placing them takes time by the square of this

template <class Record>
std::vector<Record> take(const uint8_t*& cursor, const uint8_t* end, uint32_t count,
                         const char* name, uint32_t most = kMaxRecords) {
  const uint64_t bytes = uint64_t{count} * sizeof(Record);
  check(count <= most, CACTUS_ERROR_PLAN, "plan: more than " + std::to_string(most) + " " + name);
  check(bytes <= static_cast<uint64_t>(end - cursor), CACTUS_ERROR_PLAN,
        std::string("plan: ends inside its ") + name);
  std::vector<Record> records(count);
  if (count != 0) std::memcpy(records.data(), cursor, bytes);
  cursor += bytes;
  return records;
}

uint64_t weight_bytes(const WeightRecord& w) {
  const uint64_t rows = w.tiled ? padded(w.rows) : w.rows;
  switch (static_cast<DType>(w.dtype)) {
    case DType::kF32: return rows * w.cols * 4;
    case DType::kF16:
    case DType::kBf16: return rows * w.cols * 2;
    case DType::kQ8: return rows / kTileRows * (w.cols / kGroup) * kQ8Block;
    case DType::kQ4: return rows / kTileRows * (w.cols / kGroup) * kQ4Block;
    case DType::kQ4_0: return rows / kTileRows * (w.cols / kGroup) * kQ4_0Block;
    case DType::kQ4Nl: return rows / kTileRows * (w.cols / kGroup) * kQ4NlBlock;
    case DType::kQ4_64: return rows / kTileRows * (w.cols / 64) * kQ4_64Block;
    case DType::kQ8_64: return rows / kTileRows * (w.cols / 64) * kQ8_64Block;
  }
  return 0;
}

void check_weights(const Plan& plan, uint64_t weights_size) {
  for (size_t n = 0; n < plan.weights.size(); n++) {
    const WeightRecord& w = plan.weights[n];
    const std::string where = at("weight", n);
    need(w.dtype <= static_cast<uint32_t>(DType::kQ4Nl), where, "unknown type");
    need(w.tiled <= 1, where, "unknown layout");
    need(w.rows > 0 && w.rows <= kMaxWidth && w.cols > 0 && w.cols <= kMaxWidth, where,
         "rows or columns out of range");
    need(w.tiled || w.dtype == 0, where, "an untiled weight must be f32");
    need(!is_quantized(w) || w.cols % weight_group(w) == 0, where,
         "columns not a multiple of the group");
    need(w.offset % 16 == 0, where, "offset not a multiple of 16");
    need(w.bytes == weight_bytes(w), where, "size does not match its shape");
    need(w.offset <= weights_size && w.bytes <= weights_size - w.offset, where,
         "lies outside the weights file");
  }
}

void check_buffers(const Plan& plan) {
  need(plan.buffers.size() <= kMaxBuffers, "plan: ", "too many buffers");
  for (size_t n = 0; n < plan.buffers.size(); n++) {
    const BufferRecord& b = plan.buffers[n];
    need((b.group == 0 || b.group == 32 || b.group == 64) && b.rows <= 2 &&
             b.levels <= kMaxLevels && (b.group == 0) == (b.levels == 0),
         at("buffer", n), "unknown kind");
    need(b.width > 0 && b.width <= kMaxWidth, at("buffer", n), "width out of range");
    need(b.group == 0 || b.width % b.group == 0, at("buffer", n),
         "width not a multiple of the group");
  }
  for (size_t n = 0; n < plan.slots.size(); n++) {
    const SlotRecord& s = plan.slots[n];
    need(s.kind <= 2 && s.quantized <= 1, at("slot", n), "unknown kind");
    need(s.a > 0 && s.a <= kMaxWidth && s.b > 0 && s.b <= 4096, at("slot", n), "out of range");
    if (s.kind != static_cast<uint32_t>(SlotKind::kConv)) {
      need(s.a <= 4096 && s.b % 16 == 0, at("slot", n), "head_dim not a multiple of 16");
    } else {
      need(s.quantized == 0, at("slot", n), "a convolution's columns are f32");
      need(s.a % 16 == 0 && s.b <= 16, at("slot", n), "width or taps not supported");
    }
  }
}

}  // namespace

Plan read_plan(const void* data, uint64_t size, uint64_t weights_size) {
  Plan plan;
  check(data != nullptr && size >= sizeof(PlanHeader), CACTUS_ERROR_PLAN,
        "plan: shorter than its header");
  const uint8_t* cursor = static_cast<const uint8_t*>(data);
  const uint8_t* end = cursor + size;
  std::memcpy(&plan.header, cursor, sizeof plan.header);
  cursor += sizeof plan.header;
  check(std::memcmp(plan.header.magic, "CACTPLN1", 8) == 0, CACTUS_ERROR_PLAN,
        "plan: does not begin with CACTPLN1");
  plan.weights = take<WeightRecord>(cursor, end, plan.header.weights, "weights");
  plan.buffers = take<BufferRecord>(cursor, end, plan.header.buffers, "buffers");
  plan.slots = take<SlotRecord>(cursor, end, plan.header.slots, "slots");
  const auto steps = take<StepRecord>(cursor, end, plan.header.steps, "steps");
  plan.constants = take<float>(cursor, end, plan.header.constants, "constants", kMaxConstants);
  check(cursor == end, CACTUS_ERROR_PLAN, "plan: has bytes after its end");
  check(plan.header.vocab_size <= kMaxWidth && plan.header.features <= kMaxWidth &&
            plan.header.context_length > 0 && plan.header.context_length <= kMaxWidth,
        CACTUS_ERROR_PLAN, "plan: vocabulary, features or context out of range");
  check_weights(plan, weights_size);
  check_buffers(plan);
  read_steps(steps, plan);
  check(plan.header.output < plan.buffers.size(), CACTUS_ERROR_PLAN,
        "plan: names an unknown output buffer");
  const BufferRecord& output = plan.buffers[plan.header.output];
  check(output.group == 0 && output.per_output() &&
            (plan.header.vocab_size == 0 || output.width == plan.header.vocab_size),
        CACTUS_ERROR_PLAN, "plan: the output buffer does not match the vocabulary");
  return plan;
}

}  // namespace cactus
