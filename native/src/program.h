// A plan that is ready to run: mapped weights, resolved kernels, buffers, and its part of the
// process's threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arena.h"
#include "cpu/kernels.h"
#include "logits.h"
#include "mapping.h"
#include "memory.h"
#include "ops/tiles.h"
#include "pacer.h"
#include "plan.h"
#include "sampler.h"
#include "session.h"
#include "threads.h"

namespace cactus {

// What an attention tile needs: scores, queries, and the running and a page's (m, l, o).
constexpr uint32_t kAttentionFloats = kMaxQueries * (kSpan + kQueryStride + 2 * (2 + kMaxHeadDim));

// The rows of one session in a step: tokens that continue it, or the features of a new memory.
struct Sequence {
  Session* session;
  const int32_t* tokens;
  const float* features;  // [n_features][plan's features], or null
  uint32_t n_features;
  const int32_t* positions;  // [count][plan's axes], or null
  uint32_t count;
  uint32_t outputs;
  Sampler* sampler;           // null: greedy
  uint32_t n_top;             // likeliest tokens that are asked for at each output
  cactus_token_logprob* top;  // [outputs of this sequence][n_top]
  const int32_t* stop;        // null: no flag of its own
  uint32_t first_row = 0;
  uint32_t start = 0;      // position of the first row
  uint32_t memory = 0;     // positions of its memory
  bool remembers = false;  // its rows are a new memory
  // Rows from here on that attend to the same memory: those of this sequence and of the forks that
  // follow it. 0 for such a fork.
  uint32_t memory_rows = 0;

  uint32_t output_count() const {
    return outputs == CACTUS_OUTPUTS_ALL ? count : outputs != CACTUS_OUTPUTS_NONE;
  }
};

// What one step runs over: the rows of all sequences, one after another.
struct Batch {
  std::vector<Sequence> sequences;
  std::vector<int32_t> tokens;      // by row, if rows are tokens
  std::vector<uint32_t> sequence;   // by row
  std::vector<uint32_t> positions;  // by row
  std::vector<uint32_t> blocks;     // by row: the position behind the rows of features it is among
  std::vector<uint32_t> outputs;    // rows whose logits are wanted
  uint32_t rows() const { return static_cast<uint32_t>(sequence.size()); }
};

struct Weight {
  const uint8_t* data;
  DType dtype;
  uint32_t rows, cols;
  bool quantized;
  size_t tile_bytes;  // bytes of 16 rows
};

struct Buffer {
  uint32_t group;   // columns that share a scale, 0: f32
  uint32_t levels;  // int8 levels of a value, 0: f32
  bool output_rows;
  uint32_t width, stride;  // floats (or codes) of a row
  float* values;
  uint8_t* panels;
};

// cos and sin of every row's position for one set of rotary frequencies.
struct Rotary {
  RotarySet set;
  Block table;  // cos [max_rows][count], then sin
  float* cos() const { return table.as<float>(); }
  float* sin(uint32_t max_rows) const { return cos() + size_t{max_rows} * set.count; }
};

// What a thread that chooses tokens has to itself.
struct Chooser {
  SamplerScratch scratch;
  std::exception_ptr failure;
};

// Where a step's caller wants them: one of each wanted row, in order.
struct Chosen {
  cactus_output* outputs;
  float* values;  // [outputs][vocabulary], or null
};

class Program {
 public:
  // max_rows and threads are in range; kernels is a tier that runs here; kv_bytes as in KvPool.
  Program(const void* plan, uint64_t plan_size, const std::string& weights_path,
          const KernelTable& kernels, int threads, uint32_t max_rows, Reading reading,
          uint64_t kv_bytes);
  // Another plan over the same weights file: it shares the sessions of `base`, whose plan must have
  // the same slots, or it keeps nothing and has none; and has as many threads.
  Program(const void* plan, uint64_t plan_size, const Program& base, const KernelTable& kernels,
          uint32_t max_rows);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Runs the batch's sequences; see cactus_program_step.
  void step(std::vector<Sequence> sequences, cactus_output* outputs, uint32_t n_outputs,
            float* values, const int32_t* stop);
  void read(uint32_t buffer, float* out, uint64_t count);
  // Where row `row` of `rows` of a quantised buffer lies, from `column` (a multiple of 32) on.
  PanelRow panel_row(const Buffer& buffer, uint32_t rows, uint32_t row, uint32_t column) const;
  void profile(bool enable, double* seconds, uint32_t n_steps);

