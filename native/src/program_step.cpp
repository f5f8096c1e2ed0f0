// A program's step: from rows of sessions to the tokens that follow them.
#include <algorithm>
#include <chrono>

#include "error.h"
#include "platform/floats.h"
#include "program.h"
#include "rotation.h"

namespace cactus {

void Program::fill_rotaries(int thread) {
  for (Rotary& rotary : rotaries_) {
    const auto [first, count, scale, axes] = rotary.set;
    const float* frequencies = plan_.constants.data() + first;
    for (uint32_t row = static_cast<uint32_t>(thread); row < batch_.rows();
         row += static_cast<uint32_t>(active_)) {
      const Sequence& s = batch_.sequences[batch_.sequence[row]];
      const int32_t* given = nullptr;  // of text alone every axis has the session's position
      if (axes && s.positions != nullptr) {
        given = s.positions + size_t{row - s.first_row} * plan_.axes;
      }
      float position = static_cast<float>(batch_.positions[row]);
      const size_t at = static_cast<size_t>(row) * count;
      for (uint32_t i = 0; i < count; i++) {
        if (given != nullptr) {
          const float axis = plan_.constants[*axes + i];
          position = static_cast<float>(given[static_cast<size_t>(axis)]);
        }
        const float angle = position * frequencies[i];
        const Rotation turned = rotation(angle);
        rotary.cos()[at + i] = turned.cos * scale;
        rotary.sin(max_rows_)[at + i] = turned.sin * scale;
      }
    }
  }
}

namespace {

// Of each row that is one of features: the position behind those that lie beside it in the step.
void find_blocks(Batch& batch) {
  const auto together = [&](uint32_t a, uint32_t b) {
    return batch.tokens[a] < 0 && batch.tokens[b] < 0 && batch.sequence[a] == batch.sequence[b];
  };
  for (uint32_t first = 0, row = 1; row <= batch.rows(); row++) {
    if (row < batch.rows() && together(row - 1, row)) continue;
    batch.blocks.insert(batch.blocks.end(), row - first, batch.positions[row - 1] + 1);
    first = row;
  }
}

}  // namespace

Batch Program::make_batch(std::vector<Sequence> sequences) const {
  Batch batch;
  batch.sequences = std::move(sequences);
  uint32_t leader = 0;  // the sequence whose memory the last one had
  for (uint32_t s = 0; s < batch.sequences.size(); s++) {
    Sequence& sequence = batch.sequences[s];
    sequence.first_row = batch.rows();
    const bool remembers = plan_.of_features && !plan_.keeps_nothing;
    sequence.remembers = remembers;
    sequence.start = remembers || plan_.keeps_nothing ? 0 : sequence.session->length();
    sequence.memory = remembers ? sequence.count : sequence.session->memory_length();
    if (!remembers && s > 0 && sequence.session->shares_memory(*batch.sequences[s - 1].session)) {
      batch.sequences[leader].memory_rows += sequence.count;
    } else {
      leader = s;
      sequence.memory_rows = sequence.count;
    }
    for (uint32_t n = 0; n < sequence.count; n++) {
      if (sequence.outputs == CACTUS_OUTPUTS_ALL || sequence.outputs == CACTUS_OUTPUTS_SUM ||
          (sequence.outputs == CACTUS_OUTPUTS_FIRST && n == 0) ||
          (sequence.outputs == CACTUS_OUTPUTS_LAST && n + 1 == sequence.count)) {
        batch.outputs.push_back(batch.rows());
      }
      if (!plan_.of_features) batch.tokens.push_back(sequence.tokens[n]);
      batch.sequence.push_back(s);
      batch.positions.push_back(sequence.start + n);
    }
  }
  const auto blocks = [](const TileShape& shape) { return shape.blocks; };
  if (std::any_of(plan_.shapes.begin(), plan_.shapes.end(), blocks)) find_blocks(batch);
  return batch;
}

void Program::check_batch(const Batch& batch, uint32_t n_outputs) const {
  size_t wanted = 0;
  for (const Sequence& s : batch.sequences) wanted += s.output_count();
  if (wanted != n_outputs) {
    throw Error(CACTUS_ERROR_ARGUMENT, "step: the rows ask for " + std::to_string(wanted) +
                                           " outputs, there is room for " +
                                           std::to_string(n_outputs));
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
  for (size_t row = 0; row < batch.tokens.size(); row++) {
    const int32_t token = batch.tokens[row];
    const uint32_t features = batch.sequences[batch.sequence[row]].n_features;
    if (token < 0 && plan_.header.features != 0) {
      if (static_cast<uint32_t>(-1 - token) < features) continue;
      throw Error(CACTUS_ERROR_ARGUMENT, "step: token " + std::to_string(token) +
                                             " is none of the " + std::to_string(features) +
                                             " rows of features");
    }
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
  waited_[static_cast<size_t>(thread)].seconds += crew_->meet(thread);
}

// Whether nobody wants the step any more.
bool Program::wants_stop() const {
  const auto is_set = [](const int32_t* flag) {
    return flag != nullptr && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
  };
  return is_set(stop_) || std::all_of(batch_.sequences.begin(), batch_.sequences.end(),
                                      [&](const Sequence& s) { return is_set(s.stop); });
}

// A number of a step and not a flag: a thread that leaves the barrier late must not see the
// decision of the next operation already, which the others would then wait for.
void Program::look_at_stop(size_t step) {
  if (last_.load(std::memory_order_relaxed) == SIZE_MAX && wants_stop()) {
    last_.store(step, std::memory_order_relaxed);
  }
}

namespace {

// The kernels' begin and end on this thread.
struct UsingKernels {
  explicit UsingKernels(const KernelTable& table) : kernels(table) { kernels.begin(); }
  ~UsingKernels() { kernels.end(); }
  UsingKernels(const UsingKernels&) = delete;
  UsingKernels& operator=(const UsingKernels&) = delete;
  const KernelTable& kernels;
};

}  // namespace

void Program::run_steps(int thread) {
  const UsingKernels here(kernels_);
  fill_rotaries(thread);
  meet(thread);
  const bool timed = profiling_ && thread == 0;
  for (size_t n = 0; n < plan_.steps.size(); n++) {
    const auto begin =
        timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    run_step(plan_.steps[n], Context{*this, thread});
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
  meet(thread);
  choose(thread);
}

// Runs the operations over the batch; false if it was stopped.
bool Program::run_batch(const int32_t* stop) {
  Crew crew(*team_, active_);
  crew_ = &crew;
  stop_ = stop;
  last_.store(SIZE_MAX, std::memory_order_relaxed);
  std::fill(waited_.begin(), waited_.end(), Waited{});
  const auto begin = std::chrono::steady_clock::now();
  crew.run([this](int thread) { run_steps(thread); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  crew_ = nullptr;
  stop_ = nullptr;
  if (last_.load(std::memory_order_relaxed) != SIZE_MAX) return false;
  double longest = 0;
  for (const Waited& waited : waited_) longest = std::max(longest, waited.seconds);
  pacer_.record(active_, batch_.rows(), took.count(), longest);
  return true;
}

// Takes what the step needs of memory, so that a failure leaves every session as it was.
void Program::make_room(const Batch& batch) {
  make_output_buffers(static_cast<uint32_t>(batch.outputs.size()));
  for (TileList& tiles : tiles_) tiles.make(batch, active_);
  const size_t partials = attention_partials(plan_, tiles_);
  if (partials_.size() < partials) partials_.resize(partials);
  try {
    for (const Sequence& s : batch.sequences) {
      if (!plan_.keeps_nothing) {
        s.remembers ? s.session->reserve_memory(s.count) : s.session->reserve(s.count);
      }
      if (s.sampler != nullptr) s.sampler->begin(s.output_count());
    }
    make_choosers(batch);
    for (uint32_t kind = 0; kind < pages_.size(); kind++) pages_[kind].make(batch, *layout_, kind);
  } catch (...) {
    for (const Sequence& s : batch.sequences) s.session->drop_surplus();
    throw;
  }
}

void Program::step(std::vector<Sequence> sequences, cactus_output* outputs, uint32_t n_outputs,
                   float* values, const int32_t* stop) {
  const StandardFloats floats;
  mapping_->check_unchanged();
  Batch batch = make_batch(std::move(sequences));
  check_batch(batch, n_outputs);
  active_ = pacer_.next(batch.rows());
  make_room(batch);
  batch_ = std::move(batch);
  chosen_ = {outputs, values};
  // What the caller gave is its own again after the step.
  struct Release {
    Program& program;
    ~Release() {
      program.batch_.sequences.clear();
      program.chosen_ = {};
    }
  } const release{*this};
  const bool finished = run_batch(stop);
  for (const Sequence& s : batch_.sequences) {
    if (plan_.keeps_nothing) break;
    s.remembers ? s.session->remember(s.count) : s.session->advance(s.count);
  }
  try {
    check(finished, CACTUS_ERROR_CANCELLED, "the step was stopped");
    plan_.header.vocab_size == 0 ? give_states(values) : count_chosen();
  } catch (...) {
    for (const Sequence& s : batch_.sequences) {
      if (plan_.keeps_nothing) break;
      s.remembers ? s.session->remember(0) : static_cast<void>(s.session->truncate(s.start));
    }
    throw;
  }
}

PanelRow Program::panel_row(const Buffer& buffer, uint32_t rows, uint32_t row,
                            uint32_t column) const {
  const uint32_t most = static_cast<uint32_t>(kernels_.panel_rows);
  const uint32_t first = row / most * most;
  uint32_t count = std::min(most, rows - first);
  if (count > static_cast<uint32_t>(kernels_.few_rows)) count = most;
  const size_t bytes = static_cast<size_t>(kernels_.panel_bytes[buffer.levels - 1]);
  uint8_t* panel = buffer.panels + size_t{first} * buffer.stride / kGroup * bytes;
  return {panel + size_t{column} / kGroup * count * bytes, static_cast<int>(count),
          static_cast<int>(row - first), static_cast<int>(buffer.levels)};
}

uint32_t Context::rows(const Buffer& buffer) const {
  return buffer.output_rows ? static_cast<uint32_t>(batch().outputs.size()) : batch().rows();
}

const float* Context::features(uint32_t row, uint32_t start) const {
  const Plan& plan = program.plan_;
  const Sequence& s = batch().sequences[batch().sequence[row]];
  if (plan.of_features) {
    return s.features + size_t{row - s.first_row} * plan.header.features + start;
  }
  const int32_t token = batch().tokens[row];
  if (token >= 0) return nullptr;
  return s.features + static_cast<size_t>(-1 - token) * plan.header.features + start;
}

Range Context::share_of(int of, uint32_t count) const {
  const uint64_t n = static_cast<uint64_t>(threads()), t = static_cast<uint64_t>(of);
  return {static_cast<uint32_t>(count * t / n), static_cast<uint32_t>(count * (t + 1) / n)};
}

}  // namespace cactus
