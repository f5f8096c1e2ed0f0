// Attention over a span of pages of f16.

namespace cactus::CACTUS_TIER {

// Into the range of f16. Of two operands min and max return the second where one is NaN, and x - x
// is NaN for an infinity: what is no number stays visible in the logits.
static inline F32x16 clamp_half(F32x16 x) {
  return add(min(set1(65504.0f), max(set1(-65504.0f), x)), sub(x, x));
}

static inline void store_f16_position(const float* k, const float* v, int head_dim, int slot,
                                      const KvPage& page) {
  uint16_t* column =
      static_cast<uint16_t*>(page.k) + slot / 16 * static_cast<size_t>(16 * head_dim) + slot % 16;
  uint16_t* row = static_cast<uint16_t*>(page.v) + static_cast<size_t>(slot) * head_dim;
  for (int d = 0; d < head_dim; d += 16) {
    uint16_t part[16];
    store_f16(part, clamp_half(load(k + d)));
    for (int i = 0; i < 16; i++) column[static_cast<size_t>(d + i) * 16] = part[i];
    store_f16(row + d, clamp_half(load(v + d)));
  }
}

constexpr int kHalvesOfLine = 32;

// scores[q][0..16 N) = q . k for N neighbouring blocks of 16 positions.
template <int M, int N>
static inline void score_f16_blocks(const AttendArgs& a, int block) {
  const uint16_t *k[N], *next[N];
  for (int n = 0; n < N; n++) {
    const KvPage& page = a.span.pages[(block + n) / kPageBlocks];
    k[n] = block_of<uint16_t>(page.k, block + n, a.head_dim);
    next[n] = block_of<uint16_t>(page.v, block + n, a.head_dim);
  }
  F32x16 s[N][M];
  for (int n = 0; n < N; n++) {
    for (int q = 0; q < M; q++) s[n][q] = zero();
  }
  for (int d = 0; d < a.head_dim; d++) {
    F32x16 columns[N];
    for (int n = 0; n < N; n++) {
      if constexpr (kWaits<M>) {
        if (d * 16 % kHalvesOfLine == 0) prefetch_far(next[n] + d * 16);
      }
      columns[n] = load_f16(k[n] + d * 16);
    }
    for (int q = 0; q < M; q++) {
      const F32x16 value = set1(a.q[q * kQueryStride + d]);
      for (int n = 0; n < N; n++) s[n][q] = fma(columns[n], value, s[n][q]);
    }
  }
  for (int n = 0; n < N; n++) {
    for (int q = 0; q < M; q++) store(a.scores + q * kSpan + (block + n) * 16, s[n][q]);
  }
}

// The same for the blocks [begin, end).
template <int M>
static inline void score_f16(const AttendArgs& a, int begin, int end) {
  constexpr int kBlocks = kAccumulators / M < 2 ? 1 : 2;
  int block = begin;
  for (; block + kBlocks <= end; block += kBlocks) score_f16_blocks<M, kBlocks>(a, block);
  if (block < end) score_f16_blocks<M, 1>(a, block);
}

// Columns [d, d + 16 D) of the weighted sums of the values [begin, end).
template <int M, int D>
static inline void sum_f16(const AttendArgs& a, int begin, int end, int d) {
  const size_t stride = static_cast<size_t>(a.head_dim);
  F32x16 sum[M][D];
  for (int q = 0; q < M; q++) {
    for (int i = 0; i < D; i++) sum[q][i] = zero();
  }
  for (int t = begin; t < end;) {
    const int page = t / kPage, stop = end < (page + 1) * kPage ? end : (page + 1) * kPage;
    const size_t from = static_cast<size_t>(t % kPage) * stride + d;
    const uint16_t* v = static_cast<const uint16_t*>(a.span.pages[page].v) + from;
    const uint16_t* next = static_cast<const uint16_t*>(a.next.pages[page].k) + from;
    for (; t < stop; t++, v += stride, next += stride) {
      F32x16 value[D];
      for (int i = 0; i < D; i++) {
        if constexpr (kWaits<M>) {
          if ((d + 16 * i) % kHalvesOfLine == 0) prefetch_far(next + 16 * i);
        }
        value[i] = load_f16(v + 16 * i);
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

template <int M>
static void attend_f16(const AttendArgs& a) {
  const Blocks blocks = blocks_of(a);
  score_f16<M>(a, blocks.begin, blocks.end);
  for (int q = 0; q < M; q++) {
    float* scores = a.scores + q * kSpan;
    a.m[q] = mask_scores(scores, a.start[q], a.limit[q], blocks);
  }
  for (int q = 0; q < M; q++) {
    a.l[q] = exp_scores(a.scores + q * kSpan, a.m[q], blocks, [](int, F32x16 p) { return p; });
  }
  const int begin = 16 * blocks.begin, end = blocks.last;
  int d = 0;
  if constexpr (kAccumulators / M >= 8) {
    for (; d + 128 <= a.head_dim; d += 128) sum_f16<M, 8>(a, begin, end, d);
  }
  if constexpr (kAccumulators / M >= 4) {
    for (; d + 64 <= a.head_dim; d += 64) sum_f16<M, 4>(a, begin, end, d);
  }
  if constexpr (kAccumulators / M >= 2) {
    for (; d + 32 <= a.head_dim; d += 32) sum_f16<M, 2>(a, begin, end, d);
  }
  for (; d < a.head_dim; d += 16) sum_f16<M, 1>(a, begin, end, d);
}

}  // namespace cactus::CACTUS_TIER
