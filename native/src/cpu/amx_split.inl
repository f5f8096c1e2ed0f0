// 16-bit weights. Floats are split into two bf16, whose sum has 16 significant bits; of f16 all of
// them. Of the four products of two such pairs the smallest is left out: it lies below what the
// split of the activations has rounded. Sums are f32, in the order of the columns.

namespace cactus::CACTUS_TIER {

// The tile registers: sums of two panels, and the halves of activations and weights.
constexpr int kFirstSum = 0, kSecondSum = 1, kXHigh = 2, kXLow = 3, kWHigh = 4, kWLow = 5;
constexpr int kHalfBytes = kGroup * 2;  // of 32 columns of a row
constexpr int kSplitBytes = 2 * kHalfBytes;
constexpr int kFloatUnits = 6;  // of 32 columns that are unpacked at once

// A panel is, for each 32 columns, [high, low][rows][32] bf16; the last may have fewer rows than
// 16, and is followed by memory for the others, which are read and then left out.
static void split_row(const float* x, int cols, const PanelRow* at) {
  const size_t rows = static_cast<size_t>(at->rows);
  uint8_t* to = at->panel + static_cast<size_t>(at->row) * kHalfBytes;
  for (int k = 0; k < cols; k += kGroup, to += rows * kSplitBytes) {
    const Unit unit = load_unit(x + k, cols - k);
    const Bf16x32 high = to_bf16(unit.first, unit.last);
    store_bf16(to, high);
    store_bf16(to + rows * kHalfBytes,
               to_bf16(sub(unit.first, first_half(high)), sub(unit.last, last_half(high))));
  }
}

struct alignas(64) UnpackedFloat {
  uint16_t high[kFloatUnits][kGroup * kTileRows];
  uint16_t low[kFloatUnits][kGroup * kTileRows];
};

struct F16Format {
  static constexpr bool kLow = true;
  static inline F32x16 load_weights(const uint16_t* p) { return load_f16(p); }
};

struct Bf16Format {
  static constexpr bool kLow = false;
  static inline F32x16 load_weights(const uint16_t* p) { return load_bf16(p); }
};

// Pairs of columns, as the unit takes them; zeros beyond the last one. `ahead` is how many weights
// further the same columns of the tile after these lie, which are asked for.
template <class Format>
static inline void unpack_floats(const uint16_t* p, int cols, size_t ahead, UnpackedFloat& w) {
  for (int k = 0; k < (cols + kGroup - 1) / kGroup * kGroup; k += 2, p += 2 * kTileRows) {
    prefetch_far(p + ahead);
    const F32x16 a = k < cols ? Format::load_weights(p) : zero();
    const F32x16 b = k + 1 < cols ? Format::load_weights(p + kTileRows) : zero();
    store_bf16(w.high[0] + k * kTileRows, high_pairs(a, b));
    if constexpr (!Format::kLow) continue;
    store_bf16(w.low[0] + k * kTileRows, high_pairs(sub(a, high_part(a)), sub(b, high_part(b))));
  }
}

// Sum S += the products of 32 columns of a panel, whose halves are in the registers, with weights.
template <class Format, int S>
static inline void add_products(const UnpackedFloat& w, int unit) {
  tile_load<kWHigh>(w.high[unit], 64);
  tile_dot_bf16<S, kXHigh, kWHigh>();
  if constexpr (Format::kLow) {
    tile_load<kWLow>(w.low[unit], 64);
    tile_dot_bf16<S, kXHigh, kWLow>();
  }
  tile_dot_bf16<S, kXLow, kWHigh>();
}

// T tiles of weights that follow one another: activations are read once for two of them, because
// the first-level cache does not hold them.
template <class Format, int T>
static void multiply_floats(const uint16_t* tile, int cols, const uint8_t* panels, int rows,
                            float* out, size_t out_stride, const float* bias,
                            const float* residual) {
  UnpackedFloat w[T];
  alignas(64) float sums[kCallRows][T][16];
  const int units = (cols + kGroup - 1) / kGroup;
  for (int unit = 0; unit < units; unit += kFloatUnits) {
    const int count = units - unit < kFloatUnits ? units - unit : kFloatUnits;
    const int first = unit * kGroup, left = cols - first;
    for (int t = 0; t < T; t++) {
      unpack_floats<Format>(tile + (static_cast<size_t>(t) * cols + first) * kTileRows,
                            left < count * kGroup ? left : count * kGroup,
                            static_cast<size_t>(T) * cols * kTileRows, w[t]);
    }
    for (int row = 0; row < rows; row += 16) {
      const int here = rows - row < 16 ? rows - row : 16;
      const uint8_t* x = panels + static_cast<size_t>(row * units + here * unit) * kSplitBytes;
      if (unit == 0 && bias == nullptr) {
        tile_zero<kFirstSum>();
        tile_zero<kSecondSum>();
      } else if (unit == 0) {
        tile_load<kFirstSum>(bias, 0);
        if constexpr (T == 2) tile_load<kSecondSum>(bias + kTileRows, 0);
      } else {
        tile_load<kFirstSum>(sums[row][0], sizeof sums[row]);
        if constexpr (T == 2) tile_load<kSecondSum>(sums[row][T - 1], sizeof sums[row]);
      }
      float* to = out + static_cast<size_t>(row) * out_stride;
      if (unit + count == units) prefetch_rows<T>(to, out_stride, here);
      for (int u = 0; u < count; u++, x += here * kSplitBytes) {
        tile_load<kXHigh>(x, kHalfBytes);
        tile_load<kXLow>(x + here * kHalfBytes, kHalfBytes);
        add_products<Format, kFirstSum>(w[0], u);
        if constexpr (T == 2) add_products<Format, kSecondSum>(w[T - 1], u);
      }
      tile_store<kFirstSum>(sums[row][0], sizeof sums[row]);
      if constexpr (T == 2) tile_store<kSecondSum>(sums[row][T - 1], sizeof sums[row]);
      if (unit + count < units) continue;
      for (int m = 0; m < here; m++) {
        for (int t = 0; t < T; t++) {
          const size_t at =
              static_cast<size_t>(m) * out_stride + static_cast<size_t>(t) * kTileRows;
          const float* more =
              residual ? residual + static_cast<size_t>(row) * out_stride + at : nullptr;
          store_row(load(sums[row + m][t]), to + at, more);
        }
      }
    }
  }
}

// One row without the unit, which waits for memory while it works and works while memory waits:
// the same sums in the same order. Of 32 columns the unit sums the products of the even ones and of
// the odd ones, and adds both to what was there.
template <class Format>
static void multiply_row(const uint16_t* w, int cols, const uint8_t* panel, float* out,
                         const float* bias, const float* residual) {
  F32x16 acc = bias ? load(bias) : zero();
  const FlushSubnormals as_the_unit;
  for (int k = 0; k < cols; k += kGroup, panel += kSplitBytes) {
    const int count = cols - k < kGroup ? cols - k : kGroup;
    const uint16_t* x = reinterpret_cast<const uint16_t*>(panel);
    // Of each pair of columns; x and w high, w low, x low.
    F32x16 both[2], low_w[2], low_x[2];
    for (int odd = 0; odd < 2; odd++) both[odd] = low_w[odd] = low_x[odd] = zero();
    for (int n = 0; n < count; n += 2) {
      for (int odd = 0; odd < 2 && n + odd < count; odd++, x++, w += kTileRows) {
        prefetch(w + 2048);
        const F32x16 column = Format::load_weights(w), high = high_part(column);
        const F32x16 x_high = broadcast_bf16(x), x_low = broadcast_bf16(x + kGroup);
        both[odd] = fma(high, x_high, both[odd]);
        if constexpr (Format::kLow) low_w[odd] = fma(sub(column, high), x_high, low_w[odd]);
        low_x[odd] = fma(high, x_low, low_x[odd]);
      }
    }
    acc = add(acc, add(both[0], both[1]));
    if constexpr (Format::kLow) acc = add(acc, add(low_w[0], low_w[1]));
    acc = add(acc, add(low_x[0], low_x[1]));
  }
  store_row(acc, out, residual);
}

template <class Format>
static void multiply_split(const TilesProduct* product) {
  const TilesProduct& p = *product;
  const int at_once = p.rows == 1 ? 1 : kTilesAtOnce;
  for (int t = 0; t < p.tiles; t += at_once) {
    const size_t at = static_cast<size_t>(t) * kTileRows;
    const uint16_t* w = reinterpret_cast<const uint16_t*>(p.tile) + at * p.cols;
    const float* bias = p.bias ? p.bias + at : nullptr;
    const float* residual = p.residual ? p.residual + at : nullptr;
    if (p.rows == 1) {
      multiply_row<Format>(w, p.cols, p.panels, p.out + at, bias, residual);
      continue;
    }
    const bool two = p.tiles - t >= kTilesAtOnce;
    const auto multiply = two ? multiply_floats<Format, 2> : multiply_floats<Format, 1>;
    multiply(w, p.cols, p.panels, p.rows, p.out + at, p.out_stride, bias, residual);
  }
}
static_assert(kTilesAtOnce == 2);
constexpr MultiplyTiles split_f16 = multiply_split<F16Format>;
constexpr MultiplyTiles split_bf16 = multiply_split<Bf16Format>;
constexpr MultiplyTiles one_level_q4 = nullptr, one_level_q8 = nullptr, one_level_q4_0 = nullptr,
                        one_level_q4_nl = nullptr, one_level_q4_64 = nullptr,
                        one_level_q8_64 = nullptr;

}  // namespace cactus::CACTUS_TIER
