// Attention over one KV page, for up to kMaxQueries queries that share a key/value head.
//
// A page is scored, soft-maxed and summed on its own and then merged into the running result, so a
// query meets the same operations in the same order whether it is decoded alone, is part of a
// prefill chunk, or its pages are split between threads.

namespace cactus::CACTUS_TIER {

// Into the range of f16. Of two operands min and max return the second where one is NaN, and x - x
// is NaN for an infinity: what is no number stays visible in the logits.
static inline F16 clamp_half(F16 x) {
  return add(min(set1(65504.0f), max(set1(-65504.0f), x)), sub(x, x));
}

static void kv_store(const float* k, const float* v, int head_dim, int slot, const KvPage* page) {
  uint16_t* column = page->k + static_cast<size_t>(slot / 16) * head_dim * 16 + slot % 16;
  uint16_t* row = page->v + static_cast<size_t>(slot) * head_dim;
  for (int d = 0; d < head_dim; d += 16) {
    uint16_t half[16];
    store_f16(half, clamp_half(load(k + d)));
    for (int i = 0; i < 16; i++) column[static_cast<size_t>(d + i) * 16] = half[i];
    store_f16(row + d, clamp_half(load(v + d)));
  }
}

// scores[q][0..16 N) = q . k for N neighbouring blocks of 16 positions.
template <int M, int N>
static inline void score_blocks(const AttendArgs& a, int block) {
  const size_t stride = static_cast<size_t>(a.head_dim) * 16;
  const uint16_t* k = a.page.k + block * stride;
  F16 s[N][M];
  for (int n = 0; n < N; n++) {
    for (int q = 0; q < M; q++) s[n][q] = zero();
  }
  for (int d = 0; d < a.head_dim; d++, k += 16) {
    F16 columns[N];
    for (int n = 0; n < N; n++) columns[n] = load_f16(k + n * stride);
    for (int q = 0; q < M; q++) {
      const F16 value = set1(a.q[d * M + q]);
      for (int n = 0; n < N; n++) s[n][q] = fma(columns[n], value, s[n][q]);
    }
  }
  for (int n = 0; n < N; n++) {
    for (int q = 0; q < M; q++) store(a.scores + q * kPage + (block + n) * 16, s[n][q]);
  }
}

template <int M>
static void attend(const AttendArgs& a) {
  const float lowest = -__builtin_inff();
  int longest = 0;
  for (int q = 0; q < M; q++) longest = a.limit[q] > longest ? a.limit[q] : longest;
  const int blocks = (longest + 15) / 16;
  int scored = 0;
  for (; scored + 2 <= blocks; scored += 2) score_blocks<M, 2>(a, scored);
  if (scored < blocks) score_blocks<M, 1>(a, scored);
  for (int q = 0; q < M; q++) {
    float* scores = a.scores + q * kPage;
    F16 largest = set1(lowest);
    for (int block = 0; block < blocks; block++) {
      const int seen = a.limit[q] - block * 16;
      const int lanes = seen < 0 ? 0 : seen > 16 ? 16 : seen;
      const F16 s = first_lanes(lanes, load(scores + block * 16), set1(lowest));
      store(scores + block * 16, s);
      largest = max(largest, s);
    }
    a.m[q] = reduce_max(largest);
    F16 sum = zero();
    for (int block = 0; block < blocks; block++) {
      const F16 p = exp(sub(load(scores + block * 16), set1(a.m[q])));
      store(scores + block * 16, p);
      sum = add(sum, p);
    }
    a.l[q] = reduce_add(sum);
  }
  int d = 0;
  for (; d + 32 <= a.head_dim; d += 32) {
    F16 first[M], second[M];
    for (int q = 0; q < M; q++) first[q] = second[q] = zero();
    for (int t = 0; t < longest; t++) {
      const uint16_t* v = a.page.v + static_cast<size_t>(t) * a.head_dim + d;
      const F16 v0 = load_f16(v), v1 = load_f16(v + 16);
      for (int q = 0; q < M; q++) {
        const F16 p = set1(a.scores[q * kPage + t]);
        first[q] = fma(p, v0, first[q]);
        second[q] = fma(p, v1, second[q]);
      }
    }
    for (int q = 0; q < M; q++) {
      store(a.o + static_cast<size_t>(q) * a.head_dim + d, first[q]);
      store(a.o + static_cast<size_t>(q) * a.head_dim + d + 16, second[q]);
    }
  }
  for (; d < a.head_dim; d += 16) {
    F16 sum[M];
    for (int q = 0; q < M; q++) sum[q] = zero();
    for (int t = 0; t < longest; t++) {
      const F16 v = load_f16(a.page.v + static_cast<size_t>(t) * a.head_dim + d);
      for (int q = 0; q < M; q++) sum[q] = fma(set1(a.scores[q * kPage + t]), v, sum[q]);
    }
    for (int q = 0; q < M; q++) store(a.o + static_cast<size_t>(q) * a.head_dim + d, sum[q]);
  }
}

static void attend_page(const AttendArgs* args) {
  switch (args->count) {
    case 1: attend<1>(*args); break;
    case 2: attend<2>(*args); break;
    case 3: attend<3>(*args); break;
    case 4: attend<4>(*args); break;
    case 5: attend<5>(*args); break;
    case 6: attend<6>(*args); break;
    case 7: attend<7>(*args); break;
    default: attend<8>(*args); break;
  }
}

static void attend_merge(float* m, float* l, float* o, float page_m, float page_l,
                         const float* page_o, int head_dim) {
  const float top = *m > page_m ? *m : page_m;
  float factors[16] = {*m - top, page_m - top};
  store(factors, exp(load(factors)));
  *m = top;
  // Products rounded on their own: a compiler may not fuse them in one place and not in another.
  const F16 sums = add(mul(set1(*l), set1(factors[0])), mul(set1(page_l), set1(factors[1])));
  float both[16];
  store(both, sums);
  *l = both[0];
  for (int d = 0; d < head_dim; d += 16) {
    store(o + d, fma(load(page_o + d), set1(factors[1]), mul(load(o + d), set1(factors[0]))));
  }
}

}  // namespace cactus::CACTUS_TIER
