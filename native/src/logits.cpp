#include "logits.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace cactus {

void Logits::measure(int slice) const {
  kernels.logit_stats(slice_values(slice), slice_size(slice), &slices[slice]);
}

LogitStats summarize(const Logits& logits) {
  LogitStats stats{-std::numeric_limits<float>::infinity(), 0, 0, 0, true};
  for (int n = 0; n < logits.slice_count(); n++) {
    const LogitSlice& slice = logits.slices[n];
    if (slice.finite == 0) stats.finite = false;
    if (slice.max > stats.max) {
      stats.max = slice.max;
      stats.argmax = n * kLogitSlice + slice.argmax;
    }
  }
  if (!stats.finite) return stats;
  // With e = exp(logit - max), S = sum e: H = log S - sum(e (logit - max)) / S. A slice's e are
  // relative to its own maximum.
  double sum = 0, weighted = 0;
  for (int n = 0; n < logits.slice_count(); n++) {
    const LogitSlice& slice = logits.slices[n];
    const double below = static_cast<double>(slice.max) - stats.max, factor = std::exp(below);
    sum += factor * slice.sum;
    if (factor > 0) weighted += factor * (slice.weighted + below * slice.sum);
  }
  const double log_sum = std::log(sum);
  stats.log_sum = static_cast<float>(log_sum);
  stats.entropy = static_cast<float>(std::max(0.0, log_sum - weighted / sum));
  return stats;
}

void Candidates::reserve(size_t vocab) {
  if (tokens.size() >= vocab) return;
  logits.resize(vocab);
  weights.resize(vocab);
  tokens.resize(vocab);
  maxima.resize(vocab / kLogitSlice + 1);
}

void Candidates::gather(const Logits& row, float floor) {
  size = 0;
  for (int n = 0; n < row.slice_count(); n++) {
    if (row.slices[n].max < floor) continue;
    size += static_cast<size_t>(
        row.kernels.logit_gather(row.slice_values(n), row.slice_size(n), floor, n * kLogitSlice,
                                 logits.data() + size, tokens.data() + size));
  }
}

float Candidates::floor_of(const Logits& row, size_t rank) {
  const size_t count = static_cast<size_t>(row.slice_count());
  if (rank > count) return std::numeric_limits<float>::lowest();
  std::transform(row.slices, row.slices + count, maxima.begin(),
                 [](const LogitSlice& slice) { return slice.max; });
  const auto at = maxima.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(maxima.begin(), at, maxima.begin() + static_cast<std::ptrdiff_t>(count),
                   std::greater<float>());
  return *at;
}

void top_tokens(const Logits& row, const LogitStats& stats, uint32_t n, Candidates& scratch,
                cactus_token_logprob* out) {
  scratch.gather(row, scratch.floor_of(row, n));
  uint32_t found = 0;
  for (size_t at = 0; at < scratch.size; at++) {
    const float logit = scratch.logits[at];
    if (found == n && logit <= out[n - 1].logprob) continue;
    uint32_t place = found < n ? found++ : n - 1;
    for (; place > 0 && out[place - 1].logprob < logit; place--) out[place] = out[place - 1];
    out[place] = {scratch.tokens[at], logit};
  }
  for (uint32_t rank = 0; rank < n; rank++) {
    out[rank].logprob = out[rank].logprob - stats.max - stats.log_sum;
  }
}

}  // namespace cactus
