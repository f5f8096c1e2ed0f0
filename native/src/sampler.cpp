#include "sampler.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "error.h"

namespace cactus {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
// A candidate so many temperatures below the likeliest has less than e^-40 of its weight and is
// never drawn.
constexpr float kReach = 40;
constexpr int kBinBits = 11;  // of the histogram that finds a cut

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

// An integer for every float, in the same order; one for both zeros.
uint32_t key_of(float x) {
  x += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// Keeps the likeliest candidates, as few as have `target` of the weight together, at least one. Of
// equals the lower ids stay. weights null: each counts one.
//
// A histogram of the logits finds the bin in which the target is reached; another one, of that bin
// alone, looks closer, until all of its logits are equal. Nothing is sorted.
void keep(Candidates& c, const float* weights, double target) {
  uint32_t low = UINT32_MAX, high = 0;
  for (size_t n = 0; n < c.size; n++) {
    const uint32_t key = key_of(c.logits[n]);
    low = std::min(low, key);
    high = std::max(high, key);
  }
  double before = 0;  // weight of what is above `high`, which stays
  double bins[1 << kBinBits];
  while (low < high) {
    int shift = 0;
    while ((high - low) >> shift >= 1u << kBinBits) shift++;
    const uint32_t last = (high - low) >> shift;
    std::fill(bins, bins + last + 1, 0.0);
    for (size_t n = 0; n < c.size; n++) {
      const uint32_t key = key_of(c.logits[n]);
      if (key < low || key > high) continue;
      bins[(high - key) >> shift] += weights ? static_cast<double>(weights[n]) : 1.0;
    }
    uint32_t bin = 0;
    while (bin < last && before + bins[bin] < target) before += bins[bin++];
    high -= bin << shift;
    low = std::max(low, high - ((1u << shift) - 1));
  }
  size_t kept = 0;
  bool any = false;  // of those at the cut itself
  for (size_t n = 0; n < c.size; n++) {
    const uint32_t key = key_of(c.logits[n]);
    if (key < high || (key == high && any && before >= target)) continue;
    if (key == high) {
      any = true;
      before += weights ? static_cast<double>(weights[n]) : 1.0;
    }
    c.logits[kept] = c.logits[n];
    c.weights[kept] = c.weights[n];
    c.tokens[kept] = c.tokens[n];
    kept++;
  }
  c.size = kept;
}

double sum(const float* weights, size_t count) {
  double total = 0;
  for (size_t n = 0; n < count; n++) total += static_cast<double>(weights[n]);
  return total;
}

// The place where the weights before it pass `target`; rounding never leads to one without weight.
size_t walk(const float* weights, size_t count, double target) {
  size_t place = 0;
  for (size_t n = 0; n < count; n++) {
    if (weights[n] > 0) place = n;
    target -= static_cast<double>(weights[n]);
    if (target < 0) break;
  }
  return place;
}

// Each slice's weight, and all of it. Slices far below `top` have none.
double measure_masses(const Logits& row, float top, float temperature, SamplerScratch& scratch) {
  float weights[kLogitSlice];
  double total = 0;
  for (int n = 0; n < row.slice_count(); n++) {
    double& mass = scratch.masses[static_cast<size_t>(n)];
    mass = 0;
    if (row.slices[n].max < top - kReach * temperature) continue;
    mass = static_cast<double>(row.kernels.logit_weights(row.slice_values(n), row.slice_size(n),
                                                         top, temperature, weights));
    total += mass;
  }
  return total;
}

}  // namespace

void SamplerScratch::reserve(size_t vocab) {
  candidates.reserve(vocab);
  if (masked.size() >= vocab) return;
  masked.resize(vocab);
  slices.resize(vocab / kLogitSlice + 1);
  masses.resize(vocab / kLogitSlice + 1);
}

Sampler::Sampler(const cactus_sampler_options& o)
    : temperature_(o.temperature),
      top_p_(o.top_p),
      min_p_(o.min_p),
      repetition_(o.repetition_penalty),
      presence_(o.presence_penalty),
      frequency_(o.frequency_penalty),
      top_k_(o.top_k),
      window_(o.repetition_window),
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

void Sampler::set_mask(const uint32_t* words, uint32_t count, uint32_t masks) {
  check(words == nullptr || (count > 0 && masks > 0), CACTUS_ERROR_ARGUMENT,
        "sampler: a mask has no words; null allows every token");
  const std::lock_guard<std::mutex> lock(mutex_);
  mask_.assign(words, words ? words + size_t{count} * masks : words);
  masks_ = words ? masks : 0;
}

void Sampler::prompt(const int32_t* tokens, uint32_t given) {
  for (uint32_t n = 0; n < given; n++) {
    check(tokens[n] >= 0, CACTUS_ERROR_ARGUMENT, "sampler: a token is negative");
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t n = 0; n < given; n++) count(tokens[n], false);
}

void Sampler::accept(const int32_t* tokens, uint32_t given) {
  for (uint32_t n = 0; n < given; n++) {
    check(tokens[n] >= 0, CACTUS_ERROR_ARGUMENT, "sampler: a token is negative");
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t n = 0; n < given; n++) count(tokens[n], true);
}

void Sampler::rewind(uint64_t tokens) {
  check(!counts(), CACTUS_ERROR_ARGUMENT,
        "sampler: a sampler with penalties has counted its tokens and cannot go back");
  const std::lock_guard<std::mutex> lock(mutex_);
  draws_ = tokens;
}

void Sampler::begin(uint32_t outputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check(masks_ == 0 || masks_ == outputs, CACTUS_ERROR_ARGUMENT,
        "sampler: the row has " + std::to_string(outputs) + " outputs and its sampler " +
            std::to_string(masks_) + " masks; give one for each output");
  pending_ = 0;
  changes_.reserve(bias_tokens_.size() + seen_.size() + outputs);
  if (window_ != 0 && counts() && recent_.capacity() - recent_.size() < outputs) {
    recent_.reserve(std::min<size_t>(window_, 2 * recent_.size() + outputs));
  }
}

void Sampler::count(int32_t token, bool generated) {
  if (!counts()) return;
  Seen& seen = seen_[token];
  seen.times++;
  if (generated) seen.generated++;
  if (window_ == 0) return;
  if (recent_.size() < window_) {
    recent_.push_back(token);
    return;
  }
  std::swap(token, recent_[oldest_]);
  oldest_ = (oldest_ + 1) % window_;
  const auto gone = seen_.find(token);
  if (--gone->second.times == 0 && gone->second.generated == 0) seen_.erase(gone);
}

void Sampler::sampled(int32_t token) {
  const std::lock_guard<std::mutex> lock(mutex_);
  count(token, true);
  draws_++;
  pending_--;
  masks_ = 0;
}

void Sampler::change(const Logits& row, int32_t token, float logit) {
  float& value = row.values[token];
  changes_.push_back({token, value});
  value = std::min(std::max(logit, -FLT_MAX), FLT_MAX);
}

void Sampler::adjust(const Logits& row) {
  changes_.clear();
  for (size_t n = 0; n < bias_tokens_.size(); n++) {
    const int32_t token = bias_tokens_[n];
    if (token < row.count) change(row, token, row.values[token] + bias_values_[n]);
  }
  for (const auto& [token, seen] : seen_) {
    if (token >= row.count) continue;
    float logit = row.values[token];
    if (seen.times > 0) logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    if (seen.generated > 0) logit -= presence_ + frequency_ * static_cast<float>(seen.generated);
    change(row, token, logit);
  }
}

Logits Sampler::mask(const Logits& row, uint32_t index, SamplerScratch& scratch) const {
  const size_t words = mask_.size() / masks_;
  const uint32_t* allowed = mask_.data() + words * index;
  Logits masked{row.kernels, scratch.masked.data(), row.count, scratch.slices.data()};
  for (int first = 0; first < row.count; first += 32) {
    const size_t word = static_cast<size_t>(first) / 32;
    const uint32_t bits = word < words ? allowed[word] : 0;
    const int end = std::min(row.count, first + 32);
    if (bits == UINT32_MAX) {
      std::copy(row.values + first, row.values + end, masked.values + first);
    } else if (bits == 0) {
      std::fill(masked.values + first, masked.values + end, kLowest);
    } else {
      for (int token = first; token < end; token++) {
        masked.values[token] = (bits >> (token - first) & 1u) != 0 ? row.values[token] : kLowest;
      }
    }
  }
  return masked;
}

double Sampler::uniform() {
  return static_cast<double>(mix(seed_ ^ mix(draws_ + pending_ - 1)) >> 11) * 0x1p-53;
}

int32_t Sampler::draw_uncut(const Logits& row, float top, SamplerScratch& scratch) {
  double target = uniform() * measure_masses(row, top, temperature_, scratch);
  int slice = 0;
  for (int n = 0; n < row.slice_count(); n++) {
    const double mass = scratch.masses[static_cast<size_t>(n)];
    if (mass > 0) slice = n;
    if (target < mass) break;
    target -= mass;
  }
  float weights[kLogitSlice];
  const int size = row.slice_size(slice);
  row.kernels.logit_weights(row.slice_values(slice), size, top, temperature_, weights);
  return slice * kLogitSlice +
         static_cast<int32_t>(walk(weights, static_cast<size_t>(size), target));
}

int32_t Sampler::draw(const Logits& row, float top, SamplerScratch& scratch) {
  if (top_k_ == 0 && top_p_ >= 1 && min_p_ <= 0) return draw_uncut(row, top, scratch);
  Candidates& c = scratch.candidates;
  // The floor lets through at least what the cuts keep; the cuts themselves are exact.
  float reach = kReach;
  double total = 0;
  if (top_k_ == 0) {
    if (min_p_ > 0) reach = std::min(reach, 0.01f - std::log(min_p_));
    if (top_p_ < 1) {
      // All tokens below the floor have less than 1 - top_p together, though each has its weight.
      total = measure_masses(row, top, temperature_, scratch);
      const double rest = (1.0 - static_cast<double>(top_p_)) * total;
      reach = std::min(reach, static_cast<float>(0.01 + std::log(std::max(1.0, row.count / rest))));
    }
  }
  float floor = top - reach * temperature_ - std::fabs(top) * FLT_EPSILON;
  if (top_k_ > 0) floor = std::max(floor, c.floor_of(row, top_k_));
  c.gather(row, std::max(floor, -FLT_MAX));
  if (top_k_ > 0 && top_k_ < c.size) keep(c, nullptr, top_k_);
  row.kernels.logit_weights(c.logits.data(), static_cast<int>(c.size), top, temperature_,
                            c.weights.data());
  if (top_p_ < 1) {
    if (top_k_ > 0) total = sum(c.weights.data(), c.size);
    keep(c, c.weights.data(), static_cast<double>(top_p_) * total);
  }
  if (min_p_ > 0) {
    for (size_t n = 0; n < c.size; n++) {
      if (c.weights[n] < min_p_) c.weights[n] = 0;  // the likeliest one has 1
    }
  }
  const double target = uniform() * sum(c.weights.data(), c.size);
  return c.tokens[walk(c.weights.data(), c.size, target)];
}

int32_t Sampler::sample(const Logits& row, const LogitStats& stats, uint32_t index,
                        SamplerScratch& scratch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check(masks_ == 0 || index < masks_, CACTUS_ERROR_ARGUMENT,
        "sampler: the masks were replaced during a step by fewer than it has outputs");
  pending_++;
  const bool changed = !bias_tokens_.empty() || (counts() && !seen_.empty());
  if (!changed && masks_ == 0) {
    return temperature_ == 0 ? stats.argmax : draw(row, stats.max, scratch);
  }
  adjust(row);
  const Logits view = masks_ != 0 ? mask(row, index, scratch) : row;
  if (masks_ != 0) {
    for (int n = 0; n < view.slice_count(); n++) view.measure(n);
  } else {
    for (const Change& change : changes_) row.slices[change.token / kLogitSlice].finite = -1;
    for (int n = 0; n < row.slice_count(); n++) {
      if (row.slices[n].finite < 0) row.measure(n);
    }
  }
  int best = 0;
  for (int n = 1; n < view.slice_count(); n++) {
    if (view.slices[n].max > view.slices[best].max) best = n;
  }
  const float top = view.slices[best].max;
  int32_t token = -1;
  if (top > kLowest) {
    token = temperature_ == 0 ? best * kLogitSlice + view.slices[best].argmax
                              : draw(view, top, scratch);
  }
  // Last to first: a token may have been changed twice.
  while (!changes_.empty()) {
    row.values[changes_.back().token] = changes_.back().logit;
    changes_.pop_back();
  }
  check(token >= 0, CACTUS_ERROR_ARGUMENT, "sampler: the mask allows no token");
  if (counts()) seen_.try_emplace(token);  // so that `sampled` has nothing to allocate
  return token;
}

}  // namespace cactus