  const Plan& plan() const { return plan_; }
  const KernelTable& kernels() const { return kernels_; }
  int threads() const { return threads_; }
  uint32_t max_rows() const { return max_rows_; }
  uint32_t output_width() const { return plan_.buffers[plan_.header.output].width; }
  uint64_t weight_bytes() const { return mapping_->size(); }
  uint64_t arena_bytes() const { return arena_.bytes; }
  std::shared_ptr<const StateLayout> layout() const { return layout_; }
  std::shared_ptr<KvPool> pool() const { return pool_; }
  // Held by whoever steps, reads or profiles.
  std::mutex& mutex() { return mutex_; }

 private:
  friend struct Context;

  void prepare();
  void make_buffers();
  void make_output_buffers(uint32_t rows);
  void check_size() const;
  Batch make_batch(std::vector<Sequence> sequences) const;
  void check_batch(const Batch& batch, uint32_t n_outputs) const;
  void make_room(const Batch& batch);
  Logits logits_of(uint32_t output);
  void measure_logits(int thread);
  void make_choosers(const Batch& batch);
  void choose(int thread);
  void choose_for(const Sequence& sequence, uint32_t first_output, SamplerScratch& scratch);
  void count_chosen();
  void give_states(float* states);
  bool run_batch(const int32_t* stop);
  void run_steps(int thread);
  bool wants_stop() const;
  void look_at_stop(size_t step);
  void meet(int thread);
  void fill_rotaries(int thread);

  const std::shared_ptr<const Mapping> mapping_;
  const Plan plan_;
  const KernelTable& kernels_;
  const uint32_t max_rows_;
  uint32_t tokens_ = UINT32_MAX;  // ids that every embedding has a row for
  bool needs_memory_ = false;     // attends to what its sessions remember
  std::shared_ptr<const StateLayout> layout_;
  std::shared_ptr<KvPool> pool_;
  std::mutex mutex_;
  std::vector<Weight> weights_;
  std::vector<Buffer> buffers_;
  std::vector<Rotary> rotaries_;
  Arena arena_;
  Block arena_block_;
  std::vector<Block> output_blocks_;  // of the buffers of the rows that are wanted
  uint32_t output_capacity_ = 0;
  size_t scratch_floats_ = 0;  // per thread
  size_t row_scratch_bytes_ = 0;
  Block scratch_;                   // [threads][scratch_floats_]
  Block row_scratch_;               // rows in f32 between the phases of an op
  size_t own_page_bytes_ = 0;       // per thread
  Block own_pages_;                 // keys and values of the text that a thread is at
  std::vector<TileList> tiles_;     // by shape, of the current step
  std::vector<PageTable> pages_;    // by kind of page, of the current step
  std::vector<float> partials_;     // attention over spans, when they are split
  std::vector<LogitSlice> slices_;  // by output row
  std::vector<LogitStats> stats_;   // by output row
  std::vector<Chooser> choosers_;   // by thread
  size_t active_choosers_ = 0;      // of the current step
  Chosen chosen_{};                 // of the current step
  bool profiling_ = false;
  std::vector<double> seconds_;
  Batch batch_;
  const int32_t* stop_ = nullptr;       // of the current step
  std::atomic<size_t> last_{SIZE_MAX};  // the operation after which the current step ends early
  const int threads_;
  const std::shared_ptr<Team> team_;
  Pacer pacer_;
  int active_;            // threads of the current step: all, or one
  Crew* crew_ = nullptr;  // of the current step
  // Seconds at barriers in the current step, by thread; each writes its own.
  struct alignas(kCacheLine) Waited {
    double seconds = 0;
  };
  std::vector<Waited> waited_;
};

// What an op function sees.
struct Context {
  Program& program;
  int thread;

