// One conversation's state: KV pages, the recent columns of its convolutions, and its memory.
//
// A page holds 256 positions of every attention layer, and the last input columns of every
// convolution at its end, so that a session can go back to any page boundary. Pages are shared
// between forks and copied by whoever writes first. Memory, the keys and values of what an encoder
// heard, lies in pages of its own: it is written as a whole and does not grow with the tokens.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cpu/kernels.h"
#include "plan.h"

namespace cactus {

// Where the slots of a plan lie inside a page and inside the rings.
struct StateLayout {
  explicit StateLayout(const Plan& plan);

  struct Kv {
    size_t offset;  // bytes from the start of the page: keys of all heads, then values
    uint32_t heads, head_dim;
    bool quantized, memory;
    size_t number_bytes() const { return size_t{head_dim} * kPage * (quantized ? 1 : 2); }
    // Of the keys or the values of one head.
    size_t head_bytes() const { return number_bytes() + (quantized ? kPage * sizeof(float) : 0); }
  };
  struct Conv {
    size_t ring_offset;  // floats from the start of the ring buffer
    size_t tail_offset;  // floats from the start of the page's tail
    uint32_t width, taps;
    int ring;  // columns
  };
  std::vector<Kv> kv;       // by slot, unused entries have heads 0
  std::vector<Conv> conv;   // by slot, unused entries have width 0
  size_t kv_bytes = 0;      // keys and values of a page
  size_t memory_bytes = 0;  // of a page of memory
  size_t tail_floats = 0;
  size_t ring_floats = 0;
  bool recurrent = false;
};

class Page {
 public:
  Page(size_t kv_bytes, size_t tail_floats);
  Page(const Page& other);
  Page& operator=(const Page&) = delete;

  uint8_t* kv() { return kv_.get(); }
  float* tail() { return tail_.data(); }

 private:
  const size_t kv_bytes_;
  std::unique_ptr<uint8_t[], void (*)(void*)> kv_;
  std::vector<float> tail_;
};

class Session {
 public:
  // Columns that a convolution can be taken back without a page boundary.
  static constexpr int kRollback = 32;

  explicit Session(std::shared_ptr<const StateLayout> layout);
  Session(const Session&) = default;

  uint32_t length() const { return length_; }
  // Makes pages for `count` more positions, owned by this session alone; throws with nothing
  // changed.
  void reserve(uint32_t count);
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

  // The page's keys and values of one head; `page` is position / kPage, in the tokens or the
  // memory.
  KvPage kv(size_t page, uint32_t slot, uint32_t head) const;
  float* ring(uint32_t slot) { return rings_.data() + layout_->conv[slot].ring_offset; }
  // The columns of the page's last taps - 1 positions, [taps - 1][width].
  float* tail(size_t page, uint32_t slot) {
    return pages_[page]->tail() + layout_->conv[slot].tail_offset;
  }

 private:
  std::shared_ptr<Page> fresh() const {
    return std::make_shared<Page>(layout_->kv_bytes, layout_->tail_floats);
  }
  void load_tails(uint32_t boundary);

  std::shared_ptr<const StateLayout> layout_;
  std::vector<std::shared_ptr<Page>> pages_, memory_;
  std::vector<float> rings_;
  uint32_t length_ = 0, memory_length_ = 0;
  uint32_t ring_start_ = 0;  // the rings can take the session back to any length from here on
};

}  // namespace cactus
