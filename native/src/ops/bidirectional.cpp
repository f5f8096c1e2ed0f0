// Attention of every row over all rows of its text in this step, or over those within reach; a text
// is a sequence, or a window of one.
//
// A thread takes runs of rows of one key/value head. It stores the keys and values of that head,
// as far as its rows see, in pages of its own, and nobody keeps them: they need memory for one head
// of one text a thread, and no thread waits for another. Some kernels take the queries in whole
// blocks of the text, so that a row's company in its block does not depend on the thread's share.
#include <algorithm>

#include "ops/attention.h"

namespace cactus {

namespace {

// Bytes of a page of one head in f16, keys and values.
size_t page_bytes(uint32_t head_dim) { return size_t{2} * kPage * head_dim * sizeof(uint16_t); }

// Of a thread's scratch, for rows of keys or queries; behind them is one more.
constexpr uint32_t kTextRowFloats = kTextBlock * kMaxHeadDim;
static_assert(kTextRowFloats + kMaxHeadDim <= kAttentionFloats && kTextKeys <= kTextBlock);

// From so many positions on, attention in bytes wins more than it costs to make bytes.
constexpr uint32_t kLongText = 256;

// The kernels for so many positions, or null where they are attended to span by span. Vectors of
// texts are compared with each other, where 0.0003 of a cosine count: they are not made in bytes.
const TextKernels* text_kernels(const BidirectionalStep& step, const Context& c, uint32_t count) {
  const KernelTable& kernels = c.kernels();
  const Buffer& out = c.buffer(step.out);
  const bool rounded = c.of_features() && out.group != 0 && out.levels == 1;
  const bool in_bytes = rounded && step.reach == 0 && count >= kLongText;
  const TextKernels& found =
      in_bytes && kernels.text_int8.attend ? kernels.text_int8 : kernels.text;
  return found.attend != nullptr ? &found : nullptr;
}

class TextAttention {
 public:
  TextAttention(const BidirectionalStep& step, const Context& c) : step_(step), c_(c) {}

  // Threads share the scores: those of rows, or of blocks.
  void run() {
    uint64_t total = 0;
    for_texts([&](const Text& text) { total += pieces(text) * width(text) * step_.kv_heads; });
    CostShare share(c_, total);
    for_texts([&](const Text& text) {
      for (uint32_t head = 0; head < step_.kv_heads; head++) {
        const Range found = share.next(pieces(text), width(text));
        if (found.count() == 0) continue;
        kernels_ = kernels_of(text);
        kernels_ != nullptr ? attend_blocks(text, head, found) : attend_rows(text, head, found);
      }
    });
  }

 private:
  // Rows that see each other: of a sequence all, or those side by side at one place of an axis.
  struct Text {
    uint32_t first_row, count;
  };
  template <class Each>
  void for_texts(const Each& each) const {
    for (const Sequence& s : c_.batch().sequences) {
      uint32_t first = 0;
      for (uint32_t row = 1; step_.within && row < s.count; row++) {
        if (place(s, row) == place(s, row - 1)) continue;
        each(Text{s.first_row + first, row - first});
        first = row;
      }
      each(Text{s.first_row + first, s.count - first});
    }
  }
  int32_t place(const Sequence& s, uint32_t row) const {
    return s.positions[size_t{row} * c_.axes() + *step_.within];
  }

  const TextKernels* kernels_of(const Text& text) const {
    return text_kernels(step_, c_, text.count);
  }

  uint32_t pieces(const Text& text) const {
    if (kernels_of(text) == nullptr) return text.count;
    return (text.count * step_.group + kTextBlock - 1) / kTextBlock;
  }

  // The most positions that a row of the text sees.
  uint64_t width(const Text& text) const {
    const uint64_t most = 2 * uint64_t{step_.reach} + 1;
    return step_.reach == 0 ? text.count : std::min<uint64_t>(text.count, most);
  }

  // Positions that row `row` of the text sees.
  Range seen(const Text& text, uint32_t row) const {
    if (step_.reach == 0) return {0, text.count};
    const uint64_t last = uint64_t{row} + step_.reach + 1;
    return {row - std::min(row, step_.reach),
            static_cast<uint32_t>(std::min<uint64_t>(last, text.count))};
  }