  const KernelTable& kernels() const { return program.kernels_; }
  const Batch& batch() const { return program.batch_; }
  int threads() const { return program.active_; }
  // Whether so many pieces are worth the counters by which threads take over from others.
  bool worth_counting(uint32_t count) const {
    return threads() > 1 && count >= 4 * static_cast<uint32_t>(threads());
  }
  void barrier() const { program.meet(thread); }
  const Buffer& buffer(uint32_t index) const { return program.buffers_[index]; }
  const Weight& weight(uint32_t index) const { return program.weights_[index]; }
  // What the caller gives for a row, from column `start` on; null where that is nothing.
  const float* features(uint32_t row, uint32_t start) const;
  uint32_t axes() const { return program.plan_.axes; }
  // A weight of plain floats.
  const float* floats(uint32_t index) const {
    return reinterpret_cast<const float*>(weight(index).data);
  }
  // Whether the rows are features, of audio or of an image, and no tokens.
  bool of_features() const { return program.plan_.of_features; }
  // Row `row` of an f32 buffer, from the view's first column on.
  const float* row(const View& view, uint32_t row) const {
    const Buffer& b = buffer(view.buffer);
    return b.values + size_t{row} * b.stride + view.column;
  }
  int rotary_count(uint32_t set) const {
    return static_cast<int>(program.rotaries_[set].set.count);
  }
  // cos and sin of row `row` of a rotary set.
  std::pair<const float*, const float*> rotary(uint32_t set, uint32_t row) const {
    const Rotary& r = program.rotaries_[set];
    const size_t at = size_t{row} * r.set.count;
    return {r.cos() + at, r.sin(program.max_rows_) + at};
  }
  // Floats for this thread alone.
  float* scratch() const {
    return program.scratch_.as<float>() + static_cast<size_t>(thread) * program.scratch_floats_;
  }
  // Pages of one head's keys and values, for this thread alone.
  uint8_t* own_pages() const {
    return program.own_pages_.as<uint8_t>() + static_cast<size_t>(thread) * program.own_page_bytes_;
  }
  const TileList& tiles(uint32_t shape) const { return program.tiles_[shape]; }
  const StateLayout::Kv& kv(uint32_t slot) const { return program.layout_->kv[slot]; }
  const PageTable& pages(uint32_t slot) const { return program.pages_[kv(slot).kind]; }
  // Rows of floats that an op needs between its phases, shared by all threads.
  float* row_scratch() const { return program.row_scratch_.as<float>(); }
  float* partials() const { return program.partials_.data(); }
  PanelRow panel_row(const Buffer& buffer, uint32_t row, uint32_t column) const {
    return program.panel_row(buffer, rows(buffer), row, column);
  }
  // Rows of a buffer in this step.
  uint32_t rows(const Buffer& buffer) const;
  // A thread's share of `count` equal pieces of work.
  Range share_of(int of, uint32_t count) const;
  // Calls work(first, last) for some of this thread's share of `count` pieces, `grain` at least,
  // and then of what others are behind with. Once between two barriers.
  template <class Work>
  void share(uint32_t count, uint32_t grain, const Work& work) const;
  // The same where later pieces cost more: they are dealt out one by one, work(piece).
  template <class Work>
  void deal(uint32_t count, const Work& work) const;
};

template <class Work>
void Context::share(uint32_t count, uint32_t grain, const Work& work) const {
  if (!worth_counting(count)) {
    const Range own = share_of(thread, count);
    if (own.count() != 0) work(own.first, own.last);
    return;
  }
  program.crew_->share(
      thread, grain, [&](int of) { return share_of(of, count).count(); },
      [&](int of, uint32_t first, uint32_t last) {
        const uint32_t begin = share_of(of, count).first;
        work(begin + first, begin + last);
      });
}

template <class Work>
void Context::deal(uint32_t count, const Work& work) const {
  const uint32_t n = static_cast<uint32_t>(threads());
  const auto work_of = [&](int of, uint32_t first, uint32_t last) {
    for (uint32_t piece = first; piece < last; piece++) work(piece * n + static_cast<uint32_t>(of));
  };
  const auto count_of = [&](int of) { return (count + n - 1 - static_cast<uint32_t>(of)) / n; };
  if (!worth_counting(count)) return work_of(thread, 0, count_of(thread));
  program.crew_->share(thread, 1, count_of, work_of);
}

// Does this thread's share of a step.
void run_step(const Step& step, const Context& context);
// Bytes that all threads share while so many rows are multiplied with a weight.
size_t split_scratch(const Weight& weight, uint32_t rows, const KernelTable& kernels);
// Floats for the partial results that the attention of one step is split into.
size_t attention_partials(const Plan& plan, const std::vector<TileList>& tiles);
// Bytes of the pages that a thread needs where attention keeps nothing, for texts of so many rows;
// whole cache lines.
size_t own_page_bytes(const Plan& plan, const KernelTable& kernels, uint32_t rows);
// Bytes that a mixture of experts needs between its phases.
size_t experts_bytes(const Plan& plan, const KernelTable& kernels, uint32_t rows);

}  // namespace cactus
