#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.h"

namespace cactus {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

void in_range(float value, float low, float high, const char* name) {
  check(std::isfinite(value) && value >= low && value <= high, CACTUS_ERROR_ARGUMENT,
        std::string("sampler: ") + name + " is out of range");
}

// SplitMix64: a counter in, 64 well-mixed bits out (Steele, Lea and Flood, OOPSLA 2014).
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Sampler::Sampler(const cactus_sampler_options& o)
    : temperature_(o.temperature),
      top_p_(o.top_p),
      min_p_(o.min_p),
      repetition_(o.repetition_penalty),
      presence_(o.presence_penalty),
      frequency_(o.frequency_penalty),
      top_k_(o.top_k),
      seed_(o.seed) {
  in_range(temperature_, 0, 1e6f, "temperature");
  in_range(top_p_, 0, 1, "top_p");
  in_range(min_p_, 0, 1, "min_p");
  in_range(repetition_, 1e-3f, 1e3f, "repetition_penalty");
  in_range(presence_, -1e3f, 1e3f, "presence_penalty");
  in_range(frequency_, -1e3f, 1e3f, "frequency_penalty");
  check(o.bias_count <= 1u << 20 && (o.bias_count == 0 || (o.bias_tokens && o.bias_values)),
        CACTUS_ERROR_ARGUMENT, "sampler: logit bias is out of range");
  bias_tokens_.assign(o.bias_tokens, o.bias_tokens + o.bias_count);
  bias_values_.assign(o.bias_values, o.bias_values + o.bias_count);
  for (float value : bias_values_) in_range(value, -1e6f, 1e6f, "logit bias");
  for (int32_t token : bias_tokens_) {
    check(token >= 0, CACTUS_ERROR_ARGUMENT, "sampler: logit bias names a negative token");
  }
}

void Sampler::set_mask(const uint32_t* words, uint32_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (words == nullptr) {
    mask_.clear();
  } else {
    mask_.assign(words, words + count);
  }
}

void Sampler::accept(int32_t token) {
  check(token >= 0, CACTUS_ERROR_ARGUMENT, "sampler: token is negative");
  const std::lock_guard<std::mutex> lock(mutex_);
  counts_[token]++;
}

bool Sampler::plain_greedy() const {
  const bool penalties =
      repetition_ != 1 || ((presence_ != 0 || frequency_ != 0) && !counts_.empty());
  return temperature_ == 0 && !penalties && bias_tokens_.empty() && mask_.empty();
}

void Sampler::adjust(const float* logits, int count) {
  adjusted_.assign(logits, logits + count);
  for (const auto& [token, times] : counts_) {
    if (token >= count || times == 0) continue;
    float& logit = adjusted_[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    logit -= presence_ + frequency_ * static_cast<float>(times);
  }
  for (size_t n = 0; n < bias_tokens_.size(); n++) {
    if (bias_tokens_[n] < count) adjusted_[static_cast<size_t>(bias_tokens_[n])] += bias_values_[n];
  }
  if (mask_.empty()) return;
  for (int token = 0; token < count; token++) {
    const size_t word = static_cast<size_t>(token) / 32;
    const bool allowed = word < mask_.size() && (mask_[word] >> (token % 32) & 1u) != 0;
    if (!allowed) adjusted_[static_cast<size_t>(token)] = kLowest;
  }
}

double Sampler::uniform() {
  return static_cast<double>(mix(seed_ ^ mix(draws_++)) >> 11) * 0x1p-53;
}

int32_t Sampler::draw(int count) {
  const float top = *std::max_element(adjusted_.begin(), adjusted_.end());
  // Below this a candidate has less than e^-40 of the likeliest one's weight and is never drawn.
  const float floor = top - 40.0f * temperature_;
  candidates_.clear();
  for (int token = 0; token < count; token++) {
    const float logit = adjusted_[static_cast<size_t>(token)];
    if (logit >= floor) candidates_.push_back({logit, token});
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  if (top_k_ > 0 && top_k_ < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + top_k_ - 1, candidates_.end(),
                     likelier);
    candidates_.resize(top_k_);
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);
  double total = 0;
  for (Candidate& c : candidates_) {
    c.logit = std::exp((c.logit - top) / temperature_);
    total += c.logit;
  }
  // The shortest prefix with top_p of the mass, then whatever min_p leaves of it; never empty.
  double kept = 0;
  size_t size = 0;
  while (size < candidates_.size()) {
    const float weight = candidates_[size].logit;
    if (size > 0 && (kept >= top_p_ * total || weight < min_p_ * candidates_[0].logit)) break;
    kept += weight;
    size++;
  }
  double target = uniform() * kept;
  for (size_t n = 0; n + 1 < size; n++) {
    target -= candidates_[n].logit;
    if (target < 0) return candidates_[n].token;
  }
  return candidates_[size - 1].token;
}

int32_t Sampler::sample(const float* logits, int count, const LogitStats& stats) {
  const std::lock_guard<std::mutex> lock(mutex_);
  int32_t token = stats.argmax;
  if (!plain_greedy()) {
    adjust(logits, count);
    const auto best = std::max_element(adjusted_.begin(), adjusted_.end());
    check(*best > kLowest, CACTUS_ERROR_ARGUMENT, "sampler: the mask allows no token");
    token = temperature_ == 0 ? static_cast<int32_t>(best - adjusted_.begin()) : draw(count);
  }
  counts_.try_emplace(token, 0);  // so that accept has nothing to allocate
  return token;
}

}  // namespace cactus
