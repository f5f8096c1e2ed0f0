// How keys and values become bytes with a scale for each position of a head.

namespace cactus::CACTUS_TIER {

constexpr float kMostStored = 127;

// Codes are at most `most`; a number times `inverse` is its code.
struct CodeScale {
  float scale, inverse;
};

// Of numbers whose largest magnitude has these bits: magnitudes are in the order of their bits, and
// NaN is above them all.
static inline CodeScale scale_of(I32x16 magnitudes, float most) {
  const int32_t bits = reduce_max(magnitudes);
  // Anything not finite must reach the logits, where it is reported.
  if (bits >= 0x7F800000) return {__builtin_nanf(""), 0.0f};
  float largest;
  __builtin_memcpy(&largest, &bits, 4);
  // Below, most / largest could be infinite: such numbers are zeros.
  if (largest < 1e-33f) return {0.0f, 0.0f};
  return {largest / most, most / largest};
}

static inline I32x16 magnitudes_of(const float* x, int width) {
  I32x16 bits = izero();
  for (int i = 0; i < width; i += 16) bits = imax(bits, to_bits(abs(load(x + i))));
  return bits;
}

static inline I32x16 codes_of(const float* x, float inverse) {
  // An infinity times nothing has no code.
  return inverse == 0.0f ? izero() : round_i32(mul(load(x), set1(inverse)));
}

// 1 for the lanes that the bit N of their number is not set for, else -1.
template <int N>
struct Signs {
  float lanes[16];
  constexpr Signs() : lanes() {
    for (int i = 0; i < 16; i++) lanes[i] = i & N ? -1.0f : 1.0f;
  }
};
// Of two lanes whose numbers differ in the bit N, their sum and their difference.
template <int N>
static inline F32x16 mix_lanes(F32x16 x) {
  static constexpr Signs<N> kSigns;
  return fma(x, load(kSigns.lanes), swap_lanes<N>(x));
}

// How many columns are mixed: the largest power of two in head_dim.
static inline int mixed_columns(int head_dim) { return head_dim & -head_dim; }

// A Walsh-Hadamard transform of each so many columns: a key has few large numbers among small ones,
// and becomes one of numbers of like size, of which a scale for all loses less. The products of two
// rows grow by the number of mixed columns.
static inline void mix(float* x, int head_dim) {
  const int size = mixed_columns(head_dim);
  for (int apart = 16; apart < size; apart *= 2) {
    for (int i = 0; i < head_dim; i += 16) {
      if (i & apart) continue;
      const F32x16 a = load(x + i), b = load(x + i + apart);
      store(x + i, add(a, b));
      store(x + i + apart, sub(a, b));
    }
  }
  for (int i = 0; i < head_dim; i += 16) {
    store(x + i, mix_lanes<1>(mix_lanes<2>(mix_lanes<4>(mix_lanes<8>(load(x + i))))));
  }
}

static inline void copy_mixed(const float* x, int head_dim, float* to) {
  __builtin_memcpy(to, x, static_cast<size_t>(head_dim) * sizeof(float));
  mix(to, head_dim);
}

// A key between codes is rounded to the nearest ones; kTurns of them at most then go to their other
// neighbour, so that the queries of the key's own position, which those to come are like, lose
// less by it. Of the errors d, |d|^2 + kNearWeight / |q|^2 (q . d)^2 becomes less by each turn.
constexpr int kTurns = 4;
constexpr float kNearWeight = 16;

namespace {

// A key's codes as they are rounded, with what a turn of each would change.
class Rounding {
 public:
  Rounding(const float* x, float inverse, int head_dim) : head_dim_(head_dim) {
    for (int i = 0; i < head_dim; i += 16) {
      // An infinity times nothing has no code.
      const F32x16 exact = inverse == 0.0f ? zero() : mul(load(x + i), set1(inverse));
      const F32x16 code = to_f32(round_i32(exact)), error = sub(code, exact);
      store(codes_ + i, code);
      store(errors_ + i, error);
      store(turns_ + i, select_lt(zero(), error, set1(-1.0f), set1(1.0f)));
    }
  }

  // For queries that are mixed as the key is.
  void suit(const float (*q)[kMaxHeadDim], int count) {
    float lengths = 0;
    for (int n = 0; n < count; n++) lengths += dot(q[n], q[n]);
    // Nothing can be made of queries of nothing, or of what is not finite.
    if (!(lengths > 1e-30f && lengths < 1e30f)) return;
    const float weight = kNearWeight * static_cast<float>(count) / lengths;
    float lost[kNear];
    for (int n = 0; n < count; n++) lost[n] = 2 * weight * dot(q[n], errors_);
    begin(q, count, weight);
    for (int turn = 0; turn < kTurns; turn++) {
      const int best = best_turn(q, lost, count);
      if (best < 0) return;
      codes_[best] += turns_[best];
      for (int n = 0; n < count; n++) lost[n] += 2 * weight * turns_[best] * q[n][best];
      own_[best] = kNever;
    }
  }

