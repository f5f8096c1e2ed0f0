// Attention of a whole recording or image in bytes: queries, keys, weights and values are codes of
// 8 bits with a scale each. For features whose result is rounded to 8 bits in any case.

namespace cactus::CACTUS_TIER {

namespace {

// kTextKeys positions: keys as [2 blocks][head_dim / 4][16 positions][4] and values as
// [8][head_dim][4 positions], both codes with an offset of 128, then the scales of each. Keys are
// mixed, as in pages of bytes. Positions that are not there have scales of 0.
static size_t byte_key_bytes(int head_dim) {
  return size_t{kTextKeys} * 2 * (static_cast<size_t>(head_dim) + sizeof(float));
}

static void store_bytes(const TextKeys* keys) {
  const size_t width = static_cast<size_t>(keys->head_dim);
  KvPage page;
  page.k = keys->to;
  page.v = keys->to + kTextKeys * width;
  page.k_scales = reinterpret_cast<float*>(keys->to + 2 * kTextKeys * width);
  page.v_scales = page.k_scales + kTextKeys;
  for (int n = 0; n < kTextKeys; n++) page.k_scales[n] = page.v_scales[n] = 0.0f;
  for (int n = 0; n < keys->count; n++) {
    float key[kMaxHeadDim];
    for (int d = 0; d < keys->head_dim; d += 16) {
      store(key + d, sub(load(keys->k[n] + d), load(keys->common + d)));
    }
    store_int8_position(key, keys->v[n], keys->head_dim, n, page, nullptr, 0);
  }
}

// Numbers of 8 bits that meet bytes.
template <int Width>
struct Bytes {
  Code16 codes[Width];
  int32_t sum;
};

template <int Width>
static inline void code_bytes(const float* x, int count, float inverse, Bytes<Width>& to) {
  I32x16 sum = izero();
  for (int i = 0; i < count; i += 16) {
    const I32x16 codes = codes_of(x + i, inverse);
    store_code8(codes, to.codes + i);
    sum = iadd(sum, codes);
  }
  to.sum = reduce_add(sum);
}

// 2^x to 1e-4, x being 0 at most or NaN: weights are rounded to 8 bits. 2^-60 and less are alike.
static inline F32x16 power_of_two(F32x16 x) {
  const F32x16 bounded = max(set1(-60.0f), x);
  const F32x16 biased = add(bounded, set1(0x1.8p23f + 127));  // its lowest bits are n + 127
  const F32x16 r = sub(bounded, sub(biased, set1(0x1.8p23f + 127)));
  const F32x16 p = fma(fma(fma(set1(0.0551716685f), r, set1(0.242611125f)), r, set1(0.693260968f)),
                       r, set1(0.999928057f));
  return mul(p, from_bits(shift_left<23>(to_bits(biased))));
}

// Queries at work.
struct ByteWork {
  Bytes<kMaxHeadDim> queries[kQueries];
  Bytes<kSpan> weights[kQueries];
  float scores[kQueries][kSpan], sums[kQueries][kMaxHeadDim];
  float largest[kQueries][16];  // scores
  // By queries: what codes and scores are multiplied with, the largest score so far, and the sum of
  // weights with what it is multiplied with when a larger one comes.
  float scales[kMaxQueries], weight_scales[kMaxQueries], top[kMaxQueries], total[kMaxQueries],
      kept[kMaxQueries];
};
static size_t byte_scratch(int) { return sizeof(ByteWork); }

// M queries.
template <int M>
class ByteAttention {
 public:
  ByteAttention(const TextQueries& a, int query, ByteWork& work)
      : a_(a), query_(query), width_(static_cast<size_t>(a.head_dim)), w_(work) {}

