// Causal attention of every row over its own sequence, or over all of its session's memory.
//
// Keys and values are stored first; then tiles of a few queries of one key/value head visit
// the spans of their sequence in order. With few tiles (decoding) the spans themselves are shared
// between the threads and merged afterwards: the same operations in the same order.
#include "ops/attention.h"

#include <algorithm>

namespace cactus {

namespace {

// Stores the key and the value of one head where the position of the row lies; `near` are queries
// like those that will meet them.
void store_row(const Context& c, uint32_t slot, uint32_t row, uint32_t kv_head, const float* k,
               const float* v, const float* const* near, uint32_t count) {
  const StateLayout::Kv& kv = c.kv(slot);
  const KvPage page = kv.part_of(c.pages(slot).of_row(row), kv_head);
  c.kernels().kv_store(k, v, static_cast<int>(kv.head_dim),
                       static_cast<int>(c.batch().positions[row] % kPage), &page, near,
                       static_cast<int>(count));
}

// One attention step, as one thread sees it.
class Attention {
 public:
  Attention(const AttentionStep& step, const Context& c)
      : step_(step),
        c_(c),
        tiles_(c.tiles(step.tiles)),
        pages_(c.pages(step.slot)),
        kv_(c.kv(step.slot)),
        head_dim_(static_cast<int>(step.head_dim)) {}

  void run() {
    const bool stores = step_.stored.has_value(), at_once = tiles_.apart() && !tiles_.splits();
    if (stores && !at_once) {
      const uint32_t rows = c_.batch().rows();
      c_.share(rows * step_.shape.kv_heads, 1, [&](uint32_t first, uint32_t last) {
        for (uint32_t n = first; n < last; n++) store(n % rows, n / rows);
      });
      c_.barrier();
    }
    if (tiles_.splits()) {
      c_.share(tiles_.pieces(), 1,
               [&](uint32_t first, uint32_t last) { attend_pieces(first, last); });
      c_.barrier();
    }
    c_.deal(tiles_.items(), [&](uint32_t item) {
      if (stores && at_once) store_of(item);
      finish(item, tiles_.splits() ? merge_pieces(item) : attend_item(item));
    });
  }

 private:
  struct Query {
    uint32_t row, head;
  };
  // Query n of an item.
  Query query(uint32_t item, uint32_t n) const {
    const uint32_t at = tiles_.tile(item).first + n, group = step_.shape.group;
    return {at / group, tiles_.kv_head(item) * group + at % group};
  }

  void store(uint32_t row, uint32_t kv_head) {
    const uint32_t column = kv_head * step_.head_dim;
    const KeysAndValues& from = *step_.stored;
    const float* k = c_.row(from.k, row) + column;
    const float* near[kNear];
    const uint32_t count = kv_.quantized ? std::min<uint32_t>(step_.shape.group, kNear) : 0;
    for (uint32_t n = 0; n < count; n++) {
      const float* q = c_.row(step_.q, row) + (kv_head * step_.shape.group + n) * step_.head_dim;
      near[n] = prepared(step_, c_, q, row, &HeadNorms::q, packed_queries(c_) + n * kQueryStride);
    }
    store_row(c_, step_.slot, row, kv_head,
              prepared(step_, c_, k, row, &HeadNorms::k, c_.scratch()),
              c_.row(from.v, row) + column, near, count);
  }

  // The rows of an item whose keys nobody else reads.
  void store_of(uint32_t item) {
    const Tile& tile = tiles_.tile(item);
    const uint32_t group = step_.shape.group;
    for (uint32_t row = tile.first / group; row < (tile.first + tile.count) / group; row++) {
      store(row, tiles_.kv_head(item));
    }
  }

  void pack_queries(uint32_t item) {
    for (uint32_t n = 0; n < tiles_.tile(item).count; n++) {
      const auto [row, head] = query(item, n);
      pack_query(step_, c_, n, row, head, kv_.quantized);
    }
  }

  KvSpan keys_and_values(uint32_t item, uint32_t span) const {
    return kv_.part_of(pages_.of_span(tiles_.tile(item).sequence, span), tiles_.kv_head(item));
  }

  // Attends to `span` of the item. `next` is what this thread will read after it.
  void attend(uint32_t item, uint32_t span, const KvSpan& next, const Partial& out) {
    const Tile& tile = tiles_.tile(item);
    AttendArgs args;
    args.count = static_cast<int>(tile.count);
    args.head_dim = head_dim_;
    args.span = keys_and_values(item, span);
    args.next = next;
    args.scores = c_.scratch();
    args.q = packed_queries(c_);
    args.m = out.m;
    args.l = out.l;
    args.o = out.o;
    for (uint32_t n = 0; n < tile.count; n++) {
      see(args, n, seen(step_.shape, c_.batch(), query(item, n).row), span);
    }
    c_.kernels().attend_span(&args);
  }

  Partial partial(uint32_t item, uint32_t span) const {
    const uint32_t piece = tiles_.piece(item) + span - tiles_.tile(item).spans.first;
    return Partial::at(c_.partials() + piece * Partial::floats(step_.head_dim));
  }

