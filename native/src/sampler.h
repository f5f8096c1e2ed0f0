// Choosing the next token from a row of logits.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cactus.h"
#include "logits.h"

namespace cactus {

// What the samplers of one thread share while they choose, one after another.
struct SamplerScratch {
  Candidates candidates;
  std::vector<float> masked;       // a row of which a mask allows only some tokens
  std::vector<LogitSlice> slices;  // of that row
  std::vector<double> masses;      // by slice

  // Makes room for a whole vocabulary; nothing else allocates.
  void reserve(size_t vocab);
};

class Sampler {
 public:
  // Throws CACTUS_ERROR_ARGUMENT naming the option that is out of its range.
  explicit Sampler(const cactus_sampler_options& options);

  // words[masks][count]: which tokens the outputs of the next step's row may be; null allows all.
  void set_mask(const uint32_t* words, uint32_t count, uint32_t masks);
  // Tokens before the answer: the repetition penalty sees them.
  void prompt(const int32_t* tokens, uint32_t count);
  // Tokens of the answer: all penalties see them.
  void accept(const int32_t* tokens, uint32_t count);
  // The next token is drawn as the one behind `tokens` others. Throws where penalties count tokens.
  void rewind(uint64_t tokens);
  // A step begins whose row has so many outputs. Makes room for their tokens and forgets what a
  // step that failed has drawn. Throws where the masks are not one for each output.
  void begin(uint32_t outputs);
  // Picks a token for output `index` of the row: logit bias, penalties and the mask change the
  // logits, which are put back afterwards; then temperature, top-k, top-p and min-p. The row's
  // slices must be measured, and mean nothing after it.
  int32_t sample(const Logits& row, const LogitStats& stats, uint32_t index,
                 SamplerScratch& scratch);
  // The step that picked `token` has succeeded: counts it and ends the masks. Does not throw.
  void sampled(int32_t token);

 private:
  struct Seen {
    uint32_t times = 0;      // in the window of the repetition penalty
    uint32_t generated = 0;  // in the answer
  };
  struct Change {
    int32_t token;
    float logit;
  };

  bool counts() const { return repetition_ != 1 || presence_ != 0 || frequency_ != 0; }
  void count(int32_t token, bool generated);
  void change(const Logits& row, int32_t token, float logit);
  void adjust(const Logits& row);
  Logits mask(const Logits& row, uint32_t index, SamplerScratch& scratch) const;
  int32_t draw(const Logits& row, float top, SamplerScratch& scratch);
  int32_t draw_uncut(const Logits& row, float top, SamplerScratch& scratch);
  double uniform();

  std::mutex mutex_;  // a mask may be set while another thread samples
  float temperature_, top_p_, min_p_, repetition_, presence_, frequency_;
  uint32_t top_k_;
  uint32_t window_;  // of the repetition penalty; 0: everything
  uint64_t seed_;
  uint64_t draws_ = 0;    // tokens picked in the steps before
  uint64_t pending_ = 0;  // and in the current one
  std::vector<int32_t> bias_tokens_;
  std::vector<float> bias_values_;
  std::vector<uint32_t> mask_;  // [masks_][words]
  uint32_t masks_ = 0;
  std::unordered_map<int32_t, Seen> seen_;
  std::vector<int32_t> recent_;  // the last window_ tokens, the oldest at oldest_ once it is full
  size_t oldest_ = 0;
  std::vector<Change> changes_;  // the logits as they were
};

}  // namespace cactus
