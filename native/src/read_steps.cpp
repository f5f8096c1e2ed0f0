// A step's record becomes what its op takes, checked against the shapes of what it names.
#include "read_steps.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "cpu/kernels.h"

namespace cactus {

namespace {

constexpr uint32_t kMaxHeads = 4096;
constexpr uint32_t kMaxChosen = 64;  // experts of a row

// A table that has each entry once, and where it has it.
template <class Entry>
struct Table {
  std::vector<Entry>& entries;
  std::map<Entry, uint32_t> places = {};

  uint32_t place_of(const Entry& entry) {
    const auto next = static_cast<uint32_t>(entries.size());
    const auto [found, is_new] = places.try_emplace(entry, next);
    if (is_new) entries.push_back(entry);
    return found->second;
  }
};
struct Tables {
  Table<RotarySet> rotaries;
  Table<TileShape> shapes;
};

class StepReader {
 public:
  StepReader(const StepRecord& record, size_t index, const Plan& plan, Tables& tables)
      : plan_(plan), record_(record), tables_(tables), where_(at("step", index)) {}

  Step read() {
    ok(record_.weights <= 4, "too many weights");
    for (uint32_t n = 0; n < record_.weights; n++) {
      ok(record_.weight[n] >= 0 && static_cast<size_t>(record_.weight[n]) < plan_.weights.size(),
         "names an unknown weight");
    }
    for (int32_t bias : record_.bias) {
      ok(bias < 0 || op() == Op::kLinear || op() == Op::kExperts, "has a bias that it ignores");
      ok(bias < 0 || static_cast<size_t>(bias) < plan_.weights.size(), "names an unknown bias");
    }
    if (op() != Op::kStoreMemory) {
      ok(record_.out >= 0 && static_cast<size_t>(record_.out) < plan_.buffers.size(),
         "names an unknown output buffer");
      step_.writes = static_cast<uint32_t>(record_.out);
    }
    ok(record_.constant <= plan_.constants.size() &&
           record_.constants <= plan_.constants.size() - record_.constant,
       "names unknown constants");
    ok(record_.constants == 0 || op() == Op::kRope || op() == Op::kQkvAttention ||
           op() == Op::kBidirectionalAttention,
       "has rotary frequencies that it does not use");
    ok(record_.axes == -1 || record_.constants != 0, "has axes that it does not use");
    for (float f : record_.f) ok(std::isfinite(f), "a number is not finite");
    step_.operation = operation();
    return std::move(step_);
  }

 private:
  void ok(bool condition, const char* what) const { need(condition, where_, what); }

  Op op() const { return static_cast<Op>(record_.op); }
  uint32_t out() const { return *step_.writes; }
  const BufferRecord& out_buffer() const { return plan_.buffers[out()]; }
  uint32_t width() const { return out_buffer().width; }
  uint32_t weight(uint32_t n) const { return static_cast<uint32_t>(record_.weight[n]); }

  // Input n as `width` floats a row, or as so many quantised columns.
  View input(int n, uint32_t width, bool quantized = false) {
    const int32_t index = record_.in[n];
    const uint32_t column = record_.in_col[n];
    ok(index >= 0 && static_cast<size_t>(index) < plan_.buffers.size(),
       "names an unknown input buffer");
    const BufferRecord& b = plan_.buffers[static_cast<size_t>(index)];
    ok((b.group != 0) == quantized, "input is of the wrong kind");
    if (quantized) {
      ok(column == 0 && b.width == width, "input width does not match");
    } else {
      ok(column % 16 == 0 && column <= padded(b.width) && padded(width) <= padded(b.width) - column,
         "input width does not match");
    }
    step_.reads.push_back(static_cast<uint32_t>(index));
    return {static_cast<uint32_t>(index), column};
  }

  const BufferRecord& buffer(const View& view) const { return plan_.buffers[view.buffer]; }

  // Input n with a row for every token, whatever rows are wanted.
  View token_input(int n, uint32_t width) {
    const View view = input(n, width);
    ok(!buffer(view).per_output(), "input has the wrong rows");
    return view;
  }

  void output(uint32_t width, bool per_output) const {
    ok(out_buffer().width == width, "output width does not match");
    ok(out_buffer().per_output() == per_output, "output has the wrong rows");
  }
  void float_output(const char* what = "output is of the wrong kind") const {
    ok(out_buffer().group == 0, what);
  }

