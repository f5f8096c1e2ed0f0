// Attention over a whole text in bf16. A tier brings TextSums, which multiplies tiles.
//
// Scores are made with positions down and queries across, S' = K Q', so that all of the softmax
// runs along lanes, and weighted sums likewise, O' = V' P', for which two rows of weights side by
// side are what dots of pairs take. Only queries and results are transposed for each block, and
// values once for a head.

namespace cactus::CACTUS_TIER {

constexpr int kScored = 256;  // positions whose scores are in the first-level cache together
constexpr float kLeastLost = 0x1.FFp127f;  // from here on bf16 is infinite
constexpr float kLowest = -3e38f;          // finite, so that a query without scores has no NaN

// kTextKeys positions: keys as [units of 32 columns][2][16 positions][32], values as
// [units][2 tiles of 16 columns][16][32 positions], and which of the positions have values that are
// not finite.
static inline int units_of(int head_dim) { return (head_dim + 31) / 32; }
constexpr int kUnitBytes = 2 * kTileBytes;
static inline size_t value_offset(int head_dim) {
  return static_cast<size_t>(units_of(head_dim)) * kUnitBytes;
}
static inline size_t lost_offset(int head_dim) { return 2 * value_offset(head_dim); }
static size_t text_key_bytes(int head_dim) { return lost_offset(head_dim) + 64; }

// What keys have in common is no part of the softmax, but may be far larger than what tells them
// apart, and bf16 would round that away: so it is subtracted.
static inline void store_keys(const TextKeys& keys) {
  for (int d = 0; d < keys.head_dim; d += 32) {
    uint8_t* to = keys.to + d / 32 * kUnitBytes;
    const Unit common = load_unit(keys.common + d, keys.head_dim - d);
    bool lost;
    const F32x16 first = only_finite(common.first, &lost), last = only_finite(common.last, &lost);
    for (int n = 0; n < kTextKeys; n++, to += 64) {
      const Unit x =
          n < keys.count ? load_unit(keys.k[n] + d, keys.head_dim - d) : Unit{first, last};
      store_bf16(to, to_bf16(sub(x.first, first), sub(x.last, last)));
    }
  }
}

static void store_text(const TextKeys* keys) {
  store_keys(*keys);
  uint32_t lost = 0;
  uint8_t* to = keys->to + value_offset(keys->head_dim);
  for (int d = 0; d < keys->head_dim; d += 16, to += kTileBytes) {
    const auto values = [&](int n) {
      if (n >= keys->count) return zero();
      bool any;
      const F32x16 finite = only_finite(load(keys->v[n] + d), &any);
      lost |= uint32_t{any} << n;
      return finite;
    };
    Bf16x32 rows[16];
    CACTUS_UNROLL
    for (int i = 0; i < 16; i++) rows[i] = to_pairs(values(2 * i), values(2 * i + 1));
    transpose(rows);
    CACTUS_UNROLL
    for (int i = 0; i < 16; i++) store_bf16(to + kRowBytes * i, rows[i]);
  }
  __builtin_memcpy(keys->to + lost_offset(keys->head_dim), &lost, sizeof lost);
}

// A block of queries at work: scores, which become weights, in pairs of positions.
struct TextWork {
  float scores[2][kScored][16];
};

static size_t text_scratch(int head_dim) {
  return sizeof(TextWork) + static_cast<size_t>(units_of(head_dim)) * 6 * kTileBytes;
}

// One or two tiles of queries, from number `query` on.
class TextAttention {
 public:
  TextAttention(const TextQueries& a, int query)
      : a_(a),
        query_(query),
        count_(a.count - query < kTextBlock ? a.count - query : kTextBlock),
        tiles_(count_ > 16 ? 2 : 1),
        units_(units_of(a.head_dim)),
        work_(*reinterpret_cast<TextWork*>(a.scratch)),
        q_(a.scratch + sizeof(TextWork)),
        sums_(reinterpret_cast<float*>(q_ + units_ * 2 * kTileBytes)) {}