  void attend_rows(const Text& text, uint32_t kv_head, const Range& rows) {
    store(text, kv_head, {seen(text, rows.first).first, seen(text, rows.last - 1).last});
    const uint32_t most = static_cast<uint32_t>(c_.kernels().max_queries);
    const uint32_t end = rows.last * step_.group;
    for (uint32_t first = rows.first * step_.group; first < end; first += most) {
      attend(text, kv_head, first, std::min(most, end - first));
    }
  }

  void store(const Text& text, uint32_t kv_head, const Range& positions) {
    stored_ = positions;
    const KeysAndValues& from = *step_.stored;
    const uint32_t column = kv_head * step_.head_dim;
    for (uint32_t position = positions.first; position < positions.last; position++) {
      const uint32_t row = text.first_row + position;
      const float* k = c_.row(from.k, row) + column;
      const KvPage page = page_of(position / kPage);
      c_.kernels().kv_store(prepared(step_, c_, k, row, &HeadNorms::k, c_.scratch()),
                            c_.row(from.v, row) + column, static_cast<int>(step_.head_dim),
                            static_cast<int>(position % kPage), &page, nullptr, 0);
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
  void attend(const Text& text, uint32_t kv_head, uint32_t first, uint32_t count) {
    const auto row_of = [&](uint32_t n) { return (first + n) / step_.group; };
    for (uint32_t n = 0; n < count; n++) {
      pack_query(step_, c_, n, text.first_row + row_of(n), head_of(kv_head, first + n), false);
    }
    const Partial total = running_partial(c_), part = span_partial(c_, step_.head_dim);
    const uint32_t begin = seen(text, row_of(0)).first / kSpan;
    const uint32_t end = (seen(text, row_of(count - 1)).last + kSpan - 1) / kSpan;
    for (uint32_t span = begin; span < end; span++) {
      attend_span(text, first, count, span, span == begin ? total : part);
      if (span == begin) continue;
      merge_queries(step_, c_, count, span, total, part,
                    [&](uint32_t n) { return seen(text, row_of(n)); });
    }
    for (uint32_t n = 0; n < count; n++) {
      finish_query(step_, c_, n, text.first_row + row_of(n), head_of(kv_head, first + n), total);
    }
  }

  void attend_span(const Text& text, uint32_t first, uint32_t count, uint32_t span,
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

  // Blocks of kTextBlock queries, which are numbered as above.
  void attend_blocks(const Text& text, uint32_t kv_head, const Range& blocks) {
    const uint32_t first = blocks.first * kTextBlock;
    const uint32_t end = std::min<uint32_t>(blocks.last * kTextBlock, text.count * step_.group);
    stored_ = {seen(text, first / step_.group).first / kTextKeys * kTextKeys,
               seen(text, (end - 1) / step_.group).last};
    store_blocks(text, kv_head);
    for (uint32_t n = first; n < end; n += most_queries()) {
      attend_queries(text, kv_head, n, std::min(most_queries(), end - n));
    }
  }

  // Whose rows, where they are rotated, have room in the scratch.
  uint32_t most_queries() const {
    const uint32_t room = std::min<uint32_t>(kTextRowFloats / step_.head_dim, kTextQueries);
    return room / kernels_->block * kernels_->block;
  }

  // `count` keys and values of the text.
  TextKeys keys_of(const Text& text, uint32_t kv_head, uint32_t first, uint32_t count) const {
    const uint32_t column = kv_head * step_.head_dim;
    TextKeys keys;
    for (uint32_t n = 0; n < count; n++) {
      const uint32_t row = text.first_row + first + n;
      keys.k[n] = prepared(step_, c_, c_.row(step_.stored->k, row) + column, row, &HeadNorms::k,
                           c_.scratch() + n * step_.head_dim);
      keys.v[n] = c_.row(step_.stored->v, row) + column;
    }
    keys.count = static_cast<int>(count);
    keys.head_dim = static_cast<int>(step_.head_dim);
    return keys;
  }

  void store_blocks(const Text& text, uint32_t kv_head) {
    const float* common = mean_key(text, kv_head);
    uint8_t* to = stored_keys();
    for (uint32_t first = stored_.first; first < stored_.last; first += kTextKeys) {
      const uint32_t count = std::min<uint32_t>(kTextKeys, stored_.last - first);
      TextKeys keys = keys_of(text, kv_head, first, count);
      keys.common = common;
      keys.to = to;
      kernels_->store(&keys);
      to += kernels_->key_bytes(keys.head_dim);
    }
  }

  // Of the text's first positions, whichever are stored.
  const float* mean_key(const Text& text, uint32_t kv_head) const {
    const TextKeys keys = keys_of(text, kv_head, 0, std::min<uint32_t>(kTextKeys, text.count));
    float* mean = c_.scratch() + kTextRowFloats;
    std::copy_n(keys.k[0], step_.head_dim, mean);
    for (int n = 1; n < keys.count; n++) c_.kernels().add(mean, keys.k[n], keys.head_dim, mean);
    c_.kernels().scale(mean, 1.0f / static_cast<float>(keys.count), keys.head_dim, mean);
    return mean;
  }

  // The kernels' own memory comes before the keys and values.
  uint8_t* stored_keys() const {
    return c_.own_pages() + kernels_->scratch(static_cast<int>(step_.head_dim));
  }

  void attend_queries(const Text& text, uint32_t kv_head, uint32_t first, uint32_t count) {
    const Buffer& out = c_.buffer(step_.out);
    const View v = step_.stored->v;
    TextQueries queries;
    for (uint32_t n = 0; n < count; n++) {
      const uint32_t row = (first + n) / step_.group;
      const uint32_t column = head_of(kv_head, first + n) * step_.head_dim;
      float* own = c_.scratch() + n * step_.head_dim;
      queries.q[n] = prepared(step_, c_, c_.row(step_.q, text.first_row + row) + column,
                              text.first_row + row, &HeadNorms::q, own);
      queries.out[n] =
          out.group ? own : out.values + size_t{text.first_row + row} * out.stride + column;
      const Range positions = seen(text, row);
      queries.start[n] = static_cast<int>(positions.first);
      queries.limit[n] = static_cast<int>(positions.last);
    }
    queries.count = static_cast<int>(count);
    queries.head_dim = static_cast<int>(step_.head_dim);
    queries.scale = step_.scale;
    queries.first = static_cast<int>(stored_.first);
    queries.keys = stored_keys();
    queries.v = c_.row(v, text.first_row) + kv_head * step_.head_dim;
    queries.v_stride = c_.buffer(v.buffer).stride;
    queries.scratch = c_.own_pages();
    kernels_->attend(&queries);
    for (uint32_t n = 0; n < count && out.group != 0; n++) {
      const PanelRow to = c_.panel_row(out, text.first_row + (first + n) / step_.group,
                                       head_of(kv_head, first + n) * step_.head_dim);
      c_.kernels().quantize_row(queries.out[n], queries.head_dim, static_cast<int>(out.group), &to);
    }
  }

  uint32_t head_of(uint32_t kv_head, uint32_t query) const {
    return kv_head * step_.group + query % step_.group;
  }

  const BidirectionalStep& step_;
  const Context& c_;
  const TextKernels* kernels_ = nullptr;
  Range stored_{0, 0};
};

size_t text_bytes(const TextKernels& kernels, int head_dim, uint32_t rows) {
  if (kernels.attend == nullptr) return 0;
  return kernels.scratch(head_dim) + (size_t{rows} / kTextKeys + 1) * kernels.key_bytes(head_dim);
}

}  // namespace

void run(const BidirectionalStep& step, const Context& c) { TextAttention(step, c).run(); }

size_t own_page_bytes(const Plan& plan, const KernelTable& kernels, uint32_t rows) {
  size_t bytes = 0;
  for (const Step& step : plan.steps) {
    const auto* attention = std::get_if<BidirectionalStep>(&step.operation);
    if (attention == nullptr) continue;
    const int head_dim = static_cast<int>(attention->head_dim);
    const size_t wanted[] = {(size_t{rows} / kPage + 1) * page_bytes(attention->head_dim),
                             text_bytes(kernels.text, head_dim, rows),
                             plan.of_features ? text_bytes(kernels.text_int8, head_dim, rows) : 0};
    bytes = std::max(bytes, *std::max_element(std::begin(wanted), std::end(wanted)));
  }
  return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;  // kernels load whole lines
}

}  // namespace cactus