  // The buffers of an op whose rows are those of its input.
  RowStep row_by_row(uint32_t input_width) {
    const View in = input(0, input_width);
    output(width(), buffer(in).per_output());
    return {in, out()};
  }
  RowStep row_by_row() { return row_by_row(width()); }

  PairStep pair() {
    float_output();
    const View a = input(0, width()), b = input(1, width());
    ok(buffer(b).per_output() == buffer(a).per_output(), "inputs have different rows");
    output(width(), buffer(a).per_output());
    return {a, b, out()};
  }

  // Weight n as plain floats of this shape.
  uint32_t plain(uint32_t n, uint32_t rows, uint32_t cols) const {
    ok(n < record_.weights, "a weight is missing");
    return plain_weight(weight(n), rows, cols);
  }
  uint32_t plain_weight(uint32_t index, uint32_t rows, uint32_t cols) const {
    const WeightRecord& w = plan_.weights[index];
    ok(!w.tiled && w.dtype == 0, "needs a plain f32 weight");
    ok(w.rows == rows && w.cols == cols, "a weight has the wrong shape");
    return index;
  }

  const SlotRecord& slot(SlotKind kind) const {
    ok(record_.slot >= 0 && static_cast<size_t>(record_.slot) < plan_.slots.size(),
       "names an unknown slot");
    const SlotRecord& s = plan_.slots[static_cast<size_t>(record_.slot)];
    ok(s.kind == static_cast<uint32_t>(kind), "slot is of the wrong kind");
    return s;
  }
  uint32_t slot_index() const { return static_cast<uint32_t>(record_.slot); }

  uint32_t integer(int n, uint32_t low, uint32_t high) const {
    ok(record_.i[n] >= static_cast<int32_t>(low) && record_.i[n] <= static_cast<int32_t>(high),
       "an integer is out of range");
    return static_cast<uint32_t>(record_.i[n]);
  }

  // Rows of features are no tokens: they have a memory, but no past in pages and rings.
  void needs_tokens() const { ok(!plan_.of_features, "needs tokens, has rows of features"); }

  void whole_lanes(uint32_t width) const { ok(width % 16 == 0, "width not a multiple of 16"); }

  uint32_t heads_of_output() const {
    const uint32_t head_dim = integer(2, 16, 4096);
    ok(head_dim % 16 == 0 && width() % head_dim == 0 && out_buffer().group == 0,
       "heads do not divide the width");
    return head_dim;
  }

  uint32_t rotary(uint32_t head_dim) {
    ok(record_.constants > 0 && 2 * record_.constants <= head_dim, "rotary dimension out of range");
    return tables_.rotaries.place_of({record_.constant, record_.constants, record_.f[1], axes()});
  }

  std::optional<uint32_t> axes() const {
    if (record_.axes == -1) return {};
    const uint32_t first = static_cast<uint32_t>(record_.axes);
    ok(record_.axes >= 0 && first <= plan_.constants.size() &&
           record_.constants <= plan_.constants.size() - first,
       "names unknown axes");
    for (uint32_t n = 0; n < record_.constants; n++) {
      const float axis = plan_.constants[first + n];
      ok(axis >= 0 && axis < kMaxAxes && axis == std::floor(axis), "an axis is out of range");
    }
    return first;
  }

  // Which of the caller's floats the op takes, so many from the first on.
  uint32_t features_start() const {
    const uint32_t start = integer(0, 0, kMaxWidth);
    ok(out_buffer().group == 0 && uint64_t{start} + width() <= plan_.header.features,
       "takes more than the plan's features");
    return start;
  }

  // Of the rows among tokens that have features.
  template <class FeaturesOfTokens>
  Operation features_of_tokens() {
    needs_tokens();
    const uint32_t start = features_start();
    output(width(), false);
    return FeaturesOfTokens{{token_input(0, width()), out()}, start};
  }

