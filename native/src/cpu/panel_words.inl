// Panels of activations as int16, for tiers that have no dots of unsigned and signed bytes in 32
// bits. Columns are taken in pairs whose weights are the 16-bit halves of a lane.

namespace cactus::CACTUS_TIER {

// The codes of 32 columns: hi of the first and of the last columns of each 8, and their lo.
struct Codes {
  I16 hi_first, hi_last, lo;
};

// 32 columns of a panel of M rows, the same in L levels; of each 8 columns 0, 2, 4, 6, 1, 3, 5, 7.
template <int M, int L>
struct Panel {
  int16_t codes[kGroup / 8][M][8];
  float scale[M];
  float sum[M];
  int32_t isum[M];
};
template <int L>
constexpr int kCodeBytes = sizeof(Panel<1, L>::codes);

// dot[m] += the products of the weights with two columns of every row.
template <int M>
static inline void add_pair(I16* dot, B64 weights, const int16_t (*x)[8], int at) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = dot2(dot[m], weights, x[m] + at);
}

// Integer products with N * 32 columns.
template <int M, int N, int L>
static inline void dot_q4(const uint8_t* p, const Panel<M, L>* x, I16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 4 * N; j++) {
    const B64 codes = load_codes(p + 64 * j);
    const auto& a = x[j / 4].codes[j % 4];
    add_pair<M>(dot, word_nibbles<0>(codes), a, 0);
    add_pair<M>(dot, word_nibbles<1>(codes), a, 2);
    add_pair<M>(dot, word_nibbles<2>(codes), a, 4);
    add_pair<M>(dot, word_nibbles<3>(codes), a, 6);
  }
}

template <int M, int L>
static inline void dot_q8(const uint8_t* p, const Panel<M, L>& x, I16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 8; j++) {
    const B64 codes = load_codes(p + 64 * j);
    add_pair<M>(dot, word_bytes<0>(codes), x.codes[j / 2], j % 2 * 2);
    add_pair<M>(dot, word_bytes<1>(codes), x.codes[j / 2], j % 2 * 2 + 4);
  }
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(-kQ8Offset * x.isum[m]));
}

// Stores 32 columns of one row; returns their sum in units.
template <int L>
static inline int32_t store_codes(const Codes& c, uint8_t* panel, size_t rows, size_t row) {
  I16 first = c.hi_first, last = c.hi_last;
  if constexpr (L == 2) {
    first = iadd(shift_left<8>(first), c.lo);
    last = iadd(shift_left<8>(last), shift_left<4>(c.lo));
  }
  store_words(panel + row * 16, rows * 16, first, last);
  return reduce_add(iadd(first, last));
}

// For measuring: a dot, and its multiply-adds.
static inline I16 one_dot(I16 acc, B64 w, const int8_t* a) {
  return dot2(acc, w, reinterpret_cast<const int16_t*>(a));
}
constexpr int kDotLanes = 32;

}  // namespace cactus::CACTUS_TIER
