// Products of 16-bit weights where one product of bf16 is exact enough, as for encoders, by dots of
// pairs: twice the multiply-adds of f32. Sums are f32, in the order of the columns whatever the
// number of rows.

namespace cactus::CACTUS_TIER {

// Sums of M rows of a panel from `row` on with T tiles of the chunk's weights; `sums` holds those
// of the columns before.
template <int M, int T>
static void multiply_rows(const TilesProduct& p, const Chunk& chunk, const Pairs* w, int row,
                          RowSums* sums) {
  const int units = (p.cols + kGroup - 1) / kGroup;
  const size_t panel_bytes = static_cast<size_t>(units) * kPanelUnit;
  const uint8_t* x =
      p.panels + row / kPanelRows * panel_bytes + static_cast<size_t>(chunk.unit) * kPanelUnit;
  const size_t column = static_cast<size_t>(chunk.tile) * kTileRows;
  F32x16 acc[M][T];
  CACTUS_UNROLL
  for (int t = 0; t < T; t++) {
    const F32x16 first = p.bias != nullptr ? load(p.bias + column + t * kTileRows) : zero();
    CACTUS_UNROLL
    for (int m = 0; m < M; m++) {
      acc[m][t] = chunk.unit == 0 ? first : load(sums[row + m] + t * kTileRows);
    }
  }
  for (int u = 0; u < chunk.units; u++, w++, x += kPanelUnit) {
#pragma GCC unroll 4
    for (int k = 0; k < kGroup / 2; k++) {
      Bf16x32 weights[T];
      CACTUS_UNROLL
      for (int t = 0; t < T; t++) weights[t] = load_pairs(w[t * kUnitsAtOnce].of[k]);
      CACTUS_UNROLL
      for (int m = 0; m < M; m++) {
        const Bf16x32 pair = broadcast_pair(x + m * kRowBytes + 4 * k);
        CACTUS_UNROLL
        for (int t = 0; t < T; t++) acc[m][t] = dot_pairs(acc[m][t], weights[t], pair);
      }
    }
  }
  const bool last = chunk.unit + chunk.units == units;
  const size_t place = static_cast<size_t>(row) * p.out_stride + column;
  CACTUS_UNROLL
  for (int m = 0; m < M; m++) {
    CACTUS_UNROLL
    for (int t = 0; t < T; t++) {
      const size_t at = place + static_cast<size_t>(m) * p.out_stride + t * kTileRows;
      if (!last) {
        store(sums[row + m] + t * kTileRows, acc[m][t]);
      } else {
        store_row(acc[m][t], p.out + at, p.residual != nullptr ? p.residual + at : nullptr);
      }
    }
  }
}

template <class Format>
static void multiply_bf16(const TilesProduct* product) {
  const TilesProduct& p = *product;
  const Chunks chunks{p.tiles, (p.cols + kGroup - 1) / kGroup};
  Unpacked w;
  alignas(64) RowSums sums[kSplitRows];
  for (int n = 0; n < chunks.count(); n++) {
    const Chunk chunk = chunks.at(n);
    Ahead<Format>(p, chunk, chunks.at(n + 1), 1, w[0]).finish();
    for (int row = 0; row < p.rows; row += kPanelRows) {
      with_rows(p.rows - row < kPanelRows ? p.rows - row : kPanelRows, [&]<int M>() {
        const auto multiply = chunk.tiles == 1 ? multiply_rows<M, 1> : multiply_rows<M, 2>;
        multiply(p, chunk, w[0], row, sums);
      });
    }
  }
}
constexpr MultiplyTiles split_f16 = multiply_bf16<FloatPairs<load_f16>>;
constexpr MultiplyTiles split_bf16 = multiply_bf16<FloatPairs<load_bf16>>;

// For attention: sums of 32 rows by one or two tiles of 16 queries, in memory, which is the
// first-level cache: [tiles of queries, `stride` floats][32 rows][16 queries].
class TextSums {
 public:
  TextSums(float* at, int stride, int tiles) : at_(at), stride_(stride), tiles_(tiles) {}

  void begin() { begins_ = true; }
  void resume() { begins_ = false; }
  // Products of [32 rows][32] bf16 and of [tiles, `bytes` from one to the next][16 pairs][16][2].
  void add(const void* rows, const void* queries, size_t bytes) {
    const uint8_t* x = static_cast<const uint8_t*>(rows);
    const uint8_t* w = static_cast<const uint8_t*>(queries);
    for (int row = 0; row < kTextKeys; row += kAtOnce) {
      tiles_ == 1 ? add_rows<1>(x, w, bytes, row) : add_rows<2>(x, w, bytes, row);
    }
    begins_ = false;
  }
  void end() const {}

 private:
  static constexpr int kAtOnce = 8;

  template <int T>
  void add_rows(const uint8_t* rows, const uint8_t* queries, size_t bytes, int row) const {
    F32x16 acc[kAtOnce][T];
    float* to = at_ + row * 16;
    CACTUS_UNROLL
    for (int m = 0; m < kAtOnce; m++) {
      CACTUS_UNROLL
      for (int t = 0; t < T; t++) {
        acc[m][t] = begins_ ? zero() : load(to + m * 16 + t * stride_);
      }
    }
    const uint8_t* x = rows + row * kRowBytes;
#pragma GCC unroll 4
    for (int k = 0; k < kGroup / 2; k++) {
      Bf16x32 w[T];
      CACTUS_UNROLL
      for (int t = 0; t < T; t++) {
        w[t] = load_pairs(reinterpret_cast<const uint16_t*>(queries + t * bytes + k * kRowBytes));
      }
      CACTUS_UNROLL
      for (int m = 0; m < kAtOnce; m++) {
        const Bf16x32 pair = broadcast_pair(x + m * kRowBytes + 4 * k);
        CACTUS_UNROLL
        for (int t = 0; t < T; t++) acc[m][t] = dot_pairs(acc[m][t], w[t], pair);
      }
    }
    CACTUS_UNROLL
    for (int m = 0; m < kAtOnce; m++) {
      CACTUS_UNROLL
      for (int t = 0; t < T; t++) store(to + m * 16 + t * stride_, acc[m][t]);
    }
  }

  float* const at_;
  const int stride_, tiles_;
  bool begins_ = false;
};

}  // namespace cactus::CACTUS_TIER