  // The vector units work on what a matrix unit has done a block of positions before, which is also
  // when its results can be read without waiting.
  void run() {
    pack_queries();
    for (int t = 0; t < tiles_; t++) {
      see(t);
      top_[t] = set1(kLowest);
      sum_[t] = zero();
    }
    const int begin = a_.start[query_] / kTextKeys * kTextKeys;
    const int end = a_.limit[query_ + count_ - 1];
    for (int first = begin; first < end; first += kScored) {
      const int rows = end - first < kScored ? end - first : kScored;
      F32x16 top[2] = {top_[0], top_[1]};
      for (int row = 0; row < rows; row += kTextKeys) {
        score(first, row);
        if (row != 0) mask(first, row - kTextKeys, top);
      }
      mask(first, (rows - 1) / kTextKeys * kTextKeys, top);
      for (int t = 0; t < tiles_; t++) raise(t, top[t], first == begin);
      for (int unit = 0; unit < units_; unit++) {
        TextSums products(sums_ + unit * 1024, 512, tiles_);
        first == begin ? products.begin() : products.resume();
        for (int row = 0; row < rows; row += kTextKeys) {
          if (unit == 0) weigh(row, rows - row);
          if (unit == 0 && row != 0) sum_values(first, row - kTextKeys, unit, products);
          if (unit != 0) sum_values(first, row, unit, products);
        }
        if (unit == 0) sum_values(first, (rows - 1) / kTextKeys * kTextKeys, unit, products);
        products.end();
      }
      for (int row = 0; row < rows; row += kTextKeys) add_lost(first, row);
    }
    write();
  }

 private:
  const uint8_t* keys(int position) const {
    return a_.keys +
           static_cast<size_t>((position - a_.first) / kTextKeys) * text_key_bytes(a_.head_dim);
  }
  // 16 queries of column d.
  float* sums(int d, int tile) const {
    return sums_ + d / 32 * 1024 + (2 * tile + d % 32 / 16) * 256 + d % 16 * 16;
  }

  // Scores are powers of two.
  void pack_queries() {
    const F32x16 scale = set1(a_.scale * 1.44269504f);
    for (int d = 0; d < a_.head_dim; d += 32) {
      for (int t = 0; t < tiles_; t++) {
        Bf16x32 rows[16];
        for (int i = 0; i < 16; i++) {
          const int n = query_ + 16 * t + i;
          const Unit x =
              n < a_.count ? load_unit(a_.q[n] + d, a_.head_dim - d) : Unit{zero(), zero()};
          rows[i] = to_bf16(mul(x.first, scale), mul(x.last, scale));
        }
        transpose(rows);
        uint8_t* to = q_ + (d / 32 * 2 + t) * kTileBytes;
        for (int i = 0; i < 16; i++) store_bf16(to + kRowBytes * i, rows[i]);
      }
    }
  }

  // Of kTextKeys positions.
  void score(int first, int row) const {
    const uint8_t* k = keys(first + row);
    const uint8_t* q = q_;
    TextSums products(work_.scores[0][row], kScored * 16, tiles_);
    products.begin();
    for (int unit = 0; unit < units_; unit++, k += kUnitBytes, q += kUnitBytes) {
      products.add(k, q, kTileBytes);
    }
    products.end();
  }

  // Of kTextKeys positions and the columns of a unit.
  void sum_values(int first, int row, int unit, TextSums& products) const {
    const uint8_t* v = keys(first + row) + value_offset(a_.head_dim) + unit * kUnitBytes;
    products.add(v, work_.scores[0][row / 2], kScored * kRowBytes);
  }

  // What the queries of a tile see; those that are none see what its first one does.
  void see(int tile) {
    for (int i = 0, n = query_ + 16 * tile; i < 16; i++) {
      if (query_ + 16 * tile + i < a_.count) n = query_ + 16 * tile + i;
      start_[tile][i] = a_.start[n];
      limit_[tile][i] = a_.limit[n];
    }
  }

  // What a query may not see of kTextKeys positions becomes -inf; finds the largest scores.
  void mask(int first, int row, F32x16* top) {
    const int at = first + row;
    for (int t = 0; t < tiles_; t++) {
      float* scores = work_.scores[t][row];
      F32x16 largest[4] = {top[t], top[t], top[t], top[t]};
      if (start_[t][15] > at || at + kTextKeys > limit_[t][0]) {
        const I32x16 start = load_ints(start_[t]), limit = load_ints(limit_[t]);
        for (int i = 0; i < kTextKeys; i++) {
          const F32x16 s = load(scores + i * 16);
          store(scores + i * 16, select_within(start, limit, at + i, s, set1(-__builtin_inff())));
        }
      }
      for (int i = 0; i < kTextKeys; i += 4) {
        CACTUS_UNROLL
        for (int n = 0; n < 4; n++) largest[n] = max(largest[n], load(scores + (i + n) * 16));
      }
      top[t] = max(max(largest[0], largest[1]), max(largest[2], largest[3]));
    }
  }

