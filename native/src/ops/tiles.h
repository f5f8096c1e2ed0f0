// The work of attention in one step: made once, before it, for all layers and threads.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "session.h"
#include "steps.h"

namespace cactus {

struct Batch;

// [first, last)
struct Range {
  uint32_t first, last;
  uint32_t count() const { return last - first; }
};

// Queries of one sequence that visit its spans together; over memory, of all sequences that share
// it. Query n of a step belongs to row n / group, and to head n % group of each key/value head.
struct Tile {
  uint32_t sequence;
  uint32_t first, count;  // queries
  Range spans;
  uint32_t piece;  // the number of its first span among those of all tiles
};

// The tiles of one shape, each of which is done for every key/value head.
class TileList {
 public:
  TileList(const TileShape& shape, const KernelTable& kernels, uint32_t max_rows);

  // Makes the tiles of a step that so many threads share; nothing is allocated.
  void make(const Batch& batch, int threads);

  // A tile of one key/value head is an item.
  uint32_t items() const { return static_cast<uint32_t>(tiles_.size()) * shape_.kv_heads; }
  const Tile& tile(uint32_t item) const { return tiles_[item / shape_.kv_heads]; }
  uint32_t kv_head(uint32_t item) const { return item % shape_.kv_heads; }

  // Whether the items are too few for the threads, which then share their spans.
  bool splits() const { return splits_; }
  // Spans of all items; those of one item follow one another.
  uint32_t pieces() const { return pieces_ * shape_.kv_heads; }
  uint32_t piece(uint32_t item) const {
    return tile(item).piece * shape_.kv_heads + kv_head(item) * tile(item).spans.count();
  }
  // Whether no two tiles read the keys of the same sequence.
  bool apart() const { return apart_; }

  static size_t bytes(const TileShape& shape, const KernelTable& kernels, uint32_t max_rows);

 private:
  const TileShape shape_;
  const uint32_t most_;  // queries of a tile
  std::vector<Tile> tiles_;
  uint32_t pieces_ = 0;
  bool splits_ = false, apart_ = false;
};

// Positions that a query of this row sees.
Range seen(const TileShape& shape, const Batch& batch, uint32_t row);

// The pages of a step's sessions that come and go together: those of a group, or of memory.
class PageTable {
 public:
  // `kind` as in StateLayout; after the sessions have made room for the step.
  void make(const Batch& batch, const StateLayout& layout, uint32_t kind);

  // The page that holds the position of a row.
  uint8_t* of_row(uint32_t row) const { return rows_[row]; }
  const SpanPages& of_span(uint32_t sequence, uint32_t span) const {
    return spans_[first_[sequence] + span];
  }

 private:
  std::vector<uint8_t*> rows_;
  std::vector<SpanPages> spans_;
  std::vector<size_t> first_;  // where the spans of each sequence begin
};

}  // namespace cactus
