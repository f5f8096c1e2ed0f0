// Panels of activations as levels of int8, for tiers whose dots are of bytes.

// Bytes beside each four of lo, for tiers whose panels have another layout of that size, too.
#ifndef CACTUS_PANEL_PADDING
#define CACTUS_PANEL_PADDING 0
#endif

namespace cactus::CACTUS_TIER {

// The codes of 32 columns: hi of the first and of the last columns of each 8, and their lo.
struct Codes {
  I32x16 hi_first, hi_last, lo;
};

template <int L>
constexpr int kCodesOf8 = L == 1 ? 8 : 12 + CACTUS_PANEL_PADDING;  // bytes of 8 columns of a row
// 32 columns of a panel of M rows in L levels.
template <int M, int L>
struct Panel {
  int8_t codes[kGroup / 8][M][kCodesOf8<L>];
  float scale[M];
  float sum[M];
  int32_t isum[M];
};
template <int L>
constexpr int kCodeBytes = sizeof(Panel<1, L>::codes);
constexpr int kLast = 4, kLo = 8;  // where hi_last and lo lie in the codes of 8 columns

// Integer products with N * 32 columns: sum(w hi); in two levels 256 times that, and the sum over
// pairs of (w_first + 16 w_last) lo.
template <int M, int N, int L>
static inline void dot_q4(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 4 * N; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const U8x64 first = low_nibbles(codes), last = high_nibbles(codes);
    const auto& a = x[j / 4].codes[j % 4];
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4(dot[m], first, a[m]);
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4(dot[m], last, a[m] + kLast);
  }
  if constexpr (L == 1) return;
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = shift_left<8>(dot[m]);
  // A packed byte is w_first + 16 w_last already.
  for (int j = 0; j < 4 * N; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const auto& a = x[j / 4].codes[j % 4];
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4_byte(dot[m], codes, a[m] + kLo);
  }
}

// The same for q8: hi, then lo of the last columns sixteen times, then of the first.
template <int M, int N, int L>
static inline void dot_q8(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 8 * N; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const auto& a = x[j / 8].codes[j % 8 / 2];
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], codes, a[m] + j % 2 * kLast);
  }
  for (int first = L - 1; first >= 0 && L == 2; first--) {
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = shift_left<4>(dot[m]);
    for (int j = first; j < 8 * N; j += 2) {
      const U8x64 codes = load_codes(p + 64 * j);
      const auto& a = x[j / 8].codes[j % 8 / 2];
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], codes, a[m] + kLo);
    }
  }
  for (int n = 0; n < N && kQ8Offset != 0; n++) {
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(wrapped(-kQ8Offset, x[n].isum[m])));
  }
}

// The same for 32 columns of q4_nl.
template <int M, int L>
static inline void dot_q4_nl(const uint8_t* p, const Panel<M, L>* x, I32x16* dot) {
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) dot[m] = izero();
  for (int j = 0; j < 4; j++) {
    const U8x64 codes = load_codes(p + 64 * j);
    const U8x64 first = look_up(low_nibbles(codes)), last = look_up(high_nibbles(codes));
    const auto& a = x->codes[j];
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], first, a[m]);
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], last, a[m] + kLast);
  }
  for (int first = L - 1; first >= 0 && L == 2; first--) {
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = shift_left<4>(dot[m]);
    for (int j = 0; j < 4; j++) {
      const U8x64 codes = load_codes(p + 64 * j);
      const U8x64 levels = look_up(first == 1 ? high_nibbles(codes) : low_nibbles(codes));
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) dot[m] = dot4_q8(dot[m], levels, x->codes[j][m] + kLo);
    }
  }
  if constexpr (kQ8Offset != 0) {
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) dot[m] = iadd(dot[m], iset1(wrapped(-kQ8Offset, x->isum[m])));
  }
}

// Stores 32 columns of one row; returns their sum in units.
template <int L>
static inline int32_t store_codes(const Codes& c, uint8_t* panel, size_t rows, size_t row) {
  int8_t codes[3][16];
  store_i8(codes[0], c.hi_first);
  store_i8(codes[1], c.hi_last);
  if constexpr (L == 2) store_i8(codes[2], c.lo);
  for (size_t j = 0; j < 4; j++) {
    uint8_t* to = panel + (j * rows + row) * kCodesOf8<L>;
    for (size_t n = 0; n <= L; n++) __builtin_memcpy(to + 4 * n, codes[n] + 4 * j, 4);
  }
  const I32x16 hi = iadd(c.hi_first, c.hi_last);
  if constexpr (L == 1) return reduce_add(hi);
  return reduce_add(iadd(shift_left<8>(hi), iadd(shift_left<4>(c.lo), c.lo)));
}

// The code of one of 32 columns in units.
template <int L>
static inline int32_t read_code(const uint8_t* panel, size_t rows, size_t row, int column) {
  const uint8_t* codes = panel + (static_cast<size_t>(column / 8) * rows + row) * kCodesOf8<L>;
  const int hi = static_cast<int8_t>(codes[column % 8]);
  if constexpr (L == 1) return hi;
  const int lo = static_cast<int8_t>(codes[kLo + column % 4]);
  return 256 * hi + (column % 8 < kLast ? lo : 16 * lo);
}

// A number of 16 bits that meets bytes of keys or values: 256 first + second.
using Code16 = int8_t;
constexpr int kCode16Levels = 2;
// Stores 16 of them, and adds to the sums of each level, but to those of the last what all make.
static inline void store_code16(I32x16 x, Code16* const* levels, I32x16* sums) {
  const I32x16 first = shift_right<8>(iadd(x, iset1(128)));
  store_i8(levels[0], first);
  store_i8(levels[1], low_byte(x));
  sums[0] = iadd(sums[0], first);
  sums[1] = iadd(sums[1], x);
}
// Stores 16 numbers of 8 bits, to be multiplied like those of one level.
static inline void store_code8(I32x16 x, Code16* to) { store_i8(to, x); }
// acc += four numbers of a level times fours of bytes, which have an offset of kQ8Offset.
static inline I32x16 dot_code16(I32x16 acc, U8x64 bytes, const Code16* x) {
  return dot4_q8(acc, bytes, x);
}

// For measuring: a dot, and its multiply-adds.
static inline I32x16 one_dot(I32x16 acc, U8x64 w, const int8_t* a) { return dot4(acc, w, a); }
constexpr int kDotLanes = 64;

}  // namespace cactus::CACTUS_TIER