  void run() {
    const int positions = a_.limit[query_];
    for (int q = 0; q < M; q++) code_query(q);
    store(w_.top, set1(-__builtin_inff()));
    store(w_.total, zero());
    for (int first = 0; first < positions; first += kSpan) {
      const int rows = positions - first < kSpan ? positions - first : kSpan;
      score(first, rows);
      raise_top(first == 0);
      weigh(first, rows);
      sum(first, rows);
    }
    for (int q = 0; q < M; q++) {
      const F32x16 factor = set1(1.0f / w_.total[q]);
      for (size_t d = 0; d < width_; d += 16) {
        store(a_.out[query_ + q] + d, mul(load(w_.sums[q] + d), factor));
      }
    }
  }

 private:
  static constexpr int kSideBySide = kAccumulators / M < 2 ? 1 : 2;
  static constexpr int kPairs = kTextKeys / 16 / kSideBySide;

  void code_query(int q) {
    float mixed[kMaxHeadDim];
    const F32x16 scale = set1(a_.scale);
    for (size_t d = 0; d < width_; d += 16) {
      store(mixed + d, mul(load(a_.q[query_ + q] + d), scale));
    }
    mix(mixed, a_.head_dim);
    const CodeScale found = scale_of(magnitudes_of(mixed, a_.head_dim), kMostStored);
    code_bytes(mixed, a_.head_dim, found.inverse, w_.queries[q]);
    w_.scales[q] = found.scale * 1.44269504f / static_cast<float>(mixed_columns(a_.head_dim));
  }

  const uint8_t* unit(int position) const {
    return a_.keys + static_cast<size_t>(position / kTextKeys) * byte_key_bytes(a_.head_dim);
  }
  const float* key_scales(int position) const {
    return reinterpret_cast<const float*>(unit(position) + 2 * kTextKeys * width_) +
           position % kTextKeys;
  }

  // Without the queries' scales.
  void score(int first, int rows) {
    const F32x16 lowest = set1(-__builtin_inff());
    for (int q = 0; q < M; q++) store(w_.largest[q], lowest);
    for (int row = 0; row < rows; row += 16 * kSideBySide) {
      const uint8_t* keys = unit(first + row) + row % kTextKeys * width_;
      I32x16 dots[kSideBySide][M];
      CACTUS_UNROLL
      for (int n = 0; n < kSideBySide; n++) {
        CACTUS_UNROLL
        for (int q = 0; q < M; q++) dots[n][q] = iset1(-kQ8Offset * w_.queries[q].sum);
      }
      for (size_t d = 0; d < width_; d += 4) {
        U8x64 stored[kSideBySide];
        CACTUS_UNROLL
        for (int n = 0; n < kSideBySide; n++) {
          stored[n] = load_codes(keys + static_cast<size_t>(n) * 16 * width_ + 16 * d);
        }
        CACTUS_UNROLL
        for (int q = 0; q < M; q++) {
          CACTUS_UNROLL
          for (int n = 0; n < kSideBySide; n++) {
            dots[n][q] = dot_code16(dots[n][q], stored[n], w_.queries[q].codes + d);
          }
        }
      }
      CACTUS_UNROLL
      for (int n = 0; n < kSideBySide; n++) {
        const F32x16 scales = load(key_scales(first + row) + 16 * n);
        const int seen = rows - row - 16 * n;
        CACTUS_UNROLL
        for (int q = 0; q < M; q++) {
          F32x16 s = mul(to_f32(dots[n][q]), scales);
          if (seen < 16) s = first_lanes(seen < 0 ? 0 : seen, s, lowest);
          store(w_.scores[q] + row + 16 * n, s);
          store(w_.largest[q], max(load(w_.largest[q]), s));
        }
      }
    }
  }

  void raise_top(bool is_first) {
    float tops[kMaxQueries] = {};
    for (int q = 0; q < M; q++) tops[q] = reduce_max(load(w_.largest[q]));
    const F32x16 before = load(w_.top), top = max(before, load(tops));
    store(w_.kept, is_first ? zero() : power_of_two(mul(sub(before, top), load(w_.scales))));
    store(w_.top, top);
  }

