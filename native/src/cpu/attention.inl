// What attention does with one span of KV pages, whatever these are of, for up to kMaxQueries
// queries that share a key/value head.
//
// A span is scored, soft-maxed and summed on its own and then merged into the running result, so a
// query meets the same operations in the same order whether it is decoded alone, is part of a
// prefill chunk, or its spans are split between threads.

namespace cactus::CACTUS_TIER {

// Few queries read keys and values faster than the memory gives them. So that it never rests, the
// values are asked for while the keys are scored, and the next keys while the values are summed.
constexpr int kFewQueries = 4;
template <int M>
constexpr bool kWaits = M <= kFewQueries && M < kQueries;

// Where block `block` of 16 positions of a span lies in its page: keys and values alike.
constexpr int kPageBlocks = kPage / 16;
template <class Stored>
static inline const Stored* block_of(const void* numbers, int block, int head_dim) {
  return static_cast<const Stored*>(numbers) + block % kPageBlocks * 16 * head_dim;
}

// The blocks of 16 positions that any of the queries sees. Those that some do not see add exact
// zeros to these.
struct Blocks {
  int begin, end;
  int last;  // position that is seen, and one
};
static inline Blocks blocks_of(const AttendArgs& a) {
  int start = kSpan, end = 0;
  for (int q = 0; q < a.count; q++) {
    start = a.start[q] < start ? a.start[q] : start;
    end = a.limit[q] > end ? a.limit[q] : end;
  }
  return {start / 16, (end + 15) / 16, end};
}

// a where a query sees positions [start, limit) of a span, else b.
static inline F32x16 seen_lanes(int block, int start, int limit, F32x16 a, F32x16 b) {
  const int unseen = start - block * 16, seen = limit - block * 16;
  if (unseen > 0) a = first_lanes(unseen > 16 ? 16 : unseen, b, a);
  if (seen < 16) a = first_lanes(seen < 0 ? 0 : seen, a, b);
  return a;
}

// What the query may not see becomes -inf; returns the largest score.
static inline float mask_scores(float* scores, int start, int limit, const Blocks& blocks) {
  const F32x16 lowest = set1(-__builtin_inff());
  F32x16 largest[2] = {lowest, lowest};  // a maximum waits for the one before
  for (int block = blocks.begin; block < blocks.end; block++) {
    F32x16 s = load(scores + block * 16);
    if (start > block * 16 || limit < block * 16 + 16) {
      s = seen_lanes(block, start, limit, s, lowest);
      store(scores + block * 16, s);
    }
    largest[block % 2] = max(largest[block % 2], s);
  }
  return reduce_max(max(largest[0], largest[1]));
}

// Scores become what weight() makes of exp(score - largest) in a block; returns the sum of that.
template <class Weight>
static inline float exp_scores(float* scores, float largest, const Blocks& blocks,
                               const Weight& weight) {
  F32x16 sum = zero();
  for (int block = blocks.begin; block < blocks.end; block++) {
    const F32x16 p = exp_negative(sub(load(scores + block * 16), set1(largest)));
    store(scores + block * 16, weight(block, p));
    sum = add(sum, p);
  }
  return reduce_add(sum);
}

// body<M>() with the compile-time M that equals `count`, 1..kQueries.
template <class Body, int M = kQueries>
static inline void with_queries(int count, const Body& body) {
  if constexpr (M == 1) {
    body.template operator()<1>();
  } else if (count == M) {
    body.template operator()<M>();
  } else {
    with_queries<Body, M - 1>(count, body);
  }
}

static void attend_merge(const MergeArgs* a) {
  static_assert(kMaxQueries == 16);
  const F32x16 m = load(a->m), l = load(a->l), span_m = load(a->span_m), span_l = load(a->span_l);
  const F32x16 top = max(m, span_m);
  const F32x16 mine = exp(sub(m, top)), its = exp(sub(span_m, top));
  float tops[16], sums[16], factors[2][16];
  store(tops, top);
  // Products rounded on their own: a compiler may not fuse them in one place and not in another.
  store(sums, add(mul(l, mine), mul(span_l, its)));
  store(factors[0], mine);
  store(factors[1], its);
  const size_t width = static_cast<size_t>(a->head_dim);
  for (int q = 0; q < a->count; q++) {
    if (a->merge[q] == Merge::kNone) continue;
    const bool both = a->merge[q] == Merge::kBoth;
    a->m[q] = both ? tops[q] : a->span_m[q];
    a->l[q] = both ? sums[q] : a->span_l[q];
    float* o = a->o + static_cast<size_t>(q) * width;
    const float* span_o = a->span_o + static_cast<size_t>(q) * width;
    for (size_t d = 0; d < width; d += 16) {
      F32x16 x = load(span_o + d);
      if (both) x = fma(x, set1(factors[1][q]), mul(load(o + d), set1(factors[0][q])));
      store(o + d, x);
    }
  }
}

// Only tiers that multiply bf16 have these.
constexpr decltype(TextKernels::key_bytes) text_key_bytes = nullptr;
constexpr decltype(TextKernels::scratch) text_scratch = nullptr;
constexpr decltype(TextKernels::store) store_text = nullptr;
constexpr decltype(TextKernels::attend) attend_text = nullptr;

}  // namespace cactus::CACTUS_TIER
