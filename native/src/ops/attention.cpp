// Causal attention of every row over its own sequence, or over all of its session's memory.
//
// Keys and values are stored first; then tiles of a few queries of one key/value head visit
// the spans of their sequence in order. With few tiles (decoding) the spans themselves are shared
// between the threads and merged afterwards: the same operations in the same order.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/ops.h"

namespace cactus {

namespace {

struct Shape {
  uint32_t heads, kv_heads, head_dim, group;
  uint32_t window;  // how many positions a query sees, its own included; 0: all
  uint32_t tile;    // queries of a tile
  bool memory;      // every query sees the whole memory
  Shape(const StepRecord& step, const KernelTable& kernels)
      : heads(static_cast<uint32_t>(step.i[0])),
        kv_heads(static_cast<uint32_t>(step.i[1])),
        head_dim(static_cast<uint32_t>(step.i[2])),
        group(heads / kv_heads),
        window(static_cast<uint32_t>(step.i[4])),
        tile(static_cast<uint32_t>(kernels.max_queries)),
        memory(static_cast<Op>(step.op) == Op::kMemoryAttention) {}
};

// A tile: queries [first, first + count) of a sequence's rows x group heads, in row order; over
// memory, of the rows of all sequences that share it.
struct Tile {
  uint32_t sequence, kv_head, first, count;
};

uint32_t queries_of(const Sequence& s, const Shape& shape) {
  return (shape.memory ? s.memory_rows : s.count) * shape.group;
}

uint32_t tiles_of(const Sequence& s, const Shape& shape) {
  return (queries_of(s, shape) + shape.tile - 1) / shape.tile * shape.kv_heads;
}

uint32_t count_tiles(const Batch& batch, const Shape& shape) {
  uint32_t tiles = 0;
  for (const Sequence& s : batch.sequences) tiles += tiles_of(s, shape);
  return tiles;
}

Tile find_tile(const Batch& batch, const Shape& shape, uint32_t index) {
  uint32_t n = 0;
  while (index >= tiles_of(batch.sequences[n], shape)) {
    index -= tiles_of(batch.sequences[n], shape);
    n++;
  }
  const uint32_t first = index / shape.kv_heads * shape.tile;
  const uint32_t queries = queries_of(batch.sequences[n], shape);
  return {n, index % shape.kv_heads, first, std::min(shape.tile, queries - first)};
}

// [first, last)
struct Range {
  uint32_t first, last;
  uint32_t count() const { return last - first; }
};

// Positions that a query sees, and the spans that the whole tile visits.
Range seen(const Sequence& s, const Shape& shape, uint32_t query) {
  if (shape.memory) return {0, s.memory};
  const uint32_t last = s.start + query / shape.group + 1;
  return {shape.window == 0 || last < shape.window ? 0 : last - shape.window, last};
}
Range spans_of(const Batch& batch, const Shape& shape, const Tile& tile) {
  const Sequence& s = batch.sequences[tile.sequence];
  return {seen(s, shape, tile.first).first / kSpan,
          (seen(s, shape, tile.first + tile.count - 1).last + kSpan - 1) / kSpan};
}

// (m, l, o) of the queries of a tile.
struct Partial {
  float* m;
  float* l;
  float* o;
  static size_t floats(uint32_t head_dim) { return kMaxQueries * (2 + size_t{head_dim}); }
  static Partial at(float* memory) {
    return {memory, memory + kMaxQueries, memory + 2 * kMaxQueries};
  }
};

// The tile's scaled queries in this thread's scratch, behind the scores: [count][kQueryStride].
float* packed_queries(const Context& c) { return c.scratch() + kMaxQueries * kSpan; }

void pack_queries(const Context& c, const StepRecord& step, const Shape& shape, const Tile& tile) {
  const Sequence& s = c.batch().sequences[tile.sequence];
  float* packed = packed_queries(c);
  for (uint32_t n = 0; n < tile.count; n++) {
    const uint32_t query = tile.first + n;
    const uint32_t row = s.first_row + query / shape.group;
    const uint32_t head = tile.kv_head * shape.group + query % shape.group;
    const float* q =
        c.row_scratch() + (static_cast<size_t>(row) * shape.heads + head) * shape.head_dim;
    c.kernels().scale(q, step.f[0], static_cast<int>(shape.head_dim), packed + n * kQueryStride);
  }
}

KvSpan span_of(const Context& c, const StepRecord& step, const Tile& tile, uint32_t span) {
  const Session* session = c.batch().sequences[tile.sequence].session;
  return session->span(span, static_cast<uint32_t>(step.slot), tile.kv_head);
}

// Attends to `span` of the tile. `next` is the span that this thread will read after it.
void attend(const Context& c, const StepRecord& step, const Shape& shape, const Tile& tile,
            uint32_t span, const KvSpan& next, const Partial& out) {
  const Sequence& s = c.batch().sequences[tile.sequence];
  AttendArgs args;
  args.count = static_cast<int>(tile.count);
  args.head_dim = static_cast<int>(shape.head_dim);
  args.span = span_of(c, step, tile, span);
  args.next = next;
  args.scores = c.scratch();
  args.q = packed_queries(c);
  args.m = out.m;
  args.l = out.l;
  args.o = out.o;
  for (uint32_t n = 0; n < tile.count; n++) {
    const Range positions = seen(s, shape, tile.first + n);
    const auto in_span = [&](uint32_t position) {
      return static_cast<int>(
          std::clamp<int64_t>(int64_t{position} - int64_t{span} * kSpan, 0, kSpan));
    };
    args.start[n] = in_span(positions.first);
    args.limit[n] = in_span(positions.last);
  }
  c.kernels().attend_span(&args);
}

void merge(const Context& c, const Shape& shape, const Tile& tile, uint32_t span,
           const Partial& total, const Partial& part) {
  const Sequence& s = c.batch().sequences[tile.sequence];
  for (uint32_t n = 0; n < tile.count; n++) {
    // Other queries of the tile may see a span where this one has nothing to see.
    const Range positions = seen(s, shape, tile.first + n);
    if (positions.last <= span * kSpan || positions.first >= (span + 1) * kSpan) continue;
    float* sums = total.o + n * size_t{shape.head_dim};
    const float* span_sums = part.o + n * size_t{shape.head_dim};
    if (positions.first / kSpan == span) {
      total.m[n] = part.m[n];
      total.l[n] = part.l[n];
      std::copy_n(span_sums, shape.head_dim, sums);
      continue;
    }
    c.kernels().attend_merge(total.m + n, total.l + n, sums, part.m[n], part.l[n], span_sums,
                             static_cast<int>(shape.head_dim));
  }
}

void finish(const Context& c, const Buffer& out, const Shape& shape, const Tile& tile,
            const Partial& total) {
  const Sequence& s = c.batch().sequences[tile.sequence];
  for (uint32_t n = 0; n < tile.count; n++) {
    const uint32_t query = tile.first + n;
    const uint32_t row = s.first_row + query / shape.group;
    const uint32_t head = tile.kv_head * shape.group + query % shape.group;
    const uint32_t column = head * shape.head_dim;
    float* sums = total.o + n * size_t{shape.head_dim};
    float* target = out.group ? sums : out.values + static_cast<size_t>(row) * out.stride + column;
    c.kernels().scale(sums, 1.0f / total.l[n], static_cast<int>(shape.head_dim), target);
    if (out.group != 0) {
      const PanelRow to = c.panel_row(out, row, column);
      c.kernels().quantize_row(target, static_cast<int>(shape.head_dim),
                               static_cast<int>(out.group), &to);
    }
  }
}

bool splits_spans(const Batch& batch, const Shape& shape, int threads) {
  const uint32_t tiles = count_tiles(batch, shape);
  if (threads == 1 || tiles >= 4 * static_cast<uint32_t>(threads)) return false;
  uint32_t spans = 0;
  for (uint32_t n = 0; n < tiles; n++) {
    spans = std::max(spans, spans_of(batch, shape, find_tile(batch, shape, n)).count());
  }
  return spans > 1;
}

uint32_t count_spans(const Batch& batch, const Shape& shape) {
  uint32_t spans = 0;
  for (uint32_t n = 0; n < count_tiles(batch, shape); n++) {
    spans += spans_of(batch, shape, find_tile(batch, shape, n)).count();
  }
  return spans;
}

// The running result and a span's lie in this thread's scratch, behind the scores and the queries.
Partial scratch_partial(const Context& c, const Shape& shape, int n) {
  float* memory = c.scratch() + kMaxQueries * size_t{kSpan + kQueryStride};
  return Partial::at(memory + n * Partial::floats(shape.head_dim));
}

void attend_all(const StepRecord& step, const Context& c) {
  const Shape shape(step, c.kernels());
  const Batch& batch = c.batch();
  const Buffer& out = c.buffer(step.out);
  const uint32_t tiles = count_tiles(batch, shape);
  const uint32_t thread = static_cast<uint32_t>(c.thread);
  const uint32_t threads = static_cast<uint32_t>(c.threads());
  const bool split = splits_spans(batch, shape, c.threads());
  const size_t floats = Partial::floats(shape.head_dim);
  if (split) {
    uint32_t piece = 0;
    for (uint32_t n = 0; n < tiles; n++) {
      const Tile tile = find_tile(batch, shape, n);
      const Range spans = spans_of(batch, shape, tile);
      bool packed = false;
      for (uint32_t span = spans.first; span < spans.last; span++, piece++) {
        if (piece % threads != thread) continue;
        if (!packed) pack_queries(c, step, shape, tile);
        packed = true;
        const uint32_t after = span + threads < spans.last ? span + threads : span;
        attend(c, step, shape, tile, span, span_of(c, step, tile, after),
               Partial::at(c.partials() + piece * floats));
      }
    }
    c.barrier();
  }
  uint32_t piece = 0;
  for (uint32_t n = 0; n < tiles; n++) {
    const Tile tile = find_tile(batch, shape, n);
    const Range spans = spans_of(batch, shape, tile);
    if (n % threads == thread) {
      const auto partial = [&](uint32_t span) {
        if (split) return Partial::at(c.partials() + (piece + span - spans.first) * floats);
        const Partial result = scratch_partial(c, shape, span == spans.first ? 0 : 1);
        const bool more = span + 1 < spans.last || n + threads >= tiles;
        const Tile after = more ? tile : find_tile(batch, shape, n + threads);
        const KvSpan next = span_of(
            c, step, after,
            more ? std::min(span + 1, spans.last - 1) : spans_of(batch, shape, after).first);
        attend(c, step, shape, tile, span, next, result);
        return result;
      };
      if (!split) pack_queries(c, step, shape, tile);
      // The running result begins with the first span, or for a query whose window begins later
      // with that span.
      const Partial total = partial(spans.first);
      for (uint32_t span = spans.first + 1; span < spans.last; span++) {
        merge(c, shape, tile, span, total, partial(span));
      }
      finish(c, out, shape, tile, total);
    }
    piece += spans.count();
  }
}

const float* columns(const StepRecord& step, const Context& c, int input, uint32_t row) {
  const Buffer& b = c.buffer(step.in[input]);
  return b.values + static_cast<size_t>(row) * b.stride + step.in_col[input];
}

// Prepares queries and stores keys and values: work(row, head) for query heads, then key heads.
template <class Query, class Key>
void prepare(const StepRecord& step, const Context& c, uint32_t heads, uint32_t kv_heads,
             const Query& query, const Key& key) {
  const Shape shape(step, c.kernels());
  const uint32_t rows = c.batch().rows();
  uint32_t first, last;
  c.share(rows * (heads + kv_heads), &first, &last);
  for (uint32_t n = first; n < last; n++) {
    const uint32_t head = n / rows, row = n % rows;
    if (head < heads) {
      float* q = c.row_scratch() + (static_cast<size_t>(row) * shape.heads + head) * shape.head_dim;
      query(row, head, q);
      continue;
    }
    const uint32_t kv_head = head - heads;
    const uint32_t position = c.batch().positions[row];
    const Session* session = c.batch().sequences[c.batch().sequence[row]].session;
    const KvPage page = session->kv(position / kPage, static_cast<uint32_t>(step.slot), kv_head);
    const auto [k, v] = key(row, kv_head);
    c.kernels().kv_store(k, v, static_cast<int>(shape.head_dim), static_cast<int>(position % kPage),
                         &page);
  }
  c.barrier();
}

}  // namespace

size_t attention_partials(const Plan& plan, const KernelTable& kernels, const Batch& batch,
                          int threads) {
  size_t most = 0;
  for (const StepRecord& step : plan.steps) {
    const Op op = static_cast<Op>(step.op);
    if (op != Op::kAttention && op != Op::kQkvAttention && op != Op::kMemoryAttention) continue;
    const Shape shape(step, kernels);
    if (!splits_spans(batch, shape, threads)) continue;
    most = std::max(most, count_spans(batch, shape) * Partial::floats(shape.head_dim));
  }
  return most;
}

void op_attention(const StepRecord& step, const Context& c) {
  const Shape shape(step, c.kernels());
  const bool stores = step.in[1] >= 0;
  prepare(
      step, c, shape.heads, stores ? shape.kv_heads : 0,
      [&](uint32_t row, uint32_t head, float* q) {
        std::copy_n(columns(step, c, 0, row) + head * shape.head_dim, shape.head_dim, q);
      },
      [&](uint32_t row, uint32_t head) {
        return std::pair(columns(step, c, 1, row) + head * shape.head_dim,
                         columns(step, c, 2, row) + head * shape.head_dim);
      });
  attend_all(step, c);
}

void op_store_memory(const StepRecord& step, const Context& c) {
  const Shape shape(step, c.kernels());
  prepare(
      step, c, 0, shape.kv_heads, [](uint32_t, uint32_t, float*) {},
      [&](uint32_t row, uint32_t head) {
        return std::pair(columns(step, c, 0, row) + head * shape.head_dim,
                         columns(step, c, 1, row) + head * shape.head_dim);
      });
}

// Scores of one head: each tile of queries with each span goes to one thread.
void op_memory_scores(const StepRecord& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  const uint32_t head = static_cast<uint32_t>(step.i[0]);
  const uint32_t most = static_cast<uint32_t>(c.kernels().max_queries);
  const int head_dim = step.i[2];
  AttendArgs args{};
  args.head_dim = head_dim;
  args.q = packed_queries(c);
  args.scores = c.scratch();
  uint32_t piece = 0;
  for (const Sequence& s : c.batch().sequences) {
    for (uint32_t first = 0; first < s.count; first += most) {
      const uint32_t count = std::min(most, s.count - first);
      for (uint32_t begin = 0; begin < out.width; begin += kSpan, piece++) {
        if (piece % static_cast<uint32_t>(c.threads()) != static_cast<uint32_t>(c.thread)) continue;
        const uint32_t width = std::min(uint32_t{kSpan}, out.width - begin);
        const uint32_t seen = std::min(width, s.memory - std::min(s.memory, begin));
        if (seen != 0) {
          for (uint32_t n = 0; n < count; n++) {
            const float* q = columns(step, c, 0, s.first_row + first + n) + head * step.i[2];
            c.kernels().scale(q, step.f[0], head_dim, packed_queries(c) + n * kQueryStride);
          }
          args.count = static_cast<int>(count);
          args.limit[0] = static_cast<int>(seen);
          args.span = s.session->span(begin / kSpan, static_cast<uint32_t>(step.slot), head);
          c.kernels().score_span(&args);
        }
        for (uint32_t n = 0; n < count; n++) {
          float* to = out.values + size_t{s.first_row + first + n} * out.stride + begin;
          std::copy_n(args.scores + n * kSpan, seen, to);
          std::fill(to + seen, to + width, 0.0f);
        }
      }
    }
  }
}

// Merged q, k, v: head norms and rotary embedding on the way to the queries and the cache.
void op_qkv_attention(const StepRecord& step, const Context& c) {
  const Shape shape(step, c.kernels());
  const int head_dim = step.i[2];
  const auto rotate = [&](uint32_t row, const float* x, int norm, float* out) {
    if (step.weights != 0) {
      const float* w = reinterpret_cast<const float*>(c.weight(step.weight[norm]).data);
      c.kernels().rms_norm(x, w, step.f[2], head_dim, head_dim, out);
      x = out;
    }
    if (step.constants == 0) {
      if (x != out) std::copy_n(x, head_dim, out);
      return;
    }
    const auto [cos, sin] = c.rotary(row);
    c.kernels().rope(x, cos, sin, static_cast<int>(step.constants), head_dim, out);
  };
  float* key = c.scratch();
  prepare(
      step, c, shape.heads, shape.kv_heads,
      [&](uint32_t row, uint32_t head, float* q) {
        rotate(row, columns(step, c, 0, row) + head * shape.head_dim, 0, q);
      },
      [&](uint32_t row, uint32_t head) {
        const float* k = columns(step, c, 0, row) + (shape.heads + head) * shape.head_dim;
        rotate(row, k, 1, key);
        return std::pair<const float*, const float*>(
            key, columns(step, c, 0, row) + (shape.heads + shape.kv_heads + head) * shape.head_dim);
      });
  attend_all(step, c);
}

}  // namespace cactus