  // Scores become the codes of weights times the values' scales. What ends in one number is done
  // for all queries before the next step, which waits for it.
  void weigh(int first, int rows) {
    F32x16 sums[M];
    I32x16 magnitudes[M];
    float inverse[M];
    for (int q = 0; q < M; q++) weigh_query(q, first, rows, &sums[q], &magnitudes[q]);
    for (int q = 0; q < M; q++) {
      const CodeScale found = scale_of(magnitudes[q], kMostStored);
      w_.weight_scales[q] = found.scale;
      inverse[q] = found.inverse;
      w_.total[q] = w_.total[q] * w_.kept[q] + reduce_add(sums[q]);
    }
    for (int q = 0; q < M; q++) {
      code_bytes(w_.scores[q], (rows + 15) / 16 * 16, inverse[q], w_.weights[q]);
    }
  }

  void weigh_query(int q, int first, int rows, F32x16* sum, I32x16* magnitudes) {
    const F32x16 scale = set1(w_.scales[q]), top = set1(-w_.top[q] * w_.scales[q]);
    *sum = zero();
    *magnitudes = izero();
    for (int row = 0; row < rows; row += kTextKeys) {
      const float* value_scales = key_scales(first + row) + kTextKeys;
      float* weights = w_.scores[q] + row;
      for (int n = 0; n < kTextKeys; n += 16) {
        F32x16 p = power_of_two(fma(load(weights + n), scale, top));
        if (rows - row < n + 16) p = first_lanes(rows - row < n ? 0 : rows - row - n, p, zero());
        *sum = add(*sum, p);
        const F32x16 weight = mul(p, load(value_scales + n));
        *magnitudes = imax(*magnitudes, to_bits(weight));
        store(weights + n, weight);
      }
    }
  }

  void sum(int first, int rows) {
    int d = 0;
    for (; d + 16 * kSideBySide <= a_.head_dim; d += 16 * kSideBySide) {
      sum_columns<kSideBySide>(first, rows, d);
    }
    if (d < a_.head_dim) sum_columns<1>(first, rows, d);
  }

  template <int N>
  void sum_columns(int first, int rows, int d) {
    I32x16 dots[N][M];
    CACTUS_UNROLL
    for (int n = 0; n < N; n++) {
      CACTUS_UNROLL
      for (int q = 0; q < M; q++) dots[n][q] = iset1(-kQ8Offset * w_.weights[q].sum);
    }
    for (int row = 0; row < rows; row += 4) {
      const uint8_t* values = unit(first + row) + kTextKeys * width_ + row % kTextKeys * width_ +
                              4 * static_cast<size_t>(d);
      U8x64 stored[N];
      CACTUS_UNROLL
      for (int n = 0; n < N; n++) stored[n] = load_codes(values + 64 * n);
      CACTUS_UNROLL
      for (int q = 0; q < M; q++) {
        CACTUS_UNROLL
        for (int n = 0; n < N; n++) {
          dots[n][q] = dot_code16(dots[n][q], stored[n], w_.weights[q].codes + row);
        }
      }
    }
    CACTUS_UNROLL
    for (int q = 0; q < M; q++) {
      const F32x16 scale = set1(w_.weight_scales[q]), kept = set1(w_.kept[q]);
      CACTUS_UNROLL
      for (int n = 0; n < N; n++) {
        float* to = w_.sums[q] + d + 16 * n;
        const F32x16 added = mul(to_f32(dots[n][q]), scale);
        store(to, first == 0 ? added : add(mul(load(to), kept), added));
      }
    }
  }

  const TextQueries& a_;
  const int query_;
  const size_t width_;
  ByteWork& w_;
};

static void attend_bytes(const TextQueries* a) {
  ByteWork& work = *reinterpret_cast<ByteWork*>(a->scratch);
  for (int query = 0; query < a->count; query += kQueries) {
    const int count = a->count - query < kQueries ? a->count - query : kQueries;
    with_queries(count, [&]<int M>() { ByteAttention<M>(*a, query, work).run(); });
  }
}

}  // namespace

}  // namespace cactus::CACTUS_TIER
