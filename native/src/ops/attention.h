// What attention over pages and attention over the step's own rows share.
#pragma once

#include <algorithm>

#include "ops/ops.h"

namespace cactus {

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

// A thread's scratch, of kAttentionFloats: scores, scaled queries [count][kQueryStride], and two
// partial results, the running one and that of a span.
inline float* packed_queries(const Context& c) { return c.scratch() + kMaxQueries * kSpan; }
inline Partial running_partial(const Context& c) {
  return Partial::at(packed_queries(c) + kMaxQueries * kQueryStride);
}
inline Partial span_partial(const Context& c, uint32_t head_dim) {
  return Partial::at(packed_queries(c) + kMaxQueries * kQueryStride + Partial::floats(head_dim));
}

// A head of queries or keys with its norm and rotation: x itself where it has neither.
inline const float* prepared(const Heads& step, const Context& c, const float* x, uint32_t row,
                             const uint32_t HeadNorms::* norm, float* out) {
  const int head_dim = static_cast<int>(step.head_dim);
  if (step.norms) {
    const HeadNorms& norms = *step.norms;
    c.kernels().rms_norm(x, c.floats(norms.*norm), norms.eps, head_dim, head_dim, out);
    x = out;
  }
  if (!step.rotary) return x;
  const auto [cos, sin] = c.rotary(*step.rotary, row);
  c.kernels().rope(x, cos, sin, c.rotary_count(*step.rotary), head_dim, out);
  return out;
}

// Query n of a tile, scaled and ready for the kernels; `coded` for pages of bytes. The scores are
// not made yet.
inline void pack_query(const Context& c, const float* q, float scale, uint32_t head_dim, bool coded,
                       uint32_t n) {
  const int width = static_cast<int>(head_dim);
  float* packed = packed_queries(c) + n * kQueryStride;
  c.kernels().scale(q, scale, width, coded ? c.scratch() : packed);
  if (coded) c.kernels().code_query(c.scratch(), width, packed);
}
inline void pack_query(const Heads& step, const Context& c, uint32_t n, uint32_t row, uint32_t head,
                       bool coded) {
  const float* q = c.row(step.q, row) + head * step.head_dim;
  pack_query(c, prepared(step, c, q, row, &HeadNorms::q, c.scratch()), step.scale, step.head_dim,
             coded, n);
}

// What of `positions` lies in a span: the queries [start, limit) of it.
inline void see(AttendArgs& args, uint32_t n, const Range& positions, uint32_t span) {
  const auto in_span = [&](uint32_t position) {
    return static_cast<int>(
        std::clamp<int64_t>(int64_t{position} - int64_t{span} * kSpan, 0, kSpan));
  };
  args.start[n] = in_span(positions.first);
  args.limit[n] = in_span(positions.last);
}

// Folds the queries of a span into the running result; seen_by(n) are the positions that query n
// sees.
template <class SeenBy>
void merge_queries(const Heads& step, const Context& c, uint32_t count, uint32_t span,
                   const Partial& total, const Partial& part, const SeenBy& seen_by) {
  MergeArgs args;
  args.count = static_cast<int>(count);
  args.head_dim = static_cast<int>(step.head_dim);
  for (uint32_t n = 0; n < count; n++) {
    const Range positions = seen_by(n);
    // Other queries of the tile may see a span where this one has nothing to see; and where its
    // window begins later than the tile's first span, so does its result.
    const bool sees = positions.last > span * kSpan && positions.first < (span + 1) * kSpan;
    const Merge how = positions.first / kSpan == span ? Merge::kTaken : Merge::kBoth;
    args.merge[n] = sees ? how : Merge::kNone;
  }
  args.m = total.m;
  args.l = total.l;
  args.o = total.o;
  args.span_m = part.m;
  args.span_l = part.l;
  args.span_o = part.o;
  c.kernels().attend_merge(&args);
}

// Writes the result of query n.
inline void finish_query(const Heads& step, const Context& c, uint32_t n, uint32_t row,
                         uint32_t head, const Partial& total) {
  const Buffer& out = c.buffer(step.out);
  const int head_dim = static_cast<int>(step.head_dim);
  const uint32_t column = head * step.head_dim;
  float* sums = total.o + n * size_t{step.head_dim};
  float* target = out.group ? sums : out.values + size_t{row} * out.stride + column;
  c.kernels().scale(sums, 1.0f / total.l[n], head_dim, target);
  if (out.group == 0) return;
  const PanelRow to = c.panel_row(out, row, column);
  c.kernels().quantize_row(target, head_dim, static_cast<int>(out.group), &to);
}

}  // namespace cactus
