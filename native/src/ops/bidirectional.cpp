// Attention of every row over all rows of its text in this step, or over those within reach.
//
// A thread takes runs of rows of one key/value head. It stores the keys and values of that head,
// as far as its rows see, in pages of its own, and nobody keeps them: they need memory for one head
// of one text a thread, and no thread waits for another.
#include <algorithm>

#include "ops/attention.h"

namespace cactus {

namespace {

// Bytes of a page of one head in f16, keys and values.
size_t page_bytes(uint32_t head_dim) { return size_t{2} * kPage * head_dim * sizeof(uint16_t); }

class TextAttention {
 public:
  TextAttention(const BidirectionalStep& step, const Context& c) : step_(step), c_(c) {}

  // Threads share the scores.
  void run() {
    uint64_t total = 0;
    for (const Sequence& text : c_.batch().sequences) {
      total += text.count * width(text) * step_.kv_heads;
    }
    CostShare share(c_, total);
    for (const Sequence& text : c_.batch().sequences) {
      for (uint32_t head = 0; head < step_.kv_heads; head++) {
        const Range rows = share.next(text.count, width(text));
        if (rows.count() != 0) attend_rows(text, head, rows);
      }
    }
  }

 private:
  // The most positions that a row of the text sees.
  uint64_t width(const Sequence& text) const {
    const uint64_t most = 2 * uint64_t{step_.reach} + 1;
    return step_.reach == 0 ? text.count : std::min<uint64_t>(text.count, most);
  }

  // Positions that row `row` of the text sees.
  Range seen(const Sequence& text, uint32_t row) const {
    if (step_.reach == 0) return {0, text.count};
    const uint64_t last = uint64_t{row} + step_.reach + 1;
    return {row - std::min(row, step_.reach),
            static_cast<uint32_t>(std::min<uint64_t>(last, text.count))};
  }

  void attend_rows(const Sequence& text, uint32_t kv_head, const Range& rows) {
    store(text, kv_head, {seen(text, rows.first).first, seen(text, rows.last - 1).last});
    const uint32_t most = static_cast<uint32_t>(c_.kernels().max_queries);
    const uint32_t end = rows.last * step_.group;
    for (uint32_t first = rows.first * step_.group; first < end; first += most) {
      attend(text, kv_head, first, std::min(most, end - first));
    }
  }

  void store(const Sequence& text, uint32_t kv_head, const Range& positions) {
    stored_ = positions;
    const KeysAndValues& from = *step_.stored;
    const uint32_t column = kv_head * step_.head_dim;
    for (uint32_t position = positions.first; position < positions.last; position++) {
      const uint32_t row = text.first_row + position;
      const float* k = c_.row(from.k, row) + column;
      const KvPage page = page_of(position / kPage);
      c_.kernels().kv_store(prepared(step_, c_, k, row, &HeadNorms::k, c_.scratch()),
                            c_.row(from.v, row) + column, static_cast<int>(step_.head_dim),
                            static_cast<int>(position % kPage), &page);
    }
  }

  // The page of position / kPage; of one that is not stored, some other.
  KvPage page_of(uint32_t page) const {
    const uint32_t first = stored_.first / kPage, last = (stored_.last - 1) / kPage;
    const size_t bytes = page_bytes(step_.head_dim);
    uint8_t* k = c_.own_pages() + (std::clamp(page, first, last) - first) * bytes;
    return {k, k + bytes / 2, nullptr, nullptr};
  }

  // Queries [first, first + count) of a key/value head: query n is of row n / group of the text.
  void attend(const Sequence& text, uint32_t kv_head, uint32_t first, uint32_t count) {
    const auto row_of = [&](uint32_t n) { return (first + n) / step_.group; };
    const auto head_of = [&](uint32_t n) {
      return kv_head * step_.group + (first + n) % step_.group;
    };
    for (uint32_t n = 0; n < count; n++) {
      pack_query(step_, c_, n, text.first_row + row_of(n), head_of(n));
    }
    const Partial total = running_partial(c_), part = span_partial(c_, step_.head_dim);
    const uint32_t begin = seen(text, row_of(0)).first / kSpan;
    const uint32_t end = (seen(text, row_of(count - 1)).last + kSpan - 1) / kSpan;
    for (uint32_t span = begin; span < end; span++) {
      attend_span(text, first, count, span, span == begin ? total : part);
      if (span == begin) continue;
      for (uint32_t n = 0; n < count; n++) {
        merge_query(step_, c_, n, seen(text, row_of(n)), span, total, part);
      }
    }
    for (uint32_t n = 0; n < count; n++) {
      finish_query(step_, c_, n, text.first_row + row_of(n), head_of(n), total);
    }
  }

  void attend_span(const Sequence& text, uint32_t first, uint32_t count, uint32_t span,
                   const Partial& out) {
    AttendArgs args;
    args.count = static_cast<int>(count);
    args.head_dim = static_cast<int>(step_.head_dim);
    for (uint32_t n = 0; n < kSpanPages; n++) args.span.pages[n] = page_of(span * kSpanPages + n);
    args.next = args.span;
    args.scores = c_.scratch();
    args.q = packed_queries(c_);
    args.m = out.m;
    args.l = out.l;
    args.o = out.o;
    for (uint32_t n = 0; n < count; n++) see(args, n, seen(text, (first + n) / step_.group), span);
    c_.kernels().attend_span(&args);
  }

  const BidirectionalStep& step_;
  const Context& c_;
  Range stored_{0, 0};
};

}  // namespace

void run(const BidirectionalStep& step, const Context& c) { TextAttention(step, c).run(); }

size_t own_page_bytes(const Plan& plan, uint32_t rows) {
  size_t bytes = 0;
  for (const Step& step : plan.steps) {
    const auto* attention = std::get_if<BidirectionalStep>(&step.operation);
    if (attention == nullptr) continue;
    bytes = std::max(bytes, (size_t{rows} / kPage + 1) * page_bytes(attention->head_dim));
  }
  return bytes;
}

}  // namespace cactus
