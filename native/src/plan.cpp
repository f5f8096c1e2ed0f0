#include "plan.h"

#include <cmath>
#include <cstring>
#include <string>

#include "cpu/kernels.h"
#include "error.h"

namespace cactus {

namespace {

constexpr uint32_t kMaxRecords = 1u << 16;  // of a kind
constexpr uint32_t kMaxConstants = 1u << 20;
constexpr uint32_t kMaxWidth = 1u << 24;
constexpr size_t kMaxBuffers = 4096;  // placing them takes time by the square of this

std::string at(const char* kind, size_t index) {
  return std::string("plan: ") + kind + " " + std::to_string(index) + ": ";
}

void need(bool ok, const std::string& where, const char* what) {
  check(ok, CACTUS_ERROR_PLAN, where + what);
}

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
    case DType::kQ4_64: return rows / kTileRows * (w.cols / 64) * kQ4_64Block;
  }
  return 0;
}

bool is_quantized(const WeightRecord& w) { return w.dtype >= static_cast<uint32_t>(DType::kQ8); }

uint32_t weight_group(const WeightRecord& w) {
  return w.dtype == static_cast<uint32_t>(DType::kQ4_64) ? 64 : kGroup;
}

void check_weights(const Plan& plan, uint64_t weights_size) {
  for (size_t n = 0; n < plan.weights.size(); n++) {
    const WeightRecord& w = plan.weights[n];
    const std::string where = at("weight", n);
    need(w.dtype <= 6, where, "unknown type");
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

// Checks one step against the shapes of what it names.
class StepChecker {
 public:
  StepChecker(const Plan& plan, size_t index)
      : plan_(plan), step_(plan.steps[index]), where_(at("step", index)) {}

  void check_all() {
    ok(step_.weights <= 4, "too many weights");
    for (uint32_t n = 0; n < step_.weights; n++) {
      ok(step_.weight[n] >= 0 && static_cast<size_t>(step_.weight[n]) < plan_.weights.size(),
         "names an unknown weight");
    }
    const Op op = static_cast<Op>(step_.op);
    for (int32_t bias : step_.bias) {
      ok(bias < 0 || op == Op::kLinear, "has a bias that it ignores");
      ok(bias < 0 || static_cast<size_t>(bias) < plan_.weights.size(), "names an unknown bias");
    }
    ok(op == Op::kStoreMemory ||
           (step_.out >= 0 && static_cast<size_t>(step_.out) < plan_.buffers.size()),
       "names an unknown output buffer");
    ok(step_.constant <= plan_.constants.size() &&
           step_.constants <= plan_.constants.size() - step_.constant,
       "names unknown constants");
    ok(step_.constants == 0 || op == Op::kRope || op == Op::kQkvAttention,
       "has rotary frequencies that it does not use");
    for (float f : step_.f) ok(std::isfinite(f), "a number is not finite");
    check_op();
  }

 private:
  void ok(bool condition, const char* what) const { need(condition, where_, what); }

  const BufferRecord& out() const { return plan_.buffers[static_cast<size_t>(step_.out)]; }

  // Input n with a row for every token, whatever rows are wanted.
  void token_input(int n, uint32_t width) const {
    ok(!input(n, width).per_output(), "input has the wrong rows");
  }

  // Input n as `width` floats a row.
  const BufferRecord& input(int n, uint32_t width, bool quantized = false) const {
    const int32_t index = step_.in[n];
    ok(index >= 0 && static_cast<size_t>(index) < plan_.buffers.size(),
       "names an unknown input buffer");
    const BufferRecord& b = plan_.buffers[static_cast<size_t>(index)];
    ok((b.group != 0) == quantized, "input is of the wrong kind");
    if (quantized) {
      ok(step_.in_col[n] == 0 && b.width == width, "input width does not match");
    } else {
      ok(step_.in_col[n] % 16 == 0 && step_.in_col[n] <= padded(b.width) &&
             padded(width) <= padded(b.width) - step_.in_col[n],
         "input width does not match");
    }
    return b;
  }

  void output(uint32_t width, bool per_output) const {
    ok(out().width == width, "output width does not match");
    ok(out().per_output() == per_output, "output has the wrong rows");
  }

  const WeightRecord& weight(uint32_t n, uint32_t rows, uint32_t cols) const {
    ok(n < step_.weights, "a weight is missing");
    return plain(plan_.weights[static_cast<size_t>(step_.weight[n])], rows, cols);
  }

  const WeightRecord& plain(const WeightRecord& w, uint32_t rows, uint32_t cols) const {
    ok(!w.tiled && w.dtype == 0, "needs a plain f32 weight");
    ok(w.rows == rows && w.cols == cols, "a weight has the wrong shape");
    return w;
  }

  const SlotRecord& slot(SlotKind kind) const {
    ok(step_.slot >= 0 && static_cast<size_t>(step_.slot) < plan_.slots.size(),
       "names an unknown slot");
    const SlotRecord& s = plan_.slots[static_cast<size_t>(step_.slot)];
    ok(s.kind == static_cast<uint32_t>(kind), "slot is of the wrong kind");
    return s;
  }

  uint32_t integer(int n, int32_t low, int32_t high) const {
    ok(step_.i[n] >= low && step_.i[n] <= high, "an integer is out of range");
    return static_cast<uint32_t>(step_.i[n]);
  }

  // Rows of features are no tokens: they have a memory, but no past in pages and rings.
  void needs_tokens() const {
    ok(plan_.header.features == 0, "needs tokens, has rows of features");
  }

  void whole_lanes(uint32_t width) const { ok(width % 16 == 0, "width not a multiple of 16"); }

  void check_op() {
    if (static_cast<Op>(step_.op) == Op::kStoreMemory) return check_memory();
    const uint32_t width = out().width;
    switch (static_cast<Op>(step_.op)) {
      case Op::kFeatures: {
        ok(out().group == 0 && width == plan_.header.features, "width is not the plan's features");
        return output(width, false);
      }
      case Op::kIm2col: {
        const uint32_t taps = integer(0, 3, 3), stride = integer(1, 1, 2);
        const uint32_t frames = step_.in[1] < 0 ? 1 : 2;
        ok(out().group == 0 && frames >= stride && width % (taps * frames / stride) == 0,
           "windows do not divide the width");
        const uint32_t channels = width / (taps * frames / stride);
        whole_lanes(channels);
        for (uint32_t n = 0; n < frames; n++) token_input(static_cast<int>(n), channels);
        return output(width, false);
      }
      case Op::kGeluErf: {
        whole_lanes(width);
        return output(width, input(0, width).per_output());
      }
      case Op::kLayerNorm: {
        weight(0, 1, width);
        weight(1, 1, width);
        whole_lanes(width);
        return output(width, input(0, width).per_output());
      }
      case Op::kAddPosition: {
        ok(step_.weights == 1 && out().group == 0, "needs one weight and an f32 output");
        const uint32_t positions = plan_.weights[static_cast<size_t>(step_.weight[0])].rows;
        weight(0, positions, width);
        ok(positions >= plan_.header.context_length, "has fewer positions than the context");
        whole_lanes(width);
        token_input(0, width);
        return output(width, false);
      }
      case Op::kStoreMemory:
      case Op::kMemoryAttention: return check_memory();
      case Op::kMemoryScores: {
        const SlotRecord& s = slot(SlotKind::kMemory);
        ok(s.b <= kMaxHeadDim && integer(2, 16, kMaxHeadDim) == s.b, "slot does not match");
        integer(0, 0, static_cast<int32_t>(s.a) - 1);  // the head
        ok(out().group == 0, "output is of the wrong kind");
        token_input(0, s.a * s.b);
        return output(width, false);
      }
      case Op::kEmbed: {
        needs_tokens();
        ok(step_.weights == 1 && out().group == 0, "needs one weight and an f32 output");
        const WeightRecord& w = plan_.weights[static_cast<size_t>(step_.weight[0])];
        ok(w.tiled == 1 && w.cols == width, "weight does not match");
        output(width, false);
        return;
      }
      case Op::kLinear: return check_linear();
      case Op::kAdd:
      case Op::kMul: {
        ok(out().group == 0, "output is of the wrong kind");
        const bool rows = input(0, width).per_output();
        ok(input(1, width).per_output() == rows, "inputs have different rows");
        return output(width, rows);
      }
      case Op::kSilu:
      case Op::kGelu:
      case Op::kScale: {
        ok(out().group == 0, "output is of the wrong kind");
        return output(width, input(0, width).per_output());
      }
      case Op::kQuantize: {
        ok(out().group != 0, "output is of the wrong kind");
        return output(width, input(0, width).per_output());
      }
      case Op::kRmsNorm: {
        weight(0, 1, width);
        whole_lanes(width);
        return output(width, input(0, width).per_output());
      }
      case Op::kHeadNorm: {
        const uint32_t head_dim = integer(2, 16, 4096);
        ok(head_dim % 16 == 0 && width % head_dim == 0 && out().group == 0,
           "heads do not divide the width");
        weight(0, 1, head_dim);
        return output(width, input(0, width).per_output());
      }
      case Op::kRope: {
        const uint32_t head_dim = integer(2, 16, 4096);
        ok(head_dim % 16 == 0 && width % head_dim == 0 && out().group == 0,
           "heads do not divide the width");
        check_rotary(head_dim);
        token_input(0, width);
        return output(width, false);
      }
      case Op::kSwiglu:
      case Op::kGeglu: {
        whole_lanes(width);
        return output(width, input(0, 2 * width).per_output());
      }
      case Op::kOutputRows: {
        ok(out().group == 0 && !input(0, width).per_output(), "rows do not match");
        return output(width, true);
      }
      case Op::kAttention:
      case Op::kQkvAttention: return check_attention();
      case Op::kCausalConv1d:
      case Op::kShortConv: {
        needs_tokens();
        const bool gated = step_.op == static_cast<uint32_t>(Op::kShortConv);
        const SlotRecord& s = slot(SlotKind::kConv);
        whole_lanes(width);
        ok(s.a == width, "slot does not match");
        weight(0, width, s.b);
        token_input(0, gated ? 3 * width : width);
        return output(width, false);
      }
    }
    ok(false, "unknown operation");
  }

  void check_rotary(uint32_t head_dim) const {
    ok(step_.constants > 0 && 2 * step_.constants <= head_dim, "rotary dimension out of range");
  }

  void check_linear() {
    ok(step_.weights >= 1 && out().group == 0, "needs a weight and an f32 output");
    const uint32_t cols = plan_.weights[static_cast<size_t>(step_.weight[0])].cols;
    const bool quantized = is_quantized(plan_.weights[static_cast<size_t>(step_.weight[0])]);
    const uint32_t group = input(0, cols, quantized).group;
    uint64_t rows = 0;
    for (uint32_t n = 0; n < step_.weights; n++) {
      const WeightRecord& w = plan_.weights[static_cast<size_t>(step_.weight[n])];
      ok(w.tiled == 1 && w.cols == cols, "weights have different columns");
      ok(is_quantized(w) == quantized, "mixes quantised and other weights");
      ok(w.dtype <= static_cast<uint32_t>(DType::kQ8) || group == weight_group(w),
         "input is quantised in other groups");
      const bool whole = n + 1 < step_.weights || step_.bias[n] >= 0;
      ok(!whole || w.rows % 16 == 0, "rows not a multiple of 16");
      if (step_.bias[n] >= 0) plain(plan_.weights[static_cast<size_t>(step_.bias[n])], 1, w.rows);
      rows += w.rows;
    }
    ok(rows == out().width, "output width does not match");
    const bool per_output = input(0, cols, quantized).per_output();
    if (step_.in[1] >= 0) {
      const BufferRecord& residual = input(1, out().width);
      ok(residual.per_output() == per_output, "residual has other rows");
      ok(residual.width == out().width && step_.in_col[1] == 0, "residual is a view");
    }
    output(out().width, per_output);
  }

  // Keys and values of the whole memory: stored, attended to, or both.
  void check_memory() const {
    const bool attends = step_.op == static_cast<uint32_t>(Op::kMemoryAttention);
    const uint32_t kv_heads = integer(1, 1, 4096), head_dim = integer(2, 16, kMaxHeadDim);
    const uint32_t heads = attends ? integer(0, 1, 4096) : kv_heads;
    const SlotRecord& s = slot(SlotKind::kMemory);
    ok(s.a == kv_heads && s.b == head_dim && heads % kv_heads == 0, "slot does not match");
    const int first = attends ? 1 : 0;
    if (!attends || step_.in[1] >= 0) {
      ok(plan_.header.features != 0, "only rows of features can be remembered");
      token_input(first, kv_heads * head_dim);
      token_input(first + 1, kv_heads * head_dim);
    }
    if (!attends) return;
    ok(out().group == 0 || head_dim % out().group == 0, "head_dim not a multiple of the group");
    token_input(0, heads * head_dim);
    output(heads * head_dim, 0);
  }

  void check_attention() {
    needs_tokens();
    const uint32_t heads = integer(0, 1, 4096), kv_heads = integer(1, 1, 4096);
    const uint32_t head_dim = integer(2, 16, 4096);
    integer(4, 0, static_cast<int32_t>(kMaxWidth));  // the window
    const SlotRecord& s = slot(SlotKind::kKv);
    ok(heads % kv_heads == 0, "heads are not a multiple of the key/value heads");
    ok(s.a == kv_heads && s.b == head_dim && head_dim <= kMaxHeadDim, "slot does not match");
    ok(out().group == 0 || head_dim % out().group == 0, "head_dim not a multiple of the group");
    if (step_.op == static_cast<uint32_t>(Op::kAttention)) {
      token_input(0, heads * head_dim);
      token_input(1, kv_heads * head_dim);
      token_input(2, kv_heads * head_dim);
    } else {
      token_input(0, (heads + 2 * kv_heads) * head_dim);
      if (step_.constants != 0) check_rotary(head_dim);
      if (step_.weights != 0) {
        weight(0, 1, head_dim);
        weight(1, 1, head_dim);
      }
    }
    output(heads * head_dim, 0);
  }

  const Plan& plan_;
  const StepRecord& step_;
  const std::string where_;
};

// What nobody has stored could be another session's: pages are used again as they are.
void check_stored(const Plan& plan) {
  std::vector<bool> stored(plan.slots.size());
  for (size_t n = 0; n < plan.steps.size(); n++) {
    const StepRecord& step = plan.steps[n];
    const Op op = static_cast<Op>(step.op);
    const bool attends = op == Op::kMemoryAttention;
    if (op != Op::kStoreMemory && op != Op::kMemoryScores && !attends) continue;
    const size_t slot = static_cast<size_t>(step.slot);
    if (op == Op::kStoreMemory || (attends && step.in[1] >= 0)) stored[slot] = true;
    need(stored[slot], at("step", n), "reads a memory that no step before it has stored");
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
  plan.steps = take<StepRecord>(cursor, end, plan.header.steps, "steps");
  plan.constants = take<float>(cursor, end, plan.header.constants, "constants", kMaxConstants);
  check(cursor == end, CACTUS_ERROR_PLAN, "plan: has bytes after its end");
  check(plan.header.vocab_size <= kMaxWidth && plan.header.features <= kMaxWidth &&
            plan.header.context_length > 0 && plan.header.context_length <= kMaxWidth,
        CACTUS_ERROR_PLAN, "plan: vocabulary, features or context out of range");
  check_weights(plan, weights_size);
  check_buffers(plan);
  for (size_t n = 0; n < plan.steps.size(); n++) StepChecker(plan, n).check_all();
  if (plan.header.features != 0) check_stored(plan);
  check(plan.header.output < plan.buffers.size(), CACTUS_ERROR_PLAN,
        "plan: names an unknown output buffer");
  const BufferRecord& output = plan.buffers[plan.header.output];
  check(output.group == 0 && output.per_output() &&
            (plan.header.vocab_size == 0 || output.width == plan.header.vocab_size),
        CACTUS_ERROR_PLAN, "plan: the output buffer does not match the vocabulary");
  return plan;
}

}  // namespace cactus
