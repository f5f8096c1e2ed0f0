// How a program is made from its plan and its weights: what it may take, and where buffers lie.
#include <algorithm>
#include <cstring>

#include "error.h"
#include "fuse.h"
#include "program.h"

namespace cactus {

namespace {

// What a plan may take for the rows of a step, and as much again for pages or rings of its state:
// far more than any model needs beside weights of this size, and so little that a plan of a few
// bytes cannot fill the machine.
constexpr uint64_t kPlanBytes = uint64_t{64} << 20, kRowBytes = 256 << 10, kPerWeightByte = 8;

size_t bytes_of(const Buffer& buffer, uint32_t rows, const KernelTable& kernels) {
  if (buffer.group == 0) return size_t{rows} * buffer.stride * sizeof(float);
  // Whole panels, as which also those of fewer rows may be laid out.
  const uint32_t most = static_cast<uint32_t>(kernels.panel_rows);
  const size_t values = size_t{rows + most - 1} / most * most * buffer.stride;
  return values / kGroup * static_cast<size_t>(kernels.panel_bytes[buffer.levels - 1]);
}

size_t table_bytes(const Rotary& rotary, uint32_t max_rows) {
  return size_t{2} * max_rows * rotary.set.count * sizeof(float);
}

void place(Buffer& buffer, void* memory) {
  if (buffer.group == 0) {
    buffer.values = static_cast<float*>(memory);
  } else {
    buffer.panels = static_cast<uint8_t*>(memory);
  }
}

Weight resolve(const WeightRecord& record, const uint8_t* base) {
  Weight w{};
  w.data = base + record.offset;
  w.dtype = static_cast<DType>(record.dtype);
  w.rows = record.rows;
  w.cols = record.cols;
  w.quantized = w.dtype >= DType::kQ8;
  w.tile_bytes = record.tiled ? record.bytes / (padded(record.rows) / kTileRows) : 0;
  return w;
}

bool needs_memory(const Step& step) {
  const auto* attention = std::get_if<AttentionStep>(&step.operation);
  return (attention != nullptr && attention->shape.memory) ||
         std::holds_alternative<MemoryScoresStep>(step.operation);
}

}  // namespace

Program::Program(const void* plan, uint64_t plan_size, const std::string& weights_path,
                 const KernelTable& kernels, int threads, uint32_t max_rows, Reading reading,
                 uint64_t kv_bytes)
    : mapping_(std::make_shared<const Mapping>(weights_path, reading)),
      plan_(fused(read_plan(plan, plan_size, mapping_->size()), kernels)),
      kernels_(kernels),
      max_rows_(max_rows),
      layout_(std::make_shared<StateLayout>(plan_)),
      pool_(std::make_shared<KvPool>(kv_bytes)),
      threads_(threads),
      team_(Team::shared(threads)),
      pacer_(threads) {
  prepare();
}

Program::Program(const void* plan, uint64_t plan_size, const Program& base,
                 const KernelTable& kernels, uint32_t max_rows)
    : mapping_(base.mapping_),
      plan_(fused(read_plan(plan, plan_size, mapping_->size()), kernels)),
      kernels_(kernels),
      max_rows_(max_rows),
      layout_(base.layout_),
      pool_(base.pool_),
      threads_(base.threads_),
      team_(Team::shared(base.threads_)),
      pacer_(base.threads_) {
  const std::vector<SlotRecord>&slots = plan_.slots, &others = base.plan_.slots;
  const auto equal = [](const SlotRecord& a, const SlotRecord& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  };
  check((slots.empty() && plan_.keeps_nothing) ||
            std::equal(slots.begin(), slots.end(), others.begin(), others.end(), equal),
        CACTUS_ERROR_PLAN, "plan: its slots are not those of the program that it shares");
  layout_->check_windows(plan_);
  prepare();
}

void Program::prepare() {
  active_ = threads();
  waited_.resize(static_cast<size_t>(threads()));
  for (const WeightRecord& record : plan_.weights) {
    weights_.push_back(resolve(record, mapping_->data()));
  }
  for (const Step& step : plan_.steps) {
    if (const auto* embed = std::get_if<EmbedStep>(&step.operation)) {
      tokens_ = std::min(tokens_, weights_[embed->weight].rows);
    }
    needs_memory_ |= needs_memory(step);
  }
  seconds_.resize(plan_.steps.size());
  make_buffers();
}

void Program::make_buffers() {
  uint32_t widest = 16;
  std::vector<uint64_t> sizes;
  for (const BufferRecord& record : plan_.buffers) {
    Buffer buffer{};
    buffer.group = record.group;
    buffer.levels = record.levels;
    buffer.output_rows = record.per_output();
    buffer.width = record.width;
    buffer.stride = padded(record.width);
    sizes.push_back(buffer.output_rows ? 0 : bytes_of(buffer, max_rows_, kernels_));
    buffers_.push_back(buffer);
    widest = std::max(widest, buffer.stride);
  }
  arena_ = place_buffers(plan_, sizes);
  row_scratch_bytes_ = experts_bytes(plan_, kernels_, max_rows_);
  for (const Step& step : plan_.steps) {
    if (const auto* conv = std::get_if<ConvStep>(&step.operation)) {
      const size_t bytes = size_t{max_rows_} * buffers_[conv->out].stride * sizeof(float);
      row_scratch_bytes_ = std::max(row_scratch_bytes_, bytes);
    } else if (const auto* experts = std::get_if<ExpertsStep>(&step.operation)) {
      widest = std::max({widest, padded(experts->experts), plan_.weights[experts->w2].cols});
    } else if (const auto* linear = std::get_if<LinearStep>(&step.operation)) {
      for (const Matrix& matrix : linear->matrices) {
        const size_t bytes = split_scratch(weights_[matrix.weight], max_rows_, kernels_);
        row_scratch_bytes_ = std::max(row_scratch_bytes_, bytes);
      }
    }
  }
  // A row before it is quantised, or an attention tile.
  scratch_floats_ = std::max(widest, kAttentionFloats);
  own_page_bytes_ =
      own_page_bytes(plan_, kernels_, std::min(max_rows_, plan_.header.context_length));
  for (const RotarySet& set : plan_.rotaries) rotaries_.push_back({set, {}});
  check_size();
  arena_block_ = Block(arena_.bytes);
  for (size_t b = 0; b < buffers_.size(); b++) {
    if (!buffers_[b].output_rows)
      place(buffers_[b], arena_block_.as<uint8_t>() + arena_.offsets[b]);
  }
  scratch_ = Block(static_cast<size_t>(threads()) * scratch_floats_ * sizeof(float));
  row_scratch_ = Block(row_scratch_bytes_);
  own_pages_ = Block(static_cast<size_t>(threads()) * own_page_bytes_);
  for (Rotary& rotary : rotaries_) rotary.table = Block(table_bytes(rotary, max_rows_));
  for (const TileShape& shape : plan_.shapes) tiles_.emplace_back(shape, kernels_, max_rows_);
  pages_.resize(plan_.keeps_nothing ? 0 : layout_->page_kinds());
  make_output_buffers(1);
}

// Whatever the plan asks for, before any of it is taken: a plan is a file like any other.
void Program::check_size() const {
  uint64_t bytes =
      arena_.bytes + row_scratch_bytes_ +
      static_cast<uint64_t>(threads()) * (scratch_floats_ * sizeof(float) + own_page_bytes_);
  for (const Rotary& rotary : rotaries_) bytes += table_bytes(rotary, max_rows_);
  for (const TileShape& shape : plan_.shapes) bytes += TileList::bytes(shape, kernels_, max_rows_);
  for (const Buffer& buffer : buffers_) {
    if (buffer.output_rows) bytes += bytes_of(buffer, 1, kernels_);
  }
  uint64_t weights = 0;
  for (const WeightRecord& weight : plan_.weights) weights += weight.bytes;
  weights = std::min<uint64_t>(weights, mapping_->size());
  const auto justified = [&](uint64_t wanted, uint64_t rows, const char* what) {
    const uint64_t most = kPlanBytes + rows * kRowBytes + kPerWeightByte * weights;
    check(wanted <= most, CACTUS_ERROR_PLAN,
          std::string("plan: ") + what + " take " + in_mebibytes(wanted) + ", weights of " +
              in_mebibytes(weights) + " justify " + in_mebibytes(most));
  };
  justified(bytes, max_rows_, "its buffers");
  justified(layout_->page_bytes(), 0, "pages of its state");
  justified(layout_->memory_bytes, 0, "pages of its memory");
  justified(layout_->ring_floats * sizeof(float), 0, "the convolutions of its state");
  check_available(bytes, "the model's buffers");
}

// Buffers of the rows whose logits are wanted: usually one, so they grow when more are asked for.
void Program::make_output_buffers(uint32_t rows) {
  if (rows <= output_capacity_) return;
  uint64_t bytes = 0;
  for (const Buffer& buffer : buffers_) {
    if (buffer.output_rows) bytes += bytes_of(buffer, rows, kernels_);
  }
  check_available(bytes, "the logits of " + std::to_string(rows) + " rows");
  std::vector<Block> blocks;
  std::vector<Buffer> placed = buffers_;
  for (Buffer& buffer : placed) {
    if (!buffer.output_rows) continue;
    blocks.emplace_back(bytes_of(buffer, rows, kernels_));
    place(buffer, blocks.back().as<void>());
  }
  stats_.resize(rows);
  slices_.resize(size_t{rows} * logits_of(0).slice_count());
  buffers_.swap(placed);
  output_blocks_.swap(blocks);
  output_capacity_ = rows;
}

}  // namespace cactus