  Operation operation() {
    switch (op()) {
      case Op::kFeatures: {
        output(width(), false);
        return FeaturesStep{features_start(), out()};
      }
      case Op::kReplaceFeatures: return features_of_tokens<ReplaceFeaturesStep>();
      case Op::kAddFeatures: return features_of_tokens<AddFeaturesStep>();
      case Op::kIm2col: return im2col();
      case Op::kGeluErf: {
        whole_lanes(width());
        return GeluErfStep{row_by_row()};
      }
      case Op::kLayerNorm: {
        whole_lanes(width());
        const uint32_t w = plain(0, 1, width());
        std::optional<uint32_t> bias;
        if (record_.weights > 1) bias = plain(1, 1, width());
        return LayerNormStep{row_by_row(), w, bias, record_.f[0]};
      }
      case Op::kAddPosition: {
        ok(record_.weights == 1 && out_buffer().group == 0, "needs one weight and an f32 output");
        const uint32_t positions = plan_.weights[weight(0)].rows;
        const uint32_t offset = integer(0, 0, kMaxWidth);
        ok(positions >= offset && positions - offset >= plan_.header.context_length,
           "has fewer positions than the context");
        whole_lanes(width());
        const uint32_t w = plain(0, positions, width());
        output(width(), false);
        return AddPositionStep{{token_input(0, width()), out()}, w, offset};
      }
      case Op::kAddSegment: {
        needs_tokens();
        ok(record_.weights == 1 && out_buffer().group == 0, "needs one weight and an f32 output");
        whole_lanes(width());
        const uint32_t w = plain(0, plan_.weights[weight(0)].rows, width());
        output(width(), false);
        return AddSegmentStep{{token_input(0, width()), out()}, w, record_.i[0]};
      }
      case Op::kEmbed: {
        needs_tokens();
        ok(record_.weights == 1 && out_buffer().group == 0, "needs one weight and an f32 output");
        const WeightRecord& w = plan_.weights[weight(0)];
        ok(w.tiled == 1 && w.cols == width(), "weight does not match");
        output(width(), false);
        return EmbedStep{weight(0), out()};
      }
      case Op::kLinear: return linear();
      case Op::kAdd: return AddStep{pair()};
      case Op::kMul: return MulStep{pair()};
      case Op::kSilu: float_output(); return SiluStep{row_by_row()};
      case Op::kGelu: return GeluStep{row_by_row()};
      case Op::kScale: float_output(); return ScaleStep{row_by_row(), record_.f[0]};
      case Op::kQuantize: {
        ok(out_buffer().group != 0, "output is of the wrong kind");
        return QuantizeStep{row_by_row()};
      }
      case Op::kRmsNorm: {
        whole_lanes(width());
        return RmsNormStep{row_by_row(), plain(0, 1, width()), record_.f[0]};
      }
      case Op::kHeadNorm: {
        const uint32_t head_dim = heads_of_output();
        return HeadNormStep{row_by_row(), plain(0, 1, head_dim), record_.f[0], head_dim};
      }
      case Op::kRope: {
        const uint32_t head_dim = heads_of_output();
        output(width(), false);
        return RopeStep{{token_input(0, width()), out()}, head_dim, rotary(head_dim)};
      }
      case Op::kSwiglu: whole_lanes(width()); return SwigluStep{row_by_row(2 * width())};
      case Op::kGeglu: whole_lanes(width()); return GegluStep{row_by_row(2 * width())};
      case Op::kGegluErf: whole_lanes(width()); return GegluErfStep{row_by_row(2 * width())};
      case Op::kOutputRows: {
        const View in = input(0, width());
        ok(out_buffer().group == 0 && !buffer(in).per_output(), "rows do not match");
        output(width(), true);
        return OutputRowsStep{{in, out()}};
      }
      case Op::kAttention:
      case Op::kQkvAttention: return attention();
      case Op::kBidirectionalAttention: return bidirectional();
      case Op::kExperts: return experts();
      case Op::kMemoryAttention: return memory_attention();
      case Op::kStoreMemory: return store_memory();
      case Op::kMemoryScores: return memory_scores();
      case Op::kCausalConv1d:
      case Op::kShortConv: return conv();
    }
    need(false, where_, "unknown operation");
    return {};
  }

  Operation im2col() {
    const uint32_t taps = integer(0, 3, 3), stride = integer(1, 1, 2);
    const uint32_t frames = record_.in[1] < 0 ? 1 : 2;
    ok(out_buffer().group == 0 && frames >= stride && width() % (taps * frames / stride) == 0,
       "windows do not divide the width");
    Im2colStep step{{}, taps, stride, width() / (taps * frames / stride), out()};
    whole_lanes(step.channels);
    for (uint32_t n = 0; n < frames; n++) {
      step.frames.push_back(token_input(static_cast<int>(n), step.channels));
    }
    output(width(), false);
    return step;
  }

