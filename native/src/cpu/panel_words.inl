// Panels of activations as int16, for tiers that have no dots of unsigned and signed bytes in 32
// bits: columns are taken in pairs whose weights are the 16-bit halves of a lane. In one level they
// are int8, whose products with 4-bit weights add up in words of 16 bits.

namespace cactus::CACTUS_TIER {

// The codes of 32 columns: hi of the first and of the last columns of each 8, and their lo.
struct Codes {
  I32x16 hi_first, hi_last, lo;
};

// 32 columns of a panel of M rows; of each 8 columns 0, 2, 4, 6, 1, 3, 5, 7, in one level as they
// are.
template <int L>
struct Code {
  using Type = int16_t;
};
template <>
struct Code<1> {
  using Type = int8_t;
};
template <int M, int L>
struct Panel {
  typename Code<L>::Type codes[kGroup / 8][M][8];
  float scale[M];
  float sum[M];
  int32_t isum[M];
};
template <int L>
constexpr int kCodeBytes = sizeof(Panel<1, L>::codes);

// dot[m] += the products of the weights with two columns of every row.
template <int M>
static inline void add_pair(I32x16* dot, U8x64 weights, const int16_t (*x)[8], int at) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = dot2(dot[m], weights, x[m] + at);
}

// dot[m] += the products of 32 columns of 4 bits with every row's int8: eight in a word, then those
// of a lane.
template <int M>
static inline void add_nibbles(I32x16* dot, const uint8_t* p, const Panel<M, 1>& x) {
  U8x64 words[M];
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) words[m] = zero_words();
  for (int j = 0; j < 4; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const U8x64 first = low_nibbles(codes), last = high_nibbles(codes);
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) words[m] = dot_nibbles(words[m], first, x.codes[j][m]);
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) words[m] = dot_nibbles(words[m], last, x.codes[j][m] + 4);
  }
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = add_words(dot[m], words[m]);
}

// Integer products with N * 32 columns.
template <int M, int N, int L>
static inline void dot_q4(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  if constexpr (L == 1) {
    for (int n = 0; n < N; n++) add_nibbles<M>(dot, p + 256 * n, x[n]);
  } else {
    for (int j = 0; j < 4 * N; j++) {
      const U8x64 codes = load_codes(p + 64 * j);
      const auto& a = x[j / 4].codes[j % 4];
      add_pair<M>(dot, word_nibbles<0>(codes), a, 0);
      add_pair<M>(dot, word_nibbles<1>(codes), a, 2);
      add_pair<M>(dot, word_nibbles<2>(codes), a, 4);
      add_pair<M>(dot, word_nibbles<3>(codes), a, 6);
    }
  }
}

template <int M, int N, int L>
static inline void dot_q8(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 8 * N; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const auto& a = x[j / 8].codes[j % 8 / 2];
    if constexpr (L == 1) {
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], codes, a[m] + j % 2 * 4);
    } else {
      add_pair<M>(dot, word_bytes<0>(codes), a, j % 2 * 2);
      add_pair<M>(dot, word_bytes<1>(codes), a, j % 2 * 2 + 4);
    }
  }
  if constexpr (L == 1) return;  // dot4_q8 took the offset off
  for (int n = 0; n < N; n++) {
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(wrapped(-kQ8Offset, x[n].isum[m])));
  }
}

template <int M, int L>
static inline void dot_q4_nl(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 4; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const U8x64 first = look_up(low_nibbles(codes)), last = look_up(high_nibbles(codes));
    const auto& a = x->codes[j];
    if constexpr (L == 1) {
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], first, a[m]);
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], last, a[m] + 4);
    } else {
      add_pair<M>(dot, word_bytes<0>(first), a, 0);
      add_pair<M>(dot, word_bytes<0>(last), a, 2);
      add_pair<M>(dot, word_bytes<1>(first), a, 4);
      add_pair<M>(dot, word_bytes<1>(last), a, 6);
    }
  }
  if constexpr (L == 1) return;  // dot4_q8 took the offset off
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(wrapped(-kQ8Offset, x->isum[m])));
}

// Stores 32 columns of one row; returns their sum in units.
template <int L>
static inline int32_t store_codes(const Codes& c, uint8_t* panel, size_t rows, size_t row) {
  if constexpr (L == 1) {
    int8_t codes[2][16];
    store_i8(codes[0], c.hi_first);
    store_i8(codes[1], c.hi_last);
    for (size_t j = 0; j < 4; j++) {
      for (size_t n = 0; n < 2; n++) {
        __builtin_memcpy(panel + (j * rows + row) * 8 + 4 * n, codes[n] + 4 * j, 4);
      }
    }
    return reduce_add(iadd(c.hi_first, c.hi_last));
  } else {
    const I32x16 first = iadd(shift_left<8>(c.hi_first), c.lo);
    const I32x16 last = iadd(shift_left<8>(c.hi_last), shift_left<4>(c.lo));
    store_words(panel + row * 16, rows * 16, first, last);
    return reduce_add(iadd(first, last));
  }
}

// The code of one of 32 columns in units.
template <int L>
static inline int32_t read_code(const uint8_t* panel, size_t rows, size_t row, int column) {
  typename Code<L>::Type codes[8];
  __builtin_memcpy(codes, panel + (static_cast<size_t>(column / 8) * rows + row) * sizeof codes,
                   sizeof codes);
  return L == 1 ? codes[column % 8] : codes[column % 2 * 4 + column % 8 / 2];
}

// A number of 16 bits that meets bytes of keys or values; of each four 0, 2, 1, 3.
using Code16 = int16_t;
constexpr int kCode16Levels = 1;
// Stores 16 of them, and adds them to the sums.
static inline void store_code16(I32x16 x, Code16* const* levels, I32x16* sums) {
  store_fours(levels[0], x);
  sums[0] = iadd(sums[0], x);
}
// The same of 8 bits.
static inline void store_code8(I32x16 x, Code16* to) { store_fours(to, x); }
// acc += four numbers times fours of bytes, which have an offset of kQ8Offset.
static inline I32x16 dot_code16(I32x16 acc, U8x64 bytes, const Code16* x) {
  return dot2(dot2(acc, word_bytes<0>(bytes), x), word_bytes<1>(bytes), x + 2);
}

// For measuring: a dot, and its multiply-adds.
static inline I32x16 one_dot(I32x16 acc, U8x64 w, const int8_t* a) {
  return dot2(acc, w, reinterpret_cast<const int16_t*>(a));
}
constexpr int kDotLanes = 32;

}  // namespace cactus::CACTUS_TIER