  // Sums so far are of weights against another largest score.
  void raise(int tile, F32x16 top, bool begins) {
    const F32x16 before = top_[tile];
    top_[tile] = top;
    if (begins || !any_lt(before, top)) return;
    const F32x16 factor = exp2_lanes(sub(before, top));
    sum_[tile] = mul(sum_[tile], factor);
    for (int d = 0; d < a_.head_dim; d++) {
      store(sums(d, tile), mul(load(sums(d, tile)), factor));
    }
  }

  // Scores of kTextKeys positions, or of the `rows` that are left, become weights, and sums those
  // of what the weights are rounded to.
  void weigh(int row, int rows) {
    const int end = rows < kTextKeys ? rows : kTextKeys;
    for (int t = 0; t < tiles_; t++) {
      const F32x16 top = top_[t];
      const float* scores = work_.scores[t][row];
      float* to = work_.scores[t][row / 2];
      F32x16 sum[2] = {sum_[t], zero()};
      const auto weight = [&](const float* s) { return exp2_lanes(sub(load(s), top)); };
      int n = 0;
      for (; n < end; n += kRowsAtOnce) {
        CACTUS_UNROLL
        for (int i = 0; i < kRowsAtOnce; i += 2, scores += 32, to += 16) {
          const Bf16x32 pair = to_pairs(weight(scores), weight(scores + 16));
          store_bf16(to, pair);
          sum[i / 2 % 2] = add_pairs(sum[i / 2 % 2], pair);
        }
      }
      for (; n < kTextKeys; n += 2, to += 16) store(to, zero());
      sum_[t] = add(sum[0], sum[1]);
    }
  }
  static constexpr int kRowsAtOnce = 8;

  // Values that are not finite, of the kTextKeys positions from `row` on, reach only who sees them.
  void add_lost(int first, int row) {
    uint32_t lost;
    __builtin_memcpy(&lost, keys(first + row) + lost_offset(a_.head_dim), sizeof lost);
    for (; lost != 0; lost &= lost - 1) {
      const int position = first + row + __builtin_ctz(lost);
      for (int n = 0; n < count_; n++) {
        if (a_.start[query_ + n] <= position && position < a_.limit[query_ + n]) {
          add_value(position, n, weight_of(position - first, n));
        }
      }
    }
  }

  float weight_of(int row, int n) const {
    uint32_t bits;
    __builtin_memcpy(&bits, &work_.scores[n / 16][row / 2][n % 16], sizeof bits);
    bits = row % 2 == 0 ? bits << 16 : bits & 0xFFFF0000u;
    float weight;
    __builtin_memcpy(&weight, &bits, sizeof weight);
    return weight;
  }

  void add_value(int position, int n, float weight) {
    const float* v = a_.v + static_cast<size_t>(position) * a_.v_stride;
    for (int d = 0; d < a_.head_dim; d++) {
      if (!(__builtin_fabsf(v[d]) < kLeastLost)) sums(d, n / 16)[n % 16] += weight * v[d];
    }
  }

  void write() {
    for (int t = 0; t < tiles_; t++) {
      const F32x16 factor = div(set1(1.0f), sum_[t]);
      const int first = query_ + 16 * t;
      for (int d = 0; d < a_.head_dim; d += 16) {
        F32x16 rows[16];
        CACTUS_UNROLL
        for (int i = 0; i < 16; i++) rows[i] = mul(load(sums(d, t) + 16 * i), factor);
        transpose(rows);
        for (int i = 0; i < 16 && first + i < a_.count; i++) store(a_.out[first + i] + d, rows[i]);
      }
    }
  }

  const TextQueries& a_;
  const int query_, count_, tiles_, units_;
  int32_t start_[2][16], limit_[2][16];
  F32x16 top_[2], sum_[2];  // largest scores, and sums of weights
  TextWork& work_;
  uint8_t* const q_;   // [units][2][16 pairs of columns][16 queries][2]
  float* const sums_;  // [units][2 tiles of queries][2 tiles of 16 columns][16][16 queries]
};

static void attend_text(const TextQueries* queries) {
  const FlushSubnormals as_the_dots;  // weights below 2^-126 would take 100 times as long
  for (int n = 0; n < queries->count; n += kTextBlock) TextAttention(*queries, n).run();
}

}  // namespace cactus::CACTUS_TIER
