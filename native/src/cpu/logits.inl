// What choosing a token needs to know of a row of logits. `count` need not fill the last vector.

namespace cactus::CACTUS_TIER {

// logits[at .. at + 16), `past` behind the end.
static inline F32x16 load_logits(const float* logits, int at, int count, float past) {
  if (count - at >= 16) return load(logits + at);
  float tail[16];
  for (int j = 0; j < 16; j++) tail[j] = at + j < count ? logits[at + j] : past;
  return load(tail);
}

static void logit_stats(const float* logits, int count, LogitSlice* out) {
  F32x16 largest = set1(-__builtin_inff()), magnitude = zero();
  for (int i = 0; i < count; i += 16) {
    const F32x16 v = load_logits(logits, i, count, logits[i]);
    largest = max(v, largest);
    // x * 0 is 0 for every finite x and NaN for the rest.
    magnitude = fma(v, zero(), magnitude);
  }
  const float top = reduce_max(largest);
  int at = 0;
  while (at < count - 1 && logits[at] != top) at++;
  *out = {top, at, 0, 0, reduce_add(magnitude) == 0.0f};
  if (!out->finite) return;
  F32x16 sum = zero(), weighted = zero();
  for (int i = 0; i < count; i += 16) {
    const F32x16 v = load_logits(logits, i, count, -__builtin_inff());
    const F32x16 d = max(sub(v, set1(top)), set1(-100.0f));  // whose exponential is 0
    const F32x16 e = exp(d);
    sum = add(sum, e);
    weighted = fma(e, d, weighted);
  }
  out->sum = reduce_add(sum);
  out->weighted = reduce_add(weighted);
}

static float logit_weights(const float* logits, int count, float top, float temperature,
                           float* out) {
  F32x16 sum = zero();
  for (int i = 0; i < count; i += 16) {
    const F32x16 v = load_logits(logits, i, count, -__builtin_inff());
    const F32x16 e = exp(div(sub(v, set1(top)), set1(temperature)));
    sum = add(sum, e);
    if (count - i >= 16) {
      store(out + i, e);
    } else {
      float tail[16];
      store(tail, e);
      for (int j = 0; i + j < count; j++) out[i + j] = tail[j];
    }
  }
  return reduce_add(sum);
}

static int logit_gather(const float* logits, int count, float floor, int first, float* values,
                        int32_t* tokens) {
  int found = 0;
  for (int i = 0; i < count; i += 64) {
    const int end = count - i < 64 ? count : i + 64;
    F32x16 largest = load_logits(logits, i, count, logits[i]);
    for (int at = i + 16; at < end; at += 16) {
      largest = max(load_logits(logits, at, count, logits[i]), largest);
    }
    if (reduce_max(largest) < floor) continue;
    for (int at = i; at < end; at++) {
      values[found] = logits[at];
      tokens[found] = first + at;
      found += logits[at] >= floor;
    }
  }
  return found;
}

}  // namespace cactus::CACTUS_TIER
