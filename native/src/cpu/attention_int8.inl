// Attention over a span of pages of int8, in integers: queries and weights are numbers of 16 bits
// with a scale, whose products with the bytes of a page add up exactly. What limits precision is
// the page.

namespace cactus::CACTUS_TIER {

constexpr int kCodedQueries = kQueries;

constexpr float kMostCoded = 127 * 256 + 127;  // 127 of the first level

// Numbers of a query, or weights: codes times `scale`.
template <int Width>
struct Coded {
  Code16 codes[kCode16Levels][Width];
  float scale;
  int32_t sums[kCode16Levels];  // of a level's codes
};
using CodedWeights = Coded<kSpan>;
struct CodedQuery : Coded<kMaxHeadDim> {
  uint8_t unused[sizeof(float) * kQueryStride - sizeof(Coded<kMaxHeadDim>)];
};
static_assert(sizeof(CodedQuery) == sizeof(float) * kQueryStride);

// Numbers [begin, end) of x, multiples of 16.
template <int Width>
static inline void code_numbers(const float* x, int begin, int end, I32x16 magnitudes,
                                Coded<Width>& to) {
  const CodeScale found = scale_of(magnitudes, kMostCoded);
  I32x16 sums[kCode16Levels] = {};
  for (int i = begin; i < end; i += 16) {
    Code16* levels[kCode16Levels];
    for (int l = 0; l < kCode16Levels; l++) levels[l] = to.codes[l] + i;
    store_code16(codes_of(x + i, found.inverse), levels, sums);
  }
  to.scale = found.scale;
  int32_t above = 0;
  for (int l = 0; l < kCode16Levels; l++) {
    to.sums[l] = reduce_add(sums[l]) - 256 * above;
    above = to.sums[l];
  }
}

static void code_query(const float* q, int head_dim, float* out) {
  float mixed[kMaxHeadDim];
  copy_mixed(q, head_dim, mixed);
  CodedQuery& coded = *reinterpret_cast<CodedQuery*>(out);
  code_numbers(mixed, 0, head_dim, magnitudes_of(mixed, head_dim), coded);
  coded.scale /= static_cast<float>(mixed_columns(head_dim));
}

// Fours of numbers of a page, of 16 positions or columns N times, and what is read after them.
template <int N>
struct Fours {
  const uint8_t *at[N], *next[N];
  size_t stride;
  int count;
};

// sums[n][q] += fours times the codes of queries, from code `first` of their level on.
template <int M, int N, int L, class Coded>
static inline void add_fours(const Fours<N>& fours, const Coded* x, int level, int first,
                             I32x16 (*sums)[M][L]) {
  size_t at = 0;
  for (int i = 0; i < fours.count; i++, at += fours.stride, first += 4) {
    U8x64 stored[N];
    CACTUS_UNROLL
    for (int n = 0; n < N; n++) {
      if constexpr (kWaits<M>) prefetch_far(fours.next[n] + at);
      stored[n] = load_codes(fours.at[n] + at);
    }
    CACTUS_UNROLL
    for (int q = 0; q < M; q++) {
      CACTUS_UNROLL
      for (int l = 0; l < L; l++) {
        CACTUS_UNROLL
        for (int n = 0; n < N; n++) {
          sums[n][q][l] = dot_code16(sums[n][q][l], stored[n], x[q].codes[level + l] + first);
        }
      }
    }
  }
}

// sums[n][q] = all fours times the codes of queries: each_run() gives its function runs of fours,
// and the code at which each begins. Levels are taken at once where there are registers for that.
template <int M, int N, class Coded, class EachRun>
static inline void multiply_fours(const Coded* x, I32x16 (*sums)[M], const EachRun& each_run) {
  constexpr int L = M * N * kCode16Levels <= kAccumulators ? kCode16Levels : 1;
  I32x16 levels[N][M][L];
  const auto add_levels = [&](int level) {
    CACTUS_UNROLL
    for (int n = 0; n < N; n++) {
      CACTUS_UNROLL
      for (int q = 0; q < M; q++) {
        CACTUS_UNROLL
        for (int l = 0; l < L; l++) {
          const I32x16 begin = iset1(-kQ8Offset * x[q].sums[level + l]);
          levels[n][q][l] = level == 0 ? begin : iadd(begin, shift_left<8>(levels[n][q][l]));
        }
      }
    }
    each_run(
        [&](const Fours<N>& run, int first) { add_fours<M, N, L>(run, x, level, first, levels); });
  };
  static_assert(kCode16Levels <= 2);
  add_levels(0);
  if constexpr (L < kCode16Levels) add_levels(1);
  CACTUS_UNROLL
  for (int n = 0; n < N; n++) {
    CACTUS_UNROLL
    for (int q = 0; q < M; q++) {
      sums[n][q] =
          L == 1 ? levels[n][q][0] : iadd(shift_left<8>(levels[n][q][0]), levels[n][q][L - 1]);
    }
  }
}

// scores[q][0..16 N) = q . k for N neighbouring blocks of 16 positions.
template <int M, int N>
static inline void score_int8_blocks(const AttendArgs& a, int block) {
  const CodedQuery* x = reinterpret_cast<const CodedQuery*>(a.q);
  Fours<N> keys;
  keys.stride = 64;
  keys.count = a.head_dim / 4;
  for (int n = 0; n < N; n++) {
    const KvPage& page = a.span.pages[(block + n) / kPageBlocks];
    keys.at[n] = block_of<uint8_t>(page.k, block + n, a.head_dim);
    keys.next[n] = block_of<uint8_t>(page.v, block + n, a.head_dim);
  }
  I32x16 dots[N][M];
  multiply_fours<M, N>(x, dots, [&](const auto& add) { add(keys, 0); });
  CACTUS_UNROLL
  for (int n = 0; n < N; n++) {
    const KvPage& page = a.span.pages[(block + n) / kPageBlocks];
    const F32x16 scales = load(page.k_scales + (block + n) % kPageBlocks * 16);
    CACTUS_UNROLL
    for (int q = 0; q < M; q++) {
      const F32x16 s = mul(to_f32(dots[n][q]), mul(scales, set1(x[q].scale)));
      store(a.scores + q * kSpan + (block + n) * 16, s);
    }
  }
}

// Calls body<N>(n) for all of [begin, end), N at a time, as many as there are registers for.
template <int M, int N = 4, class Body>
static inline void in_parts(int begin, int end, const Body& body) {
  if constexpr (N == 1 || M * N * kCode16Levels <= kAccumulators) {
    for (; begin + N <= end; begin += N) body.template operator()<N>(begin);
  }
  if constexpr (N > 1) in_parts<M, N / 2>(begin, end, body);
}

// The same for the blocks [begin, end).
template <int M>
static inline void score_int8(const AttendArgs& a, int begin, int end) {
  in_parts<M>(begin, end, [&]<int N>(int block) { score_int8_blocks<M, N>(a, block); });
}

// Columns [d, d + 16 N) of the weighted sums of all values.
template <int M, int N>
static inline void sum_int8(const AttendArgs& a, const CodedWeights* weights, const Blocks& blocks,
                            int d) {
  I32x16 sums[N][M];
  multiply_fours<M, N>(weights, sums, [&](const auto& add) {
    for (int t = 16 * blocks.begin; t < blocks.last;) {
      const int page = t / kPage, end = (page + 1) * kPage;
      const int stop = blocks.last < end ? blocks.last : end;
      const size_t from = static_cast<size_t>(t % kPage) * a.head_dim + 4 * d;
      Fours<N> values;
      values.stride = 4 * static_cast<size_t>(a.head_dim);
      values.count = (stop - t + 3) / 4;
      for (int n = 0; n < N; n++) {
        values.at[n] = static_cast<const uint8_t*>(a.span.pages[page].v) + from + 64 * n;
        values.next[n] = static_cast<const uint8_t*>(a.next.pages[page].k) + from + 64 * n;
      }
      add(values, t);
      t = end;
    }
  });
  CACTUS_UNROLL
  for (int q = 0; q < M; q++) {
    const F32x16 scale = set1(weights[q].scale);
    CACTUS_UNROLL
    for (int n = 0; n < N; n++) {
      store(a.o + static_cast<size_t>(q) * a.head_dim + d + 16 * n, mul(to_f32(sums[n][q]), scale));
    }
  }
}

// The scores of a query become weights, times the values' scales; returns their magnitudes.
static inline I32x16 weigh_int8(const AttendArgs& a, int q, const Blocks& blocks) {
  const int start = a.start[q], limit = a.limit[q];
  I32x16 magnitudes = izero();
  a.l[q] = exp_scores(a.scores + q * kSpan, a.m[q], blocks, [&](int block, F32x16 p) {
    const float* scales = a.span.pages[block / kPageBlocks].v_scales + block % kPageBlocks * 16;
    // The scale of what is not seen may be of no meaning.
    const F32x16 weight = seen_lanes(block, start, limit, mul(p, load(scales)), zero());
    magnitudes = imax(magnitudes, to_bits(abs(weight)));
    return weight;
  });
  return magnitudes;
}

// Scores become the codes of weights. Each step is done for all queries, since it ends in a number
// that the next one waits for.
static inline void code_weights(const AttendArgs& a, int count, const Blocks& blocks,
                                CodedWeights* to) {
  I32x16 magnitudes[kMaxQueries];
  for (int q = 0; q < count; q++) {
    a.m[q] = mask_scores(a.scores + q * kSpan, a.start[q], a.limit[q], blocks);
  }
  for (int q = 0; q < count; q++) magnitudes[q] = weigh_int8(a, q, blocks);
  for (int q = 0; q < count; q++) {
    code_numbers(a.scores + q * kSpan, 16 * blocks.begin, 16 * blocks.end, magnitudes[q], to[q]);
  }
}

template <int M>
static void attend_int8(const AttendArgs& a) {
  const Blocks blocks = blocks_of(a);
  score_int8<M>(a, blocks.begin, blocks.end);
  CodedWeights weights[M];
  code_weights(a, M, blocks, weights);
  in_parts<M>(0, a.head_dim / 16,
              [&]<int N>(int n) { sum_int8<M, N>(a, weights, blocks, 16 * n); });
}

static void attend_span(const AttendArgs* a) {
  const bool coded = a->span.pages[0].k_scales != nullptr;
  with_queries(a->count, [&]<int M>() { coded ? attend_int8<M>(*a) : attend_f16<M>(*a); });
}

static void score_span(const AttendArgs* a) {
  const bool coded = a->span.pages[0].k_scales != nullptr;
  const int blocks = (a->limit[0] + 15) / 16;
  with_queries(a->count, [&]<int M>() {
    coded ? score_int8<M>(*a, 0, blocks) : score_f16<M>(*a, 0, blocks);
  });
}

}  // namespace cactus::CACTUS_TIER