  void store_codes(int8_t* to, int i) const { store_i8(to, round_i32(load(codes_ + i))); }

 private:
  static constexpr float kNever = 1e30f;

  float dot(const float* a, const float* b) const {
    F32x16 sum = zero();
    for (int i = 0; i < head_dim_; i += 16) sum = fma(load(a + i), load(b + i), sum);
    return reduce_add(sum);
  }

  // What a turn adds by itself, whatever is lost so far.
  void begin(const float (*q)[kMaxHeadDim], int count, float weight) {
    for (int i = 0; i < head_dim_; i += 16) {
      F32x16 squares = zero();
      for (int n = 0; n < count; n++) squares = fma(load(q[n] + i), load(q[n] + i), squares);
      const F32x16 turn = load(turns_ + i);
      const F32x16 longer = fma(mul(set1(2), turn), load(errors_ + i), set1(1));
      // There is no code above the largest.
      const F32x16 own = fma(set1(weight), squares, longer);
      store(own_ + i, select_lt(abs(load(codes_ + i)), set1(kMostStored), own, set1(kNever)));
    }
  }

  // The number that gains most by its turn, the first of several, or -1 where none gains.
  int best_turn(const float (*q)[kMaxHeadDim], const float* lost, int count) const {
    F32x16 least = zero(), which = set1(-1);
    for (int i = 0; i < head_dim_; i += 16) {
      F32x16 sum = zero();
      for (int n = 0; n < count; n++) sum = fma(load(q[n] + i), set1(lost[n]), sum);
      const F32x16 change = fma(load(turns_ + i), sum, load(own_ + i));
      which = select_lt(change, least, set1(static_cast<float>(i)), which);
      least = min(change, least);
    }
    float changes[16], numbers[16];
    store(changes, least);
    store(numbers, which);
    int best = 0;
    for (int i = 1; i < 16; i++) best = changes[i] < changes[best] ? i : best;
    return changes[best] < 0 ? static_cast<int>(numbers[best]) + best : -1;
  }

  const int head_dim_;
  float codes_[kMaxHeadDim], errors_[kMaxHeadDim], turns_[kMaxHeadDim], own_[kMaxHeadDim];
};

}  // namespace

// A position of a page. Neighbours are stored by other threads at the same time.
static inline void store_int8_position(const float* k, const float* v, int head_dim, int slot,
                                       const KvPage& page, const float* const* near, int count) {
  float mixed[kMaxHeadDim];
  copy_mixed(k, head_dim, mixed);
  const CodeScale ks = scale_of(magnitudes_of(mixed, head_dim), kMostStored);
  const CodeScale vs = scale_of(magnitudes_of(v, head_dim), kMostStored);
  Rounding keys(mixed, ks.inverse, head_dim);
  if (count > 0) {
    float queries[kNear][kMaxHeadDim];
    for (int n = 0; n < count; n++) copy_mixed(near[n], head_dim, queries[n]);
    keys.suit(queries, count);
  }
  page.k_scales[slot] = ks.scale;
  page.v_scales[slot] = vs.scale;
  const size_t width = static_cast<size_t>(head_dim);
  uint8_t* column = static_cast<uint8_t*>(page.k) + slot / 16 * 16 * width + slot % 16 * 4;
  uint8_t* row = static_cast<uint8_t*>(page.v) + slot / 4 * 4 * width + slot % 4;
  for (int d = 0; d < head_dim; d += 16) {
    int8_t key[16], value[16];
    keys.store_codes(key, d);
    store_i8(value, codes_of(v + d, vs.inverse));
    for (int i = 0; i < 16; i += 4) {
      uint32_t four;
      __builtin_memcpy(&four, key + i, 4);
      four ^= 0x80808080;
      __builtin_memcpy(column + (d + i) * 16, &four, 4);
    }
    for (int i = 0; i < 16; i++) row[(d + i) * 4] = static_cast<uint8_t>(value[i] ^ 0x80);
  }
}

static void kv_store(const float* k, const float* v, int head_dim, int slot, const KvPage* page,
                     const float* const* near, int count) {
  if (page->k_scales == nullptr) return store_f16_position(k, v, head_dim, slot, *page);
  store_int8_position(k, v, head_dim, slot, *page, near, count);
}

}  // namespace cactus::CACTUS_TIER