  Operation conv() {
    needs_tokens();
    const bool gated = op() == Op::kShortConv;
    const SlotRecord& s = slot(SlotKind::kConv);
    whole_lanes(width());
    ok(s.a == width(), "slot does not match");
    const uint32_t w = plain(0, width(), s.b);
    output(width(), false);
    const View in = token_input(0, gated ? 3 * width() : width());
    return ConvStep{{in, out()}, w, slot_index(), gated};
  }

  Operation linear() {
    ok(record_.weights >= 1 && out_buffer().group == 0, "needs a weight and an f32 output");
    const uint32_t cols = plan_.weights[weight(0)].cols;
    const bool quantized = is_quantized(plan_.weights[weight(0)]);
    LinearStep step{input(0, cols, quantized), {}, {}, out()};
    uint64_t rows = 0;
    for (uint32_t n = 0; n < record_.weights; n++) {
      const WeightRecord& w = plan_.weights[weight(n)];
      ok(w.tiled == 1 && w.cols == cols, "weights have different columns");
      ok(is_quantized(w) == quantized, "mixes quantised and other weights");
      ok(!quantized || buffer(step.in).group == weight_group(w),
         "input is quantised in other groups");
      Matrix matrix{weight(n), {}};
      if (record_.bias[n] >= 0) {
        matrix.bias = plain_weight(static_cast<uint32_t>(record_.bias[n]), 1, w.rows);
      }
      const bool whole = n + 1 < record_.weights || matrix.bias;
      ok(!whole || w.rows % 16 == 0, "rows not a multiple of 16");
      step.matrices.push_back(matrix);
      rows += w.rows;
    }
    ok(rows == width(), "output width does not match");
    const bool per_output = buffer(step.in).per_output();
    if (record_.in[1] >= 0) {
      const View residual = input(1, width());
      ok(buffer(residual).per_output() == per_output, "residual has other rows");
      ok(buffer(residual).width == width() && residual.column == 0, "residual is a view");
      step.residual = residual.buffer;
    }
    output(width(), per_output);
    return step;
  }

  Operation experts() {
    ok(record_.weights == 2 && out_buffer().group == 0, "needs two weights and an f32 output");
    ok(record_.bias[2] < 0 && record_.bias[3] < 0, "has a bias that it ignores");
    ExpertsStep step{};
    step.experts = integer(0, 1, kMaxHeads);
    step.top_k = integer(1, 1, std::min(step.experts, kMaxChosen));
    step.sigmoid = integer(2, 0, 1) != 0;
    step.normalize = integer(3, 0, 1) != 0;
    step.gated = integer(4, 0, 1) != 0;
    step.levels = integer(5, 1, kMaxLevels);
    step.scale = record_.f[0];
    step.eps = record_.f[1];
    step.w1 = weight(0);
    step.w2 = weight(1);
    step.out = out();
    const WeightRecord &w1 = plan_.weights[step.w1], &w2 = plan_.weights[step.w2];
    const uint64_t inner = uint64_t{w2.cols} * (step.gated ? 2 : 1);
    ok(w1.tiled == 1 && w2.tiled == 1 && w1.cols == width() && w1.rows == step.experts * inner &&
           w2.rows == uint64_t{step.experts} * width(),
       "weights are not those of so many experts");
    whole_lanes(width());
    whole_lanes(w2.cols);
    step.groups[0] = is_quantized(w1) ? weight_group(w1) : 0;
    step.groups[1] = is_quantized(w2) ? weight_group(w2) : 0;
    if (record_.bias[0] >= 0) {
      step.bias = plain_weight(static_cast<uint32_t>(record_.bias[0]), 1, width());
    }
    if (record_.bias[1] >= 0) {
      step.preference = plain_weight(static_cast<uint32_t>(record_.bias[1]), 1, step.experts);
    }
    step.in = input(0, width());
    step.logits = input(1, step.experts);
    const bool per_output = buffer(step.in).per_output();
    ok(buffer(step.logits).per_output() == per_output, "inputs have different rows");
    ok(out() != step.in.buffer && out() != step.logits.buffer, "writes over its input");
    output(width(), per_output);
    return step;
  }

