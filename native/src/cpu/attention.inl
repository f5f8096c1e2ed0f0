// Attention over one span of KV pages, for up to kMaxQueries queries that share a key/value head.
//
// A span is scored, soft-maxed and summed on its own and then merged into the running result, so a
// query meets the same operations in the same order whether it is decoded alone, is part of a
// prefill chunk, or its spans are split between threads.

namespace cactus::CACTUS_TIER {

// Into the range of f16. Of two operands min and max return the second where one is NaN, and x - x
// is NaN for an infinity: what is no number stays visible in the logits.
static inline F32x16 clamp_half(F32x16 x) {
  return add(min(set1(65504.0f), max(set1(-65504.0f), x)), sub(x, x));
}

// Stores one position, 16 numbers at a time: put_key(from, to), put_value(from, to).
template <class Stored, class Key, class Value>
static inline void store_position(const float* k, const float* v, int head_dim, int slot,
                                  const KvPage& page, const Key& put_key, const Value& put_value) {
  Stored* column =
      static_cast<Stored*>(page.k) + slot / 16 * static_cast<size_t>(16 * head_dim) + slot % 16;
  Stored* row = static_cast<Stored*>(page.v) + static_cast<size_t>(slot) * head_dim;
  for (int d = 0; d < head_dim; d += 16) {
    Stored part[16];
    put_key(k + d, part);
    for (int i = 0; i < 16; i++) column[static_cast<size_t>(d + i) * 16] = part[i];
    put_value(v + d, row + d);
  }
}

// A head is codes of -127..127 times `scale`; a number times `inverse` is its code.
struct HeadScale {
  float scale, inverse;
};

static inline HeadScale scale_of(const float* x, int head_dim) {
  I32x16 largest_bits = izero();
  // Magnitudes are in the order of their bits, and NaN is above them all.
  for (int d = 0; d < head_dim; d += 16) {
    largest_bits = imax(largest_bits, to_bits(abs(load(x + d))));
  }
  const int32_t bits = reduce_max(largest_bits);
  // Anything not finite must reach the logits, where it is reported.
  if (bits >= 0x7F800000) return {__builtin_nanf(""), 0.0f};
  float largest;
  __builtin_memcpy(&largest, &bits, 4);
  // Below, 127 / largest could be infinite: such a head is a head of zeros.
  if (largest < 1e-35f) return {0.0f, 0.0f};
  return {largest / 127.0f, 127.0f / largest};
}

static inline void store_coded(const float* x, float inverse, int8_t* to) {
  // An infinity times nothing has no code.
  store_i8(to, inverse == 0.0f ? izero() : round_i32(mul(load(x), set1(inverse))));
}

static void kv_store(const float* k, const float* v, int head_dim, int slot, const KvPage* page) {
  if (page->k_scales == nullptr) {
    const auto put = [](const float* x, uint16_t* to) { store_f16(to, clamp_half(load(x))); };
    return store_position<uint16_t>(k, v, head_dim, slot, *page, put, put);
  }
  const HeadScale ks = scale_of(k, head_dim), vs = scale_of(v, head_dim);
  page->k_scales[slot] = ks.scale;
  page->v_scales[slot] = vs.scale;
  store_position<int8_t>(
      k, v, head_dim, slot, *page,
      [&](const float* x, int8_t* to) { store_coded(x, ks.inverse, to); },
      [&](const float* x, int8_t* to) { store_coded(x, vs.inverse, to); });
}

// 16 numbers of a page as they lie there; codes are multiplied with their scales later.
static inline F32x16 load_stored(const uint16_t* p) { return load_f16(p); }
static inline F32x16 load_stored(const int8_t* p) { return to_f32(load_i8(p)); }

template <class Stored>
static constexpr bool kCoded = sizeof(Stored) == 1;
template <class Stored>
static constexpr int kLine = 64 / sizeof(Stored);  // numbers of a cache line

// Few queries read keys and values faster than the memory gives them. So that it never rests, the
// values are asked for while the keys are scored, and the next keys while the values are summed.
constexpr int kFewQueries = 4;

// Where block `block` of 16 positions of a span lies in its page: keys and values alike.
constexpr int kPageBlocks = kPage / 16;
template <class Stored>
static inline const Stored* block_of(const void* numbers, int block, int head_dim) {
  return static_cast<const Stored*>(numbers) + block % kPageBlocks * 16 * head_dim;
}

// scores[q][0..16 N) = q . k for N neighbouring blocks of 16 positions.
template <class Stored, int M, int N>
static inline void score_blocks(const AttendArgs& a, int block) {
  const Stored *k[N], *next[N];
  for (int n = 0; n < N; n++) {
    const KvPage& page = a.span.pages[(block + n) / kPageBlocks];
    k[n] = block_of<Stored>(page.k, block + n, a.head_dim);
    next[n] = block_of<Stored>(page.v, block + n, a.head_dim);
  }
  F32x16 s[N][M];
  for (int n = 0; n < N; n++) {
    for (int q = 0; q < M; q++) s[n][q] = zero();
  }
  for (int d = 0; d < a.head_dim; d++) {
    F32x16 columns[N];
    for (int n = 0; n < N; n++) {
      if constexpr (M <= kFewQueries && M < kQueries) {
        if (d * 16 % kLine<Stored> == 0) prefetch_far(next[n] + d * 16);
      }
      columns[n] = load_stored(k[n] + d * 16);
    }
    for (int q = 0; q < M; q++) {
      const F32x16 value = set1(a.q[q * kQueryStride + d]);
      for (int n = 0; n < N; n++) s[n][q] = fma(columns[n], value, s[n][q]);
    }
  }
  for (int n = 0; n < N; n++) {
    const KvPage& page = a.span.pages[(block + n) / kPageBlocks];
    for (int q = 0; q < M; q++) {
      if constexpr (kCoded<Stored>) {
        s[n][q] = mul(s[n][q], load(page.k_scales + (block + n) % kPageBlocks * 16));
      }
      store(a.scores + q * kSpan + (block + n) * 16, s[n][q]);
    }
  }
}

// The same for the blocks [begin, end).
template <class Stored, int M>
static inline void score(const AttendArgs& a, int begin, int end) {
  constexpr int kBlocks = kAccumulators / M < 2 ? 1 : 2;
  int block = begin;
  for (; block + kBlocks <= end; block += kBlocks) score_blocks<Stored, M, kBlocks>(a, block);
  if (block < end) score_blocks<Stored, M, 1>(a, block);
}

// Columns [d, d + 16 D) of the weighted sums of the values [begin, end).
template <class Stored, int M, int D>
static inline void sum_values(const AttendArgs& a, int begin, int end, int d) {
  const size_t stride = static_cast<size_t>(a.head_dim);
  F32x16 sum[M][D];
  for (int q = 0; q < M; q++) {
    for (int i = 0; i < D; i++) sum[q][i] = zero();
  }
  for (int t = begin; t < end;) {
    const int page = t / kPage, stop = end < (page + 1) * kPage ? end : (page + 1) * kPage;
    const size_t from = static_cast<size_t>(t % kPage) * stride + d;
    const Stored* v = static_cast<const Stored*>(a.span.pages[page].v) + from;
    const Stored* next = static_cast<const Stored*>(a.next.pages[page].k) + from;
    for (; t < stop; t++, v += stride, next += stride) {
      F32x16 value[D];
      for (int i = 0; i < D; i++) {
        if constexpr (M <= kFewQueries && M < kQueries) {
          if ((d + 16 * i) % kLine<Stored> == 0) prefetch_far(next + 16 * i);
        }
        value[i] = load_stored(v + 16 * i);
      }
      for (int q = 0; q < M; q++) {
        const F32x16 p = set1(a.scores[q * kSpan + t]);
        for (int i = 0; i < D; i++) sum[q][i] = fma(p, value[i], sum[q][i]);
      }
    }
  }
  for (int q = 0; q < M; q++) {
    for (int i = 0; i < D; i++) store(a.o + q * stride + d + 16 * i, sum[q][i]);
  }
}

// What the query may not see becomes -inf; returns the largest score.
static inline float mask_scores(float* scores, int start, int limit, int begin, int blocks) {
  const F32x16 lowest = set1(-__builtin_inff());
  F32x16 largest = lowest;
  for (int block = begin; block < blocks; block++) {
    const int unseen = start - block * 16, seen = limit - block * 16;
    F32x16 s = load(scores + block * 16);
    if (unseen > 0 || seen < 16) {
      s = first_lanes(unseen < 0 ? 0 : unseen > 16 ? 16 : unseen, lowest, s);
      s = first_lanes(seen < 0 ? 0 : seen > 16 ? 16 : seen, s, lowest);
      store(scores + block * 16, s);
    }
    largest = max(largest, s);
  }
  return reduce_max(largest);
}

// Scores become exp(score - largest); returns their sum.
static inline float exp_scores(float* scores, float largest, int begin, int blocks) {
  F32x16 sum = zero();
  for (int block = begin; block < blocks; block++) {
    const F32x16 p = exp(sub(load(scores + block * 16), set1(largest)));
    store(scores + block * 16, p);
    sum = add(sum, p);
  }
  return reduce_add(sum);
}

// The values' scales go into their weights, after those were summed.
static inline void scale_weights(float* scores, const KvSpan& span, int begin, int blocks) {
  for (int block = begin; block < blocks; block++) {
    const float* scales = span.pages[block / kPageBlocks].v_scales + block % kPageBlocks * 16;
    store(scores + block * 16, mul(load(scores + block * 16), load(scales)));
  }
}

template <class Stored, int M>
static void attend(const AttendArgs& a) {
  int start = kSpan, end = 0;
  for (int q = 0; q < M; q++) {
    start = a.start[q] < start ? a.start[q] : start;
    end = a.limit[q] > end ? a.limit[q] : end;
  }
  // Blocks that no query sees are left out; those that some do not see add exact zeros to these.
  const int begin = start / 16, blocks = (end + 15) / 16;
  score<Stored, M>(a, begin, blocks);
  for (int q = 0; q < M; q++) {
    a.m[q] = mask_scores(a.scores + q * kSpan, a.start[q], a.limit[q], begin, blocks);
  }
  for (int q = 0; q < M; q++) a.l[q] = exp_scores(a.scores + q * kSpan, a.m[q], begin, blocks);
  if constexpr (kCoded<Stored>) {
    for (int q = 0; q < M; q++) {
      scale_weights(a.scores + q * kSpan, a.span, begin, blocks);
    }
  }
  int d = 0;
  if constexpr (kAccumulators / M >= 8) {
    for (; d + 128 <= a.head_dim; d += 128) sum_values<Stored, M, 8>(a, 16 * begin, end, d);
  }
  if constexpr (kAccumulators / M >= 4) {
    for (; d + 64 <= a.head_dim; d += 64) sum_values<Stored, M, 4>(a, 16 * begin, end, d);
  }
  if constexpr (kAccumulators / M >= 2) {
    for (; d + 32 <= a.head_dim; d += 32) sum_values<Stored, M, 2>(a, 16 * begin, end, d);
  }
  for (; d < a.head_dim; d += 16) sum_values<Stored, M, 1>(a, 16 * begin, end, d);
}

template <class Stored, int M = kQueries>
static inline void attend_count(const AttendArgs& a) {
  if constexpr (M > 1) {
    if (a.count < M) return attend_count<Stored, M - 1>(a);
  }
  attend<Stored, M>(a);
}

static void attend_span(const AttendArgs* args) {
  if (args->span.pages[0].k_scales == nullptr) return attend_count<uint16_t>(*args);
  attend_count<int8_t>(*args);
}

template <class Stored, int M = kQueries>
static inline void score_count(const AttendArgs& a) {
  if constexpr (M > 1) {
    if (a.count < M) return score_count<Stored, M - 1>(a);
  }
  score<Stored, M>(a, 0, (a.limit[0] + 15) / 16);
}

static void score_span(const AttendArgs* args) {
  if (args->span.pages[0].k_scales == nullptr) return score_count<uint16_t>(*args);
  score_count<int8_t>(*args);
}

static void attend_merge(float* m, float* l, float* o, float span_m, float span_l,
                         const float* span_o, int head_dim) {
  const float top = *m > span_m ? *m : span_m;
  float factors[16] = {*m - top, span_m - top};
  store(factors, exp(load(factors)));
  *m = top;
  // Products rounded on their own: a compiler may not fuse them in one place and not in another.
  const F32x16 sums = add(mul(set1(*l), set1(factors[0])), mul(set1(span_l), set1(factors[1])));
  float both[16];
  store(both, sums);
  *l = both[0];
  for (int d = 0; d < head_dim; d += 16) {
    store(o + d, fma(load(span_o + d), set1(factors[1]), mul(load(o + d), set1(factors[0]))));
  }
}

// Only matrix units have these.
constexpr decltype(KernelTable::text_key_bytes) text_key_bytes = nullptr;
constexpr decltype(KernelTable::text_scratch) text_scratch = nullptr;
constexpr decltype(KernelTable::store_text) store_text = nullptr;
constexpr decltype(KernelTable::attend_text) attend_text = nullptr;

}  // namespace cactus::CACTUS_TIER
