// From the logits of a step's rows to the tokens that follow them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "error.h"
#include "program.h"

namespace cactus {

Logits Program::logits_of(uint32_t output) {
  const Buffer& buffer = buffers_[plan_.header.output];
  Logits row{kernels_, buffer.values + size_t{output} * buffer.stride,
             static_cast<int>(plan_.header.vocab_size), nullptr};
  row.slices = slices_.data() + size_t{output} * row.slice_count();
  return row;
}

// Slices of all rows, so that several threads have work where there is one row.
void Program::measure_logits(int thread) {
  const uint32_t slices = static_cast<uint32_t>(logits_of(0).slice_count());
  const uint32_t outputs = static_cast<uint32_t>(batch_.outputs.size());
  Context{*this, thread}.share(outputs * slices, 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t n = first; n < last; n++) {
      logits_of(n / slices).measure(static_cast<int>(n % slices));
    }
  });
}

// Threads that choose, and room for them. Sequences are chosen for by several threads at once, but
// where two have the same sampler, whose draws have an order.
void Program::make_choosers(const Batch& batch) {
  std::vector<const Sampler*> samplers;
  bool scratch = false;
  for (const Sequence& s : batch.sequences) {
    if (s.sampler != nullptr) samplers.push_back(s.sampler);
    scratch |= s.sampler != nullptr || s.n_top != 0;
  }
  std::sort(samplers.begin(), samplers.end());
  const bool shared = std::adjacent_find(samplers.begin(), samplers.end()) != samplers.end();
  const size_t most = std::min(static_cast<size_t>(active_), batch.sequences.size());
  choosers_.resize(std::max(choosers_.size(), most));
  active_choosers_ = shared ? 1 : most;
  for (size_t n = 0; n < active_choosers_; n++) {
    choosers_[n].failure = nullptr;
    if (scratch) choosers_[n].scratch.reserve(plan_.header.vocab_size);
  }
}

// Chooses for this thread's share of the sequences; what went wrong is told by count_chosen.
void Program::choose(int thread) {
  const size_t at = static_cast<size_t>(thread), count = batch_.sequences.size();
  if (at >= active_choosers_) return;
  Chooser& chooser = choosers_[at];
  const size_t first = count * at / active_choosers_, last = count * (at + 1) / active_choosers_;
  uint32_t begin = 0;  // the outputs of a sequence follow one another
  for (size_t n = 0; n < first; n++) begin += batch_.sequences[n].output_count();
  uint32_t end = begin;
  for (size_t n = first; n < last; n++) end += batch_.sequences[n].output_count();
  bool finite = true;
  for (uint32_t n = begin; n < end; n++) {
    stats_[n] = summarize(logits_of(n));
    finite &= stats_[n].finite;
  }
  if (!finite) return;
  try {
    for (size_t n = first; n < last; n++) {
      choose_for(batch_.sequences[n], begin, chooser.scratch);
      begin += batch_.sequences[n].output_count();
    }
  } catch (...) {
    chooser.failure = std::current_exception();
  }
}

void Program::choose_for(const Sequence& s, uint32_t first, SamplerScratch& scratch) {
  for (uint32_t index = 0; index < s.output_count(); index++) {
    const uint32_t n = first + index;
    const Logits row = logits_of(n);
    const LogitStats& stats = stats_[n];
    if (s.n_top != 0) {
      top_tokens(row, stats, s.n_top, scratch.candidates, s.top + size_t{s.n_top} * index);
    }
    const int32_t token = s.sampler ? s.sampler->sample(row, stats, index, scratch) : stats.argmax;
    chosen_.outputs[n] = {token, row.values[token] - stats.max - stats.log_sum, stats.entropy};
    if (chosen_.values != nullptr) {
      std::copy_n(row.values, row.count, chosen_.values + size_t{n} * row.count);
    }
  }
}

// Counts what was sampled; throws before anything is counted.
void Program::count_chosen() {
  for (size_t n = 0; n < batch_.outputs.size(); n++) {
    check(stats_[n].finite, CACTUS_ERROR_NONFINITE,
          "the model's logits hold NaN or infinity: its weights are damaged, or a value "
          "overflowed");
  }
  for (size_t n = 0; n < active_choosers_; n++) {
    // Nothing is left of it here: who catches it may still read it while the next step begins.
    if (choosers_[n].failure) std::rethrow_exception(std::exchange(choosers_[n].failure, nullptr));
  }
  uint32_t n = 0;
  for (const Sequence& s : batch_.sequences) {
    for (uint32_t index = 0; index < s.output_count(); index++, n++) {
      if (s.sampler != nullptr) s.sampler->sampled(chosen_.outputs[n].token);
    }
  }
}

void Program::give_states(float* states) {
  const Buffer& buffer = buffers_[plan_.header.output];
  const float* row = buffer.values;
  const auto give = [&](const float* values) {
    const bool finite =
        std::all_of(values, values + buffer.width, [](float x) { return std::isfinite(x); });
    check(finite, CACTUS_ERROR_NONFINITE,
          "the model's states hold NaN or infinity: its weights or its input are damaged, or a "
          "value overflowed");
    if (states != nullptr) states = std::copy_n(values, buffer.width, states);
  };
  for (const Sequence& s : batch_.sequences) {
    if (s.outputs != CACTUS_OUTPUTS_SUM) {
      for (uint32_t n = 0; n < s.output_count(); n++, row += buffer.stride) give(row);
      continue;
    }
    float* sum = scratch_.as<float>();
    std::copy_n(row, buffer.stride, sum);
    row += buffer.stride;
    for (uint32_t n = 1; n < s.count; n++, row += buffer.stride) {
      kernels_.add(sum, row, static_cast<int>(buffer.stride), sum);
    }
    give(sum);
  }
}

}  // namespace cactus
