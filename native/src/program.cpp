#include "program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "error.h"

namespace cactus {

namespace {

// What a plan may take for the rows of a step, and as much again for pages or rings of its state:
// far more than any model needs beside weights of this size, and so little that a plan of a few
// bytes cannot fill the machine.
constexpr uint64_t kPlanBytes = uint64_t{64} << 20, kRowBytes = 256 << 10, kPerWeightByte = 8;

size_t bytes_of(const Buffer& buffer, uint32_t rows, const KernelTable& kernels) {
  const size_t values = static_cast<size_t>(rows) * buffer.stride;
  if (buffer.group == 0) return values * sizeof(float);
  return values / kGroup * static_cast<size_t>(kernels.panel_bytes[buffer.levels - 1]);
}

size_t table_bytes(const Rotary& rotary, uint32_t max_rows) {
  return size_t{2} * max_rows * rotary.count * sizeof(float);
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

bool attends(const StepRecord& step) {
  const Op op = static_cast<Op>(step.op);
  return op == Op::kAttention || op == Op::kQkvAttention || op == Op::kMemoryAttention;
}

bool convolves(const StepRecord& step) {
  return step.op == static_cast<uint32_t>(Op::kCausalConv1d) ||
         step.op == static_cast<uint32_t>(Op::kShortConv);
}

}  // namespace

Program::Program(const void* plan, uint64_t plan_size, const std::string& weights_path,
                 const KernelTable& kernels, int threads, uint32_t max_rows, Reading reading,
                 uint64_t kv_bytes)
    : mapping_(std::make_shared<const Mapping>(weights_path, reading)),
      plan_(read_plan(plan, plan_size, mapping_->size())),
      kernels_(kernels),
      max_rows_(max_rows),
      layout_(std::make_shared<StateLayout>(plan_)),
      pool_(std::make_shared<KvPool>(kv_bytes)),
      mutex_(std::make_shared<std::mutex>()),
      team_(std::make_shared<Team>(threads)),
      pacer_(threads) {
  prepare();
}

Program::Program(const void* plan, uint64_t plan_size, const Program& base, uint32_t max_rows)
    : mapping_(base.mapping_),
      plan_(read_plan(plan, plan_size, mapping_->size())),
      kernels_(base.kernels_),
      max_rows_(max_rows),
      layout_(base.layout_),
      pool_(base.pool_),
      mutex_(base.mutex_),
      team_(base.team_),
      pacer_(base.threads()) {
  const std::vector<SlotRecord>&slots = plan_.slots, &others = base.plan_.slots;
  check(slots.size() == others.size() && std::equal(slots.begin(), slots.end(), others.begin(),
                                                    [](const SlotRecord& a, const SlotRecord& b) {
                                                      return std::memcmp(&a, &b, sizeof a) == 0;
                                                    }),
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
  for (const StepRecord& step : plan_.steps) {
    functions_.push_back(find_op(static_cast<Op>(step.op)));
  }
  for (const StepRecord& step : plan_.steps) {
    if (step.op == static_cast<uint32_t>(Op::kEmbed)) {
      tokens_ = std::min(tokens_, weights_[static_cast<size_t>(step.weight[0])].rows);
    }
    needs_memory_ |= step.op == static_cast<uint32_t>(Op::kMemoryAttention) ||
                     step.op == static_cast<uint32_t>(Op::kMemoryScores);
  }
  seconds_.resize(plan_.steps.size());
  make_buffers();
}

void Program::make_buffers() {
  uint32_t widest = 16, queries = 16;
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
  for (const StepRecord& step : plan_.steps) {
    if (!attends(step) && !convolves(step)) continue;
    queries = std::max(queries, padded(plan_.buffers[static_cast<size_t>(step.out)].width));
  }
  // A row before it is quantised; or an attention tile: scores, queries, and the running and a
  // page's (m, l, o).
  const uint32_t attention = kMaxQueries * (kSpan + kQueryStride + 2 * (2 + kMaxHeadDim));
  scratch_floats_ = std::max(widest, attention);
  row_scratch_floats_ = size_t{max_rows_} * queries;
  make_rotaries();
  check_size();
  arena_block_ = Block(arena_.bytes);
  for (size_t b = 0; b < buffers_.size(); b++) {
    if (!buffers_[b].output_rows)
      place(buffers_[b], arena_block_.as<uint8_t>() + arena_.offsets[b]);
  }
  scratch_ = Block(static_cast<size_t>(threads()) * scratch_floats_ * sizeof(float));
  row_scratch_ = Block(row_scratch_floats_ * sizeof(float));
  for (Rotary& rotary : rotaries_) rotary.table = Block(table_bytes(rotary, max_rows_));
  make_output_buffers(1);
}

// Whatever the plan asks for, before any of it is taken: a plan is a file like any other.
void Program::check_size() const {
  uint64_t bytes = arena_.bytes + row_scratch_floats_ * sizeof(float) +
                   static_cast<uint64_t>(threads()) * scratch_floats_ * sizeof(float);
  for (const Rotary& rotary : rotaries_) bytes += table_bytes(rotary, max_rows_);
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

void Program::make_rotaries() {
  std::map<std::tuple<uint32_t, uint32_t, float>, size_t> known;
  for (const StepRecord& step : plan_.steps) {
    size_t index = 0;
    if (step.constants != 0) {
      // The op's scale of cos and sin is its second float.
      const float scale = step.f[1];
      index = known.try_emplace({step.constant, step.constants, scale}, known.size()).first->second;
      if (index == rotaries_.size())
        rotaries_.push_back({step.constant, step.constants, scale, {}});
    }
    step_rotary_.push_back(index);
  }
}

void Program::fill_rotaries(int thread) {
  for (Rotary& rotary : rotaries_) {
    const float* frequencies = plan_.constants.data() + rotary.constant;
    for (uint32_t row = static_cast<uint32_t>(thread); row < batch_.rows();
         row += static_cast<uint32_t>(active_)) {
      const float position = static_cast<float>(batch_.positions[row]);
      const size_t at = static_cast<size_t>(row) * rotary.count;
      for (uint32_t i = 0; i < rotary.count; i++) {
        const float angle = position * frequencies[i];
        rotary.cos()[at + i] = std::cos(angle) * rotary.scale;
        rotary.sin(max_rows_)[at + i] = std::sin(angle) * rotary.scale;
      }
    }
  }
}

Batch Program::make_batch(std::vector<Sequence> sequences) const {
  Batch batch;
  batch.sequences = std::move(sequences);
  uint32_t leader = 0;  // the sequence whose memory the last one had
  for (uint32_t s = 0; s < batch.sequences.size(); s++) {
    Sequence& sequence = batch.sequences[s];
    sequence.first_row = batch.rows();
    const bool remembers = sequence.features != nullptr;
    sequence.start = remembers ? 0 : sequence.session->length();
    sequence.memory = remembers ? sequence.count : sequence.session->memory_length();
    if (!remembers && s > 0 && sequence.session->shares_memory(*batch.sequences[s - 1].session)) {
      batch.sequences[leader].memory_rows += sequence.count;
    } else {
      leader = s;
      sequence.memory_rows = sequence.count;
    }
    for (uint32_t n = 0; n < sequence.count; n++) {
      if (sequence.outputs == CACTUS_OUTPUTS_ALL ||
          (sequence.outputs == CACTUS_OUTPUTS_LAST && n + 1 == sequence.count)) {
        batch.outputs.push_back(batch.rows());
      }
      if (!remembers) batch.tokens.push_back(sequence.tokens[n]);
      batch.sequence.push_back(s);
      batch.positions.push_back(sequence.start + n);
    }
  }
  return batch;
}

void Program::check_batch(const Batch& batch, uint32_t n_outputs) const {
  if (batch.outputs.size() != n_outputs) {
    throw Error(CACTUS_ERROR_ARGUMENT,
                "step: the rows ask for " + std::to_string(batch.outputs.size()) +
                    " outputs, there is room for " + std::to_string(n_outputs));
  }
  const uint32_t context = plan_.header.context_length;
  for (const Sequence& s : batch.sequences) {
    if (s.count > context || s.start > context - s.count) {
      throw Error(CACTUS_ERROR_CONTEXT, "step: " + std::to_string(uint64_t{s.start} + s.count) +
                                            " tokens do not fit the context of " +
                                            std::to_string(context));
    }
  }
  for (const Sequence& s : batch.sequences) {
    check(!needs_memory_ || s.memory != 0, CACTUS_ERROR_ARGUMENT,
          "step: a session has no memory yet; run its features first");
  }
  for (int32_t token : batch.tokens) {
    if (token < 0 || static_cast<uint32_t>(token) >= tokens_) {
      throw Error(CACTUS_ERROR_ARGUMENT, "step: token " + std::to_string(token) +
                                             " is not in the vocabulary of " +
                                             std::to_string(tokens_));
    }
  }
}

// The barrier of the current step's threads.
void Program::meet(int thread) {
  if (active_ == 1) return;
  const auto begin = std::chrono::steady_clock::now();
  team_->barrier().wait();
  waited_[static_cast<size_t>(thread)] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A number of a step and not a flag: a thread that leaves the barrier late must not see the
// decision of the next operation already, which the others would then wait for.
void Program::look_at_stop(size_t step) {
  if (stop_ != nullptr && __atomic_load_n(stop_, __ATOMIC_RELAXED) != 0 &&
      last_.load(std::memory_order_relaxed) == SIZE_MAX) {
    last_.store(step, std::memory_order_relaxed);
  }
}

void Program::run_steps(int thread) {
  fill_rotaries(thread);
  meet(thread);
  const bool timed = profiling_ && thread == 0;
  for (size_t n = 0; n < plan_.steps.size(); n++) {
    const auto begin =
        timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    functions_[n](plan_.steps[n], Context{*this, n, thread});
    if (thread == 0) look_at_stop(n);
    meet(thread);
    if (timed) {
      seconds_[n] +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    if (last_.load(std::memory_order_relaxed) <= n) return;
  }
  if (plan_.header.vocab_size == 0) return;
  measure_logits(thread);
}

Logits Program::logits_of(uint32_t output) {
  const Buffer& buffer = buffers_[plan_.header.output];
  Logits row{kernels_, buffer.values + size_t{output} * buffer.stride,
             static_cast<int>(plan_.header.vocab_size), nullptr};
  row.slices = slices_.data() + size_t{output} * row.slice_count();
  return row;
}

// Slices of all rows, so that several threads have work where there is one row.
void Program::measure_logits(int thread) {
  const uint64_t slices = logits_of(0).slice_count(), threads = active_;
  const uint64_t count = slices * batch_.outputs.size(), t = thread;
  for (uint64_t n = count * t / threads; n < count * (t + 1) / threads; n++) {
    logits_of(static_cast<uint32_t>(n / slices)).measure(static_cast<int>(n % slices));
  }
}

void Program::step(std::vector<Sequence> sequences, cactus_output* outputs, uint32_t n_outputs,
                   float* values, const int32_t* stop) {
  const StandardFloats floats;
  mapping_->check_unchanged();
  Batch batch = make_batch(std::move(sequences));
  check_batch(batch, n_outputs);
  // All memory first, so that a failure leaves every session as it was.
  make_output_buffers(n_outputs);
  active_ = pacer_.next();
  const size_t partials = attention_partials(plan_, kernels_, batch, active_);
  if (partials_.size() < partials) partials_.resize(partials);
  try {
    for (const Sequence& s : batch.sequences) {
      s.features ? s.session->reserve_memory(s.count) : s.session->reserve(s.count);
      if (s.sampler != nullptr) s.sampler->begin(s.output_count());
      if (s.sampler != nullptr || s.n_top != 0) sampling_.reserve(plan_.header.vocab_size);
    }
  } catch (...) {
    for (const Sequence& s : batch.sequences) s.session->drop_surplus();
    throw;
  }
  const std::function<void(int)> job = [this](int thread) { run_steps(thread); };
  batch_ = std::move(batch);
  // What the caller gave is its own again after the step.
  struct Release {
    Program& program;
    ~Release() {
      program.batch_.sequences.clear();
      program.stop_ = nullptr;
    }
  } const release{*this};
  stop_ = stop;
  last_.store(SIZE_MAX, std::memory_order_relaxed);
  std::fill(waited_.begin(), waited_.end(), 0.0);
  const auto begin = std::chrono::steady_clock::now();
  if (active_ == 1) {
    job(0);
  } else {
    team_->run(job);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const bool cancelled = last_.load(std::memory_order_relaxed) != SIZE_MAX;
  if (!cancelled) {
    pacer_.record(active_, took.count(), *std::max_element(waited_.begin(), waited_.end()));
  }
  for (const Sequence& s : batch_.sequences) {
    s.features ? s.session->remember(s.count) : s.session->advance(s.count);
  }
  try {
    check(!cancelled, CACTUS_ERROR_CANCELLED, "the step was stopped");
    plan_.header.vocab_size == 0 ? give_states(values) : choose(outputs, values);
  } catch (...) {
    for (const Sequence& s : batch_.sequences) {
      s.features ? s.session->remember(0) : static_cast<void>(s.session->truncate(s.start));
    }
    throw;
  }
}

// Samples every output row, then counts what was sampled; throws before anything is counted.
void Program::choose(cactus_output* outputs, float* logits) {
  for (uint32_t n = 0; n < batch_.outputs.size(); n++) {
    stats_[n] = summarize(logits_of(n));
    check(stats_[n].finite, CACTUS_ERROR_NONFINITE,
          "the model's logits hold NaN or infinity: its weights are damaged, or a value "
          "overflowed");
  }
  uint32_t n = 0;  // the outputs of a sequence follow one another
  for (const Sequence& s : batch_.sequences) {
    for (uint32_t index = 0; index < s.output_count(); index++, n++) {
      const Logits row = logits_of(n);
      const LogitStats& stats = stats_[n];
      if (s.n_top != 0) {
        top_tokens(row, stats, s.n_top, sampling_.candidates, s.top + size_t{s.n_top} * index);
      }
      const int32_t token =
          s.sampler ? s.sampler->sample(row, stats, index, sampling_) : stats.argmax;
      outputs[n] = {token, row.values[token] - stats.max - stats.log_sum, stats.entropy};
      if (logits != nullptr) std::copy_n(row.values, row.count, logits + size_t{n} * row.count);
    }
  }
  n = 0;
  for (const Sequence& s : batch_.sequences) {
    for (uint32_t index = 0; index < s.output_count(); index++, n++) {
      if (s.sampler != nullptr) s.sampler->sampled(outputs[n].token);
    }
  }
}

void Program::give_states(float* states) const {
  const Buffer& buffer = buffers_[plan_.header.output];
  for (size_t n = 0; n < batch_.outputs.size(); n++) {
    const float* row = buffer.values + n * buffer.stride;
    const bool finite =
        std::all_of(row, row + buffer.width, [](float x) { return std::isfinite(x); });
    check(finite, CACTUS_ERROR_NONFINITE,
          "the model's states hold NaN or infinity: its weights or its input are damaged, or a "
          "value overflowed");
    if (states != nullptr) std::copy_n(row, buffer.width, states + n * buffer.width);
  }
}

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
      const PanelRow at = panel_row(buffer, static_cast<uint32_t>(rows), row, i / kGroup * kGroup);
      const size_t m = static_cast<size_t>(at.row), n = static_cast<size_t>(at.rows);
      const size_t code_bytes = static_cast<size_t>(kernels_.code_bytes[buffer.levels - 1]);
      const uint8_t* codes = at.panel + (i % kGroup / 8 * n + m) * code_bytes / 4;
      int value;
      if (code_bytes == 64) {
        int16_t words[8];
        std::memcpy(words, codes, sizeof words);
        value = words[i % 2 * 4 + i % 8 / 2];
      } else {
        value = static_cast<int8_t>(codes[i % 8]);
        if (buffer.levels == 2) {
          const int lo = static_cast<int8_t>(codes[8 + i % 4]);
          value = value * 256 + (i % 8 < 4 ? lo : 16 * lo);
        }
      }
      float scale;
      std::memcpy(&scale, at.panel + code_bytes * n + 4 * m, sizeof scale);
      *out++ = static_cast<float>(value) * scale;
    }
  }
}

PanelRow Program::panel_row(const Buffer& buffer, uint32_t rows, uint32_t row,
                            uint32_t column) const {
  const uint32_t most = static_cast<uint32_t>(kernels_.max_rows);
  const uint32_t first = row / most * most;
  const uint32_t count = std::min(most, rows - first);
  const size_t bytes = static_cast<size_t>(kernels_.panel_bytes[buffer.levels - 1]);
  uint8_t* panel = buffer.panels + size_t{first} * buffer.stride / kGroup * bytes;
  return {panel + size_t{column} / kGroup * count * bytes, static_cast<int>(count),
          static_cast<int>(row - first), static_cast<int>(buffer.levels)};
}

void Program::profile(bool enable, double* seconds, uint32_t n_steps) {
  check(n_steps == 0 || (seconds != nullptr && n_steps == seconds_.size()), CACTUS_ERROR_ARGUMENT,
        "profile: the plan has " + std::to_string(seconds_.size()) + " steps");
  if (n_steps != 0) std::copy(seconds_.begin(), seconds_.end(), seconds);
  if (enable && !profiling_) std::fill(seconds_.begin(), seconds_.end(), 0.0);
  profiling_ = enable;
}

uint32_t Context::rows(const Buffer& buffer) const {
  return buffer.output_rows ? static_cast<uint32_t>(batch().outputs.size()) : batch().rows();
}

void Context::share(uint32_t count, uint32_t* first, uint32_t* last) const {
  const uint64_t n = static_cast<uint64_t>(threads()), t = static_cast<uint64_t>(thread);
  *first = static_cast<uint32_t>(count * t / n);
  *last = static_cast<uint32_t>(count * (t + 1) / n);
}

}  // namespace cactus
