// A row of logits, and what is known of it before a token is chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cactus.h"
#include "cpu/kernels.h"

namespace cactus {

struct LogitStats {
  float max;
  int32_t argmax;  // the first on ties
  float log_sum;   // log of the sum of exp(logit - max)
  float entropy;   // nats
  bool finite;
};

// values[count] and a LogitSlice for each kLogitSlice of them.
struct Logits {
  const KernelTable& kernels;
  float* values;
  int count;
  LogitSlice* slices;

  int slice_count() const { return (count + kLogitSlice - 1) / kLogitSlice; }
  int slice_size(int slice) const {
    const int left = count - slice * kLogitSlice;
    return left < kLogitSlice ? left : kLogitSlice;
  }
  float* slice_values(int slice) const { return values + size_t{kLogitSlice} * slice; }
  // Computes a slice's statistics from its values.
  void measure(int slice) const;
};

// The statistics of the whole row. Slices are added in their order, so the bits do not depend on
// who computed them.
LogitStats summarize(const Logits& logits);

// Tokens that are in question, in the order of their ids.
struct Candidates {
  std::vector<float> logits, weights;
  std::vector<int32_t> tokens;
  std::vector<float> maxima;  // scratch, by slice
  size_t size = 0;

  // Makes room for a whole vocabulary; nothing else allocates.
  void reserve(size_t vocab);
  // All tokens whose logit is `floor` or more.
  void gather(const Logits& row, float floor);
  // The `rank`-th largest maximum of a slice: so many logits, at least, are as large. The lowest
  // float where there are fewer slices.
  float floor_of(const Logits& row, size_t rank);
};

// The n likeliest tokens, of equals the lower id first, with their natural logarithms of
// probability. n is at most the vocabulary.
void top_tokens(const Logits& row, const LogitStats& stats, uint32_t n, Candidates& scratch,
                cactus_token_logprob* out);

}  // namespace cactus