  Operation attention() {
    needs_tokens();
    const uint32_t heads = integer(0, 1, kMaxHeads), kv_heads = integer(1, 1, kMaxHeads);
    const uint32_t head_dim = integer(2, 16, 4096), window = integer(4, 0, kMaxWidth);
    const bool blocks = integer(5, 0, 1) != 0;
    const SlotRecord& s = slot(SlotKind::kKv);
    ok(s.a == kv_heads && s.b == head_dim && head_dim <= kMaxHeadDim, "slot does not match");
    const uint32_t group = heads / kv_heads;
    AttentionStep step =
        attend({kv_heads, group, window, false, blocks, s.quantized != 0}, heads, head_dim);
    projections(step, op() == Op::kAttention);
    return step;
  }

  Operation bidirectional() {
    const uint32_t heads = integer(0, 1, kMaxHeads), kv_heads = integer(1, 1, kMaxHeads);
    const uint32_t head_dim = integer(2, 16, kMaxHeadDim), reach = integer(4, 0, kMaxWidth);
    ok(head_dim % 16 == 0, "head_dim not a multiple of 16");
    BidirectionalStep step{heads_of(heads, kv_heads, head_dim), reach, {}};
    if (const uint32_t axis = integer(5, 0, kMaxAxes)) step.within = axis - 1;
    projections(step, record_.in[1] >= 0);
    return step;
  }

  // Queries, keys and values: three inputs, or columns of one.
  void projections(Heads& step, bool apart) {
    const uint32_t head_dim = step.head_dim, keys = step.kv_heads * head_dim;
    const uint32_t queries = step.group * keys;
    if (apart) {
      step.q = token_input(0, queries);
      step.stored = {token_input(1, keys), token_input(2, keys)};
      return;
    }
    step.q = token_input(0, queries + 2 * keys);
    const uint32_t column = step.q.column + queries;
    step.stored = {{step.q.buffer, column}, {step.q.buffer, column + keys}};
    if (record_.constants != 0) step.rotary = rotary(head_dim);
    if (record_.weights != 0) {
      step.norms = {plain(0, 1, head_dim), plain(1, 1, head_dim), record_.f[2]};
    }
  }

  Operation memory_attention() {
    const uint32_t heads = integer(0, 1, kMaxHeads), kv_heads = integer(1, 1, kMaxHeads);
    const uint32_t head_dim = integer(2, 16, kMaxHeadDim);
    check_memory(heads, kv_heads, head_dim);
    const bool coded = slot(SlotKind::kMemory).quantized != 0;
    AttentionStep step =
        attend({kv_heads, heads / kv_heads, 0, true, false, coded}, heads, head_dim);
    step.q = token_input(0, heads * head_dim);
    if (record_.in[1] >= 0) step.stored = remembered(1, kv_heads * head_dim);
    return step;
  }

  // What is common to attention over the past and over the memory.
  AttentionStep attend(const TileShape& shape, uint32_t heads, uint32_t head_dim) {
    return {heads_of(heads, shape.kv_heads, head_dim), shape, tables_.shapes.place_of(shape),
            slot_index()};
  }

  Heads heads_of(uint32_t heads, uint32_t kv_heads, uint32_t head_dim) const {
    ok(heads % kv_heads == 0, "heads are not a multiple of the key/value heads");
    ok(out_buffer().group == 0 || head_dim % out_buffer().group == 0,
       "head_dim not a multiple of the group");
    output(heads * head_dim, false);
    Heads step{};
    step.kv_heads = kv_heads;
    step.group = heads / kv_heads;
    step.head_dim = head_dim;
    step.scale = record_.f[0];
    step.out = out();
    return step;
  }

  Operation store_memory() {
    const uint32_t heads = integer(1, 1, kMaxHeads), head_dim = integer(2, 16, kMaxHeadDim);
    check_memory(heads, heads, head_dim);
    return StoreMemoryStep{remembered(0, heads * head_dim), heads, head_dim, slot_index()};
  }

  void check_memory(uint32_t heads, uint32_t kv_heads, uint32_t head_dim) const {
    const SlotRecord& s = slot(SlotKind::kMemory);
    ok(s.a == kv_heads && s.b == head_dim && heads % kv_heads == 0, "slot does not match");
  }

