#include "ops/tiles.h"

#include <algorithm>

#include "program.h"

namespace cactus {

namespace {

uint32_t most_queries(const TileShape& shape, const KernelTable& kernels) {
  return static_cast<uint32_t>(shape.coded ? kernels.coded_queries : kernels.max_queries);
}

// Each sequence may leave its last tile unfilled.
size_t most_tiles(const TileShape& shape, const KernelTable& kernels, uint32_t max_rows) {
  return size_t{max_rows} * shape.group / most_queries(shape, kernels) + max_rows;
}

}  // namespace

size_t TileList::bytes(const TileShape& shape, const KernelTable& kernels, uint32_t max_rows) {
  return most_tiles(shape, kernels, max_rows) * sizeof(Tile);
}

TileList::TileList(const TileShape& shape, const KernelTable& kernels, uint32_t max_rows)
    : shape_(shape), most_(most_queries(shape, kernels)) {
  tiles_.reserve(most_tiles(shape, kernels, max_rows));
}

Range seen(const TileShape& shape, const Batch& batch, uint32_t row) {
  if (shape.memory) return {0, batch.sequences[batch.sequence[row]].memory};
  const uint32_t last = batch.positions[row] + 1;
  const Range past{shape.window == 0 || last < shape.window ? 0 : last - shape.window, last};
  if (!shape.blocks) return past;
  return {past.first, std::max(past.last, batch.blocks[row])};
}

void TileList::make(const Batch& batch, int threads) {
  tiles_.clear();
  pieces_ = 0;
  apart_ = true;
  uint32_t most_spans = 0;
  for (uint32_t s = 0; s < batch.sequences.size(); s++) {
    const Sequence& sequence = batch.sequences[s];
    const uint32_t rows = shape_.memory ? sequence.memory_rows : sequence.count;
    const uint32_t begin = sequence.first_row * shape_.group, end = begin + rows * shape_.group;
    apart_ &= end - begin <= most_;
    for (uint32_t first = begin; first < end; first += most_) {
      const uint32_t count = std::min(most_, end - first);
      const Range low = seen(shape_, batch, first / shape_.group);
      const Range high = seen(shape_, batch, (first + count - 1) / shape_.group);
      const Range spans{low.first / kSpan, (high.last + kSpan - 1) / kSpan};
      tiles_.push_back({s, first, count, spans, pieces_});
      pieces_ += spans.count();
      most_spans = std::max(most_spans, spans.count());
    }
  }
  splits_ = threads > 1 && items() < 4 * static_cast<uint32_t>(threads) && most_spans > 1;
}

void PageTable::make(const Batch& batch, const StateLayout& layout, uint32_t kind) {
  const bool memory = kind == layout.memory_kind();
  rows_.assign(batch.rows(), nullptr);
  spans_.clear();
  first_.clear();
  for (const Sequence& s : batch.sequences) {
    const bool writes = memory == s.remembers;
    for (uint32_t row = s.first_row; writes && row < s.first_row + s.count; row++) {
      rows_[row] = s.session->page(kind, batch.positions[row] / kPage);
    }
    Range spans{0, 0};
    if (memory) {
      spans = {0, (s.memory + kSpan - 1) / kSpan};
    } else if (writes) {
      spans = {layout.first_seen(kind, s.start) / kSpan, (s.start + s.count + kSpan - 1) / kSpan};
    }
    first_.push_back(spans_.size() - spans.first);
    for (uint32_t n = spans.first; n < spans.last; n++) {
      spans_.push_back(s.session->span(kind, n));
    }
  }
}

}  // namespace cactus
