// One conversation's state: KV pages, the recent columns of its convolutions, and its memory.
//
// A page holds 64 positions of the attention layers that see equally far back; a session gives back
// the pages that layers with a window no longer see. Every 256 positions the last input columns of
// every convolution are kept, too, so that a session can go back there. Pages are shared between
// forks and copied, as far as they are filled, by whoever writes first. Memory, the keys and values
// of what an encoder heard, lies in pages of its own: it is written as a whole and does not grow
// with the tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/kernels.h"
#include "kv_pool.h"
#include "plan.h"

namespace cactus {

// The pages of a span.
struct SpanPages {
  uint8_t* pages[kSpanPages];
};

// Where the slots of a plan lie inside a page and inside the rings.
struct StateLayout {
  explicit StateLayout(const Plan& plan);

  struct Kv {
    size_t offset;  // bytes from the start of the page: keys of all heads, then values
    uint32_t heads, head_dim;
    bool quantized, memory;
    uint32_t kind;  // of the pages: the number of their group; of memory, that of all groups
    size_t number_bytes() const { return size_t{head_dim} * kPage * (quantized ? 1 : 2); }
    // Of the keys or the values of one head.
    size_t head_bytes() const { return number_bytes() + (quantized ? kPage * sizeof(float) : 0); }
    // The keys and values of one head in a page, or in those of a span.
    KvPage part_of(uint8_t* page, uint32_t head) const;
    KvSpan part_of(const SpanPages& span, uint32_t head) const;
  };
  struct Conv {
    size_t ring_offset;  // floats from the start of the ring buffer
    size_t tail_offset;  // floats from the start of the columns that are kept
    uint32_t width, taps;
    int ring;  // columns
  };
  // Slots whose attention sees `window` positions, 0: all; their pages come and go together.
  struct Group {
    uint32_t window;
    size_t bytes = 0;  // of a page
  };
  std::vector<Kv> kv;      // by slot, unused entries have heads 0
  std::vector<Conv> conv;  // by slot, unused entries have width 0
  std::vector<Group> groups;
  size_t memory_bytes = 0;  // of a page of memory
  size_t tail_floats = 0;
  size_t ring_floats = 0;
  bool recurrent = false;

  uint32_t memory_kind() const { return static_cast<uint32_t>(groups.size()); }
  // The kinds that there are.
  uint32_t page_kinds() const { return memory_kind() + (memory_bytes != 0); }
  // The first position that a token at `position` sees.
  uint32_t first_seen(uint32_t group, uint32_t position) const;
  // Bytes of 64 positions of a session, memory apart.
  size_t page_bytes() const;
  // Throws CACTUS_ERROR_PLAN where a plan with the same slots sees further back than this one.
  void check_windows(const Plan& plan) const;
  // Copies the first `filled` positions of a page of a group.
  void copy(uint32_t group, const Page& from, const Page& to, uint32_t filled) const;
};

class Session {
 public:
  // Columns that a convolution can be taken back without the columns that were kept.
  static constexpr int kRollback = 32;
  // Positions that layers with a window can be taken back.
  static constexpr uint32_t kWindowRollback = 1024;

  Session(std::shared_ptr<const StateLayout> layout, std::shared_ptr<KvPool> pool);
  Session(const Session&) = default;

  uint32_t length() const { return length_; }
  // Makes pages for `count` more positions, owned by this session alone; throws with nothing
  // changed.
  void reserve(uint32_t count);
  // Gives back what a step that came to nothing had reserved.
  void drop_surplus();
  // Moves past `count` positions whose state the step has written.
  void advance(uint32_t count);
  uint32_t truncate(uint32_t length);
  // Makes pages for a memory of `count` positions, owned by this session alone; forgets the old
  // memory, and all tokens, which had attended to it.
  void reserve_memory(uint32_t count);
  void remember(uint32_t count) { memory_length_ = count; }
  uint32_t memory_length() const { return memory_length_; }
  bool shares_memory(const Session& other) const { return memory_ == other.memory_; }
  void restore(const Session& from);
  const StateLayout& layout() const { return *layout_; }

  // The page of position / kPage, in the tokens or the memory.
  uint8_t* page(uint32_t kind, size_t page) const { return pages_of(kind)[page].data(); }
  // The pages of the span position / kSpan. What the session does not have, and nobody may read, is
  // some other page.
  SpanPages span(uint32_t kind, size_t span) const;
  float* ring(uint32_t slot) { return rings_.data() + layout_->conv[slot].ring_offset; }
  // The columns of the last taps - 1 positions of the span, [taps - 1][width].
  float* tail(size_t span, uint32_t slot) {
    return reinterpret_cast<float*>(tails_[span].data()) + layout_->conv[slot].tail_offset;
  }

 private:
  using Pages = std::vector<Page>;

  Page fresh(size_t bytes) const { return Page(pool_, bytes); }
  const Pages& pages_of(uint32_t kind) const {
    return kind < pages_.size() ? pages_[kind] : memory_;
  }
  bool can_go_back_to(uint32_t length) const;
  void load_tails(uint32_t boundary);

  std::shared_ptr<const StateLayout> layout_;
  std::shared_ptr<KvPool> pool_;
  std::vector<Pages> pages_;  // by group; none where a window has passed
  Pages memory_, tails_;
  std::vector<float> rings_;
  uint32_t length_ = 0, memory_length_ = 0;
  uint32_t ring_start_ = 0;  // the rings can take the session back to any length from here on
};

}  // namespace cactus
