#include "session.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "error.h"

namespace cactus {

StateLayout::StateLayout(const Plan& plan) : kv(plan.slots.size()), conv(plan.slots.size()) {
  for (size_t n = 0; n < plan.slots.size(); n++) {
    const SlotRecord& slot = plan.slots[n];
    if (slot.kind != static_cast<uint32_t>(SlotKind::kConv)) {
      const bool memory = slot.kind == static_cast<uint32_t>(SlotKind::kMemory);
      size_t& bytes = memory ? memory_bytes : kv_bytes;
      kv[n] = {bytes, slot.a, slot.b, slot.quantized != 0, memory};
      bytes += size_t{2} * slot.a * kv[n].head_bytes();
    } else {
      const int ring = static_cast<int>(slot.b) - 1 + Session::kRollback;
      conv[n] = {ring_floats, tail_floats, slot.a, slot.b, ring};
      ring_floats += static_cast<size_t>(ring) * slot.a;
      tail_floats += static_cast<size_t>(slot.b - 1) * slot.a;
      recurrent = true;
    }
  }
}

Page::Page(size_t kv_bytes, size_t tail_floats)
    : kv_bytes_(std::max<size_t>(kv_bytes, 1)),
      // calloc: a large block comes as zero pages that take no memory until they are written.
      kv_(static_cast<uint8_t*>(std::calloc(kv_bytes_, 1)), std::free),
      tail_(tail_floats) {
  if (kv_ == nullptr) throw std::bad_alloc();
}

Page::Page(const Page& other)
    : kv_bytes_(other.kv_bytes_),
      kv_(static_cast<uint8_t*>(std::malloc(kv_bytes_)), std::free),
      tail_(other.tail_) {
  if (kv_ == nullptr) throw std::bad_alloc();
  std::memcpy(kv_.get(), other.kv_.get(), kv_bytes_);
}

Session::Session(std::shared_ptr<const StateLayout> layout)
    : layout_(std::move(layout)), rings_(layout_->ring_floats) {}

void Session::reserve(uint32_t count) {
  if (count == 0) return;
  const size_t first = length_ / kPage, last = (length_ + count - 1) / kPage;
  pages_.reserve(last + 1);
  // Pages that others hold too: the first may have a past worth copying, those after it (left by a
  // step that failed) have none.
  for (size_t page = first; page <= last && page < pages_.size(); page++) {
    if (pages_[page].use_count() == 1) continue;
    pages_[page] = page == first ? std::make_shared<Page>(*pages_[page]) : fresh();
  }
  while (pages_.size() <= last) pages_.push_back(fresh());
}

void Session::reserve_memory(uint32_t count) {
  std::vector<std::shared_ptr<Page>> pages(memory_);
  pages.resize((count + kPage - 1) / kPage);
  for (std::shared_ptr<Page>& page : pages) {
    // Twice: here and in this session.
    if (page == nullptr || page.use_count() > 2) {
      page = std::make_shared<Page>(layout_->memory_bytes, 0);
    }
  }
  memory_.swap(pages);
  memory_length_ = 0;
  truncate(0);
}

void Session::advance(uint32_t count) {
  length_ += count;
  if (length_ > kRollback) ring_start_ = std::max(ring_start_, length_ - kRollback);
}

// Fills the rings with the columns before a page boundary.
void Session::load_tails(uint32_t boundary) {
  for (uint32_t slot = 0; slot < layout_->conv.size(); slot++) {
    const StateLayout::Conv& conv = layout_->conv[slot];
    if (conv.width == 0) continue;
    const float* columns = tail(boundary / kPage - 1, slot);
    for (uint32_t j = 0; j + 1 < conv.taps; j++) {
      const uint32_t column = (boundary - (conv.taps - 1) + j) % static_cast<uint32_t>(conv.ring);
      std::memcpy(ring(slot) + size_t{column} * conv.width, columns + size_t{j} * conv.width,
                  conv.width * sizeof(float));
    }
  }
}

uint32_t Session::truncate(uint32_t length) {
  if (length >= length_) return length_;
  uint32_t reached = length;
  if (layout_->recurrent && length < ring_start_) {
    reached = length / kPage * kPage;
    if (reached > 0) load_tails(reached);
    ring_start_ = reached;
  }
  length_ = reached;
  ring_start_ = std::min(ring_start_, length_);
  pages_.resize((length_ + kPage - 1) / kPage);
  return reached;
}

void Session::restore(const Session& from) {
  check(layout_ == from.layout_, CACTUS_ERROR_ARGUMENT,
        "a session can only be restored from a session of the same program");
  if (this == &from) return;
  Session copy(from);
  std::swap(pages_, copy.pages_);
  std::swap(memory_, copy.memory_);
  memory_length_ = copy.memory_length_;
  std::swap(rings_, copy.rings_);
  length_ = copy.length_;
  ring_start_ = copy.ring_start_;
}

KvPage Session::kv(size_t page, uint32_t slot, uint32_t head) const {
  const StateLayout::Kv& kv = layout_->kv[slot];
  uint8_t* k = (kv.memory ? memory_ : pages_)[page]->kv() + kv.offset + head * kv.head_bytes();
  uint8_t* v = k + kv.heads * kv.head_bytes();
  if (!kv.quantized) return {k, v, nullptr, nullptr};
  return {k, v, reinterpret_cast<float*>(k + kv.number_bytes()),
          reinterpret_cast<float*>(v + kv.number_bytes())};
}

}  // namespace cactus