  // Keys and values that are stored, inputs `first` and the next.
  KeysAndValues remembered(int first, uint32_t width) {
    ok(plan_.of_features, "only rows of features can be remembered");
    return {token_input(first, width), token_input(first + 1, width)};
  }

  Operation memory_scores() {
    const SlotRecord& s = slot(SlotKind::kMemory);
    const uint32_t head_dim = integer(2, 16, kMaxHeadDim);
    ok(head_dim == s.b, "slot does not match");
    const uint32_t head = integer(0, 0, s.a - 1);
    float_output();
    output(width(), false);
    const View q = token_input(0, s.a * s.b);
    return MemoryScoresStep{{q, out()}, head, head_dim, record_.f[0], slot_index()};
  }

  const Plan& plan_;
  const StepRecord& record_;
  Tables& tables_;
  const std::string where_;
  Step step_{};
};

// What nobody has stored could be another session's: pages are used again as they are.
void check_stored(const Plan& plan) {
  std::vector<bool> stored(plan.slots.size());
  for (size_t n = 0; n < plan.steps.size(); n++) {
    const Operation& operation = plan.steps[n].operation;
    std::optional<uint32_t> read;
    if (const auto* store = std::get_if<StoreMemoryStep>(&operation)) stored[store->slot] = true;
    if (const auto* scores = std::get_if<MemoryScoresStep>(&operation)) read = scores->slot;
    const auto* attention = std::get_if<AttentionStep>(&operation);
    if (attention != nullptr && attention->shape.memory) {
      read = attention->slot;
      if (attention->stored) stored[attention->slot] = true;
    }
    need(!read || stored[*read], at("step", n), "reads a memory that no step before it has stored");
  }
}

template <class... Kinds>
bool is_any(const Step& step) {
  return (std::holds_alternative<Kinds>(step.operation) || ...);
}

// Whether a step has to do with what sessions keep.
bool has_past(const Step& step) {
  return is_any<AttentionStep, ConvStep, MemoryScoresStep, StoreMemoryStep>(step);
}

// Whose rows see all of their text has no past, so that nothing else may have one. What it says may
// be remembered.
void check_whole_texts(const Plan& plan) {
  for (size_t n = 0; n < plan.steps.size(); n++) {
    need(!has_past(plan.steps[n]) || is_any<StoreMemoryStep>(plan.steps[n]), at("step", n),
         "has a past, beside attention to whole texts");
  }
}

bool is_op(const StepRecord& record, Op op) { return record.op == static_cast<uint32_t>(op); }

uint32_t axes_of(const Plan& plan) {
  uint32_t axes = 0;
  for (const RotarySet& set : plan.rotaries) {
    if (!set.axes) continue;
    const float* first = plan.constants.data() + *set.axes;
    const float last = *std::max_element(first, first + set.count);
    axes = std::max(axes, static_cast<uint32_t>(last) + 1);
  }
  for (const Step& step : plan.steps) {
    const auto* attention = std::get_if<BidirectionalStep>(&step.operation);
    if (attention != nullptr && attention->within) axes = std::max(axes, *attention->within + 1);
  }
  return axes;
}

}  // namespace

void read_steps(const std::vector<StepRecord>& records, Plan& plan) {
  Tables tables{{plan.rotaries}, {plan.shapes}};
  const auto has = [&](Op op) {
    return std::any_of(records.begin(), records.end(),
                       [op](const StepRecord& record) { return is_op(record, op); });
  };
  plan.of_features = has(Op::kFeatures);
  need(plan.header.features == 0 || plan.of_features || has(Op::kReplaceFeatures) ||
           has(Op::kAddFeatures),
       "plan: ", "has features that no step takes");
  for (size_t n = 0; n < records.size(); n++) {
    plan.steps.push_back(StepReader(records[n], n, plan, tables).read());
  }
  const bool whole = has(Op::kBidirectionalAttention);
  if (whole) check_whole_texts(plan);
  if (plan.of_features) check_stored(plan);
  plan.keeps_nothing =
      (whole || plan.of_features) && std::none_of(plan.steps.begin(), plan.steps.end(), has_past);
  plan.axes = axes_of(plan);
}

}  // namespace cactus
