// Activations and weights as bf16, for what multiplies pairs of columns. A tier has what it is
// based on, and says how many times 32 columns of weights become pairs at once.

namespace cactus::CACTUS_TIER {

using namespace CACTUS_BASE;

constexpr int kPanelRows = CACTUS_BASE::kPanelRows, kUnitsAtOnce = CACTUS_PAIR_UNITS;
// So many rows, in whole panels, share the work of making pairs.
constexpr int kSplitRows = 512 / kPanelRows * kPanelRows;

// A panel is, for each 32 columns, [kPanelRows][32] bf16; no row is left out.
constexpr int kRowBytes = kGroup * 2;
constexpr int kSplitBytes = kRowBytes;
constexpr int kPanelUnit = kPanelRows * kRowBytes;
constexpr int kTileBytes = 16 * kRowBytes;  // of what attention multiplies

static void split_row(const float* x, int cols, const PanelRow* at) {
  uint8_t* to = at->panel + static_cast<size_t>(at->row) * kRowBytes;
  for (int k = 0; k < cols; k += kGroup, to += kPanelUnit) {
    const Unit unit = load_unit(x + k, cols - k);
    store_bf16(to, to_bf16(unit.first, unit.last));
  }
}

// 32 columns of a tile, each two of them side by side, as the unit takes them.
struct alignas(64) Pairs {
  uint16_t of[kGroup / 2][2 * kTileRows];
};

// Formats of weights. read() makes pairs of the eight columns from `column` on, and asks for what
// lies `ahead` bytes behind them.
constexpr int kRead = 8;

// 16-bit weights; zeros behind the last column.
template <F32x16 (*load_weights)(const uint16_t*)>
struct FloatPairs {
  static size_t bytes(int cols) { return static_cast<size_t>(cols) * kTileRows * 2; }
  static size_t offset(int column) { return static_cast<size_t>(column) * kTileRows * 2; }
  static inline void read(const uint8_t* tile, int cols, int column, ptrdiff_t ahead,
                          uint16_t (*to)[2 * kTileRows]) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(tile + offset(column));
    for (int k = 0; k < kRead; k += 2, w += 2 * kTileRows, to++) {
      prefetch_far(reinterpret_cast<const uint8_t*>(w) + ahead);
      const F32x16 a = column + k < cols ? load_weights(w) : zero();
      const F32x16 b = column + k + 1 < cols ? load_weights(w + kTileRows) : zero();
      store_bf16(*to, to_pairs(a, b));
    }
  }
};

// Units of 32 columns [unit, unit + units) of the tiles [tile, tile + tiles).
struct Chunk {
  int tile, tiles, unit, units;
};

// What a call goes through, in this order: all columns of up to two tiles, then the next ones.
struct Chunks {
  int tiles, units;
  int of_tile() const { return (units + kUnitsAtOnce - 1) / kUnitsAtOnce; }
  int count() const { return (tiles + 1) / 2 * of_tile(); }
  // Empty behind the last one.
  Chunk at(int n) const {
    const int parts = of_tile(), tile = n / parts * 2, part = n % parts;
    if (n >= count()) return {0, 0, 0, 0};
    const int begin = units * part / parts, end = units * (part + 1) / parts;
    return {tile, tiles - tile < 2 ? 1 : 2, begin, end - begin};
  }
};

// A chunk's weights, tile by tile.
using Unpacked = Pairs[2][kUnitsAtOnce];

// The chunk that comes next: with each step of a loop some of its columns become pairs while the
// unit multiplies, which so never waits for weights, and those of the chunk behind it are asked
// for.
template <class Format>
class Ahead {
 public:
  Ahead(const TilesProduct& p, const Chunk& next, const Chunk& behind, int steps, Pairs* to)
      : cols_(p.cols),
        tile_(first_byte(p, next)),
        tile_bytes_(Format::bytes(p.cols)),
        further_(behind.tiles == 0 ? 0 : at(p, behind) - at(p, next)),
        begin_(next.unit * kGroup),
        end_(begin_ + next.units * kGroup),
        column_(begin_),
        tiles_(next.tiles),
        at_once_((next.tiles * next.units * (kGroup / kRead) + steps - 1) / steps),
        to_(to->of) {}

  inline void step() {
    for (int n = 0; n < at_once_ && tiles_ > 0; n++) read();
  }
  void finish() {
    while (tiles_ > 0) read();
  }

 private:
  static const uint8_t* first_byte(const TilesProduct& p, const Chunk& chunk) {
    return p.tile + static_cast<size_t>(chunk.tile) * Format::bytes(p.cols);
  }
  static const uint8_t* at(const TilesProduct& p, const Chunk& chunk) {
    return first_byte(p, chunk) + Format::offset(chunk.unit * kGroup);
  }

  inline void read() {
    Format::read(tile_, cols_, column_, further_, to_ + (column_ - begin_) / 2);
    column_ += kRead;
    if (column_ < end_) return;
    column_ = begin_;
    tile_ += tile_bytes_;
    to_ += kUnitsAtOnce * kGroup / 2;
    tiles_--;
  }

  const int cols_;
  const uint8_t* tile_;
  const size_t tile_bytes_;
  const ptrdiff_t further_;
  const int begin_, end_;
  int column_, tiles_;
  const int at_once_;
  uint16_t (*to_)[2 * kTileRows];
};

// Rows of sums of two tiles.
using RowSums = float[2 * kTileRows];

}  // namespace cactus::CACTUS_TIER
