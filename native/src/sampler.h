// Choosing the next token from a row of logits.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cactus.h"
#include "cpu/kernels.h"

namespace cactus {

class Sampler {
 public:
  // Throws CACTUS_ERROR_ARGUMENT naming the option that is out of its range.
  explicit Sampler(const cactus_sampler_options& options);

  void set_mask(const uint32_t* words, uint32_t count);
  // Counts a token for the penalties. Does not throw for a token that `sample` returned.
  void accept(int32_t token);
  // Picks a token; `accept` counts it. Penalties and bias come first, then the mask, then
  // temperature, top-k, top-p and min-p.
  int32_t sample(const float* logits, int count, const LogitStats& stats);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };

  bool plain_greedy() const;
  void adjust(const float* logits, int count);
  int32_t draw(int count);
  double uniform();

  std::mutex mutex_;  // a mask may be set while another thread samples
  float temperature_, top_p_, min_p_, repetition_, presence_, frequency_;
  uint32_t top_k_;
  uint64_t seed_, draws_ = 0;
  std::vector<int32_t> bias_tokens_;
  std::vector<float> bias_values_;
  std::vector<uint32_t> mask_;
  std::unordered_map<int32_t, uint32_t> counts_;
  std::vector<float> adjusted_;
  std::vector<Candidate> candidates_;
};

}  // namespace cactus