  // Of the spans of all items, one item's after another's.
  void attend_pieces(uint32_t first, uint32_t last) {
    for (uint32_t item = 0; item < tiles_.items(); item++) {
      const Range spans = tiles_.tile(item).spans;
      const uint32_t begin = std::max(first, tiles_.piece(item));
      const uint32_t end = std::min(last, tiles_.piece(item) + spans.count());
      if (begin >= end) continue;
      pack_queries(item);
      for (uint32_t piece = begin; piece < end; piece++) {
        const uint32_t span = spans.first + piece - tiles_.piece(item);
        const uint32_t after = std::min(span + 1, spans.last - 1);
        attend(item, span, keys_and_values(item, after), partial(item, span));
      }
    }
  }

  // The running result begins with the first span.
  Partial merge_pieces(uint32_t item) {
    const Range spans = tiles_.tile(item).spans;
    const Partial total = partial(item, spans.first);
    for (uint32_t span = spans.first + 1; span < spans.last; span++) {
      merge(item, span, total, partial(item, span));
    }
    return total;
  }

  // The same for an item that this thread does alone, in its scratch behind scores and queries.
  Partial attend_item(uint32_t item) {
    const Partial total = running_partial(c_), part = span_partial(c_, step_.head_dim);
    const Range spans = tiles_.tile(item).spans;
    pack_queries(item);
    for (uint32_t span = spans.first; span < spans.last; span++) {
      attend(item, span, after(item, span), span == spans.first ? total : part);
      if (span != spans.first) merge(item, span, total, part);
    }
    return total;
  }

  KvSpan after(uint32_t item, uint32_t span) const {
    if (span + 1 < tiles_.tile(item).spans.last) return keys_and_values(item, span + 1);
    const uint32_t next = item + static_cast<uint32_t>(c_.threads());
    if (next >= tiles_.items()) return keys_and_values(item, span);
    return keys_and_values(next, tiles_.tile(next).spans.first);
  }

  void merge(uint32_t item, uint32_t span, const Partial& total, const Partial& part) {
    merge_queries(step_, c_, tiles_.tile(item).count, span, total, part,
                  [&](uint32_t n) { return seen(step_.shape, c_.batch(), query(item, n).row); });
  }

  void finish(uint32_t item, const Partial& total) {
    for (uint32_t n = 0; n < tiles_.tile(item).count; n++) {
      const auto [row, head] = query(item, n);
      finish_query(step_, c_, n, row, head, total);
    }
  }

  const AttentionStep& step_;
  const Context& c_;
  const TileList& tiles_;
  const PageTable& pages_;
  const StateLayout::Kv& kv_;
  const int head_dim_;
};

}  // namespace

void run(const AttentionStep& step, const Context& c) { Attention(step, c).run(); }

size_t attention_partials(const Plan& plan, const std::vector<TileList>& tiles) {
  size_t most = 0;
  for (const Step& step : plan.steps) {
    const auto* attention = std::get_if<AttentionStep>(&step.operation);
    if (attention == nullptr || !tiles[attention->tiles].splits()) continue;
    most = std::max(most, tiles[attention->tiles].pieces() * Partial::floats(attention->head_dim));
  }
  return most;
}

void run(const StoreMemoryStep& step, const Context& c) {
  const uint32_t rows = c.batch().rows();
  c.share(rows * step.kv_heads, 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t n = first; n < last; n++) {
      const uint32_t row = n % rows, head = n / rows, column = head * step.head_dim;
      store_row(c, step.slot, row, head, c.row(step.stored.k, row) + column,
                c.row(step.stored.v, row) + column, nullptr, 0);
    }
  });
}

// Scores of one head: each tile of queries with each span goes to one thread.
void run(const MemoryScoresStep& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  const StateLayout::Kv& kv = c.kv(step.slot);
  const uint32_t most = static_cast<uint32_t>(c.kernels().max_queries);
  AttendArgs args{};
  args.head_dim = static_cast<int>(step.head_dim);
  args.q = packed_queries(c);
  args.scores = c.scratch();
  uint32_t piece = 0, sequence = 0;
  for (const Sequence& s : c.batch().sequences) {
    for (uint32_t first = 0; first < s.count; first += most) {
      const uint32_t count = std::min(most, s.count - first);
      for (uint32_t begin = 0; begin < out.width; begin += kSpan, piece++) {
        if (piece % static_cast<uint32_t>(c.threads()) != static_cast<uint32_t>(c.thread)) continue;
        const uint32_t width = std::min(uint32_t{kSpan}, out.width - begin);
        const uint32_t seen_here = std::min(width, s.memory - std::min(s.memory, begin));
        if (seen_here != 0) {
          for (uint32_t n = 0; n < count; n++) {
            const float* q = c.row(step.in, s.first_row + first + n) + step.head * step.head_dim;
            pack_query(c, q, step.scale, step.head_dim, kv.quantized, n);
          }
          args.count = static_cast<int>(count);
          args.limit[0] = static_cast<int>(seen_here);
          args.span = kv.part_of(c.pages(step.slot).of_span(sequence, begin / kSpan), step.head);
          c.kernels().score_span(&args);
        }
        for (uint32_t n = 0; n < count; n++) {
          float* to = out.values + size_t{s.first_row + first + n} * out.stride + begin;
          std::copy_n(args.scores + n * kSpan, seen_here, to);
          std::fill(to + seen_here, to + width, 0.0f);
        }
      }
    }
    sequence++;
  }
}

}  // namespace cactus
