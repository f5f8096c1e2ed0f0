#include "session.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "error.h"

namespace cactus {

namespace {

// The step's attention to the past of its session, or null.
const AttentionStep* attention_of(const Step& step) {
  const auto* attention = std::get_if<AttentionStep>(&step.operation);
  return attention != nullptr && !attention->shape.memory ? attention : nullptr;
}

size_t in_pages(uint32_t positions, int size) {
  return (size_t{positions} + static_cast<size_t>(size) - 1) / static_cast<size_t>(size);
}

// Columns that are kept of a span; of one tap there are none.
size_t tail_bytes(const StateLayout& layout) {
  return std::max<size_t>(64, layout.tail_floats * sizeof(float));
}

}  // namespace

StateLayout::StateLayout(const Plan& plan) : kv(plan.slots.size()), conv(plan.slots.size()) {
  std::vector<std::optional<uint32_t>> windows(plan.slots.size());
  for (const Step& step : plan.steps) {
    const AttentionStep* attention = attention_of(step);
    if (attention == nullptr) continue;
    std::optional<uint32_t>& window = windows[attention->slot];
    const uint32_t other = window.value_or(attention->shape.window);
    const bool all = other == 0 || attention->shape.window == 0;
    window = all ? 0 : std::max(other, attention->shape.window);
  }
  for (size_t n = 0; n < plan.slots.size(); n++) {
    const SlotRecord& slot = plan.slots[n];
    if (slot.kind == static_cast<uint32_t>(SlotKind::kConv)) {
      const int ring = static_cast<int>(slot.b) - 1 + Session::kRollback;
      conv[n] = {ring_floats, tail_floats, slot.a, slot.b, ring};
      ring_floats += static_cast<size_t>(ring) * slot.a;
      tail_floats += static_cast<size_t>(slot.b - 1) * slot.a;
      recurrent = true;
      continue;
    }
    const bool memory = slot.kind == static_cast<uint32_t>(SlotKind::kMemory);
    const uint32_t window = windows[n].value_or(0);
    uint32_t group = 0;
    if (!memory) {
      while (group < groups.size() && groups[group].window != window) group++;
      if (group == groups.size()) groups.push_back({window});
    }
    size_t& bytes = memory ? memory_bytes : groups[group].bytes;
    kv[n] = {bytes, slot.a, slot.b, slot.quantized != 0, memory, group};
    bytes += size_t{2} * slot.a * kv[n].head_bytes();
  }
  for (Kv& slot : kv) {
    if (slot.memory) slot.kind = memory_kind();
  }
}

size_t StateLayout::page_bytes() const {
  size_t bytes = tail_floats * sizeof(float) * kPage / kSpan;
  for (const Group& group : groups) bytes += group.bytes;
  return bytes;
}

void StateLayout::check_windows(const Plan& plan) const {
  for (const Step& step : plan.steps) {
    const AttentionStep* attention = attention_of(step);
    if (attention == nullptr) continue;
    const uint32_t most = groups[kv[attention->slot].kind].window, window = attention->shape.window;
    check(most == 0 || (window != 0 && window <= most), CACTUS_ERROR_PLAN,
          "plan: sees further back than the program that it shares");
  }
}

void StateLayout::copy(uint32_t group, const Page& from, const Page& to, uint32_t filled) const {
  for (const Kv& slot : kv) {
    if (slot.heads == 0 || slot.kind != group) continue;
    const size_t row = slot.number_bytes() / kPage;
    for (size_t part = 0; part < size_t{2} * slot.heads; part++) {
      const size_t at = slot.offset + part * slot.head_bytes();
      // Keys lie in blocks of 16 positions, values of int8 in blocks of 4.
      const size_t block = part < slot.heads ? 16 : slot.quantized ? 4 : 1;
      const size_t positions = (filled + block - 1) / block * block;
      std::memcpy(to.data() + at, from.data() + at, positions * row);
      if (!slot.quantized) continue;
      const size_t scales = at + slot.number_bytes();
      std::memcpy(to.data() + scales, from.data() + scales, filled * sizeof(float));
    }
  }
}

Session::Session(std::shared_ptr<const StateLayout> layout, std::shared_ptr<KvPool> pool)
    : layout_(std::move(layout)),
      pool_(std::move(pool)),
      pages_(layout_->groups.size()),
      rings_(layout_->ring_floats) {}

uint32_t StateLayout::first_seen(uint32_t group, uint32_t position) const {
  const uint32_t window = groups[group].window;
  return window == 0 || position < window ? 0 : position + 1 - window;
}

void Session::reserve(uint32_t count) {
  if (count == 0) return;
  const size_t first = length_ / kPage, last = (length_ + count - 1) / kPage;
  const uint32_t filled = length_ % kPage;
  const uint32_t back = length_ - std::min(length_, kWindowRollback);
  try {
    for (uint32_t group = 0; group < pages_.size(); group++) {
      Pages& pages = pages_[group];
      for (size_t page = layout_->first_seen(group, back) / kPage; page-- > 0 && pages[page];) {
        pages[page].reset();
      }
      pages.reserve(last + 1);
      for (size_t page = first; page <= last; page++) {
        const bool there = page < pages.size();
        if (there && pages[page].owners() == 1) continue;
        Page own = fresh(layout_->groups[group].bytes);
        if (page == first && filled != 0) layout_->copy(group, pages[page], own, filled);
        if (!there) pages.emplace_back();
        pages[page] = std::move(own);
      }
    }
    // The columns of a span are written when it is full, so there is nothing in them to copy.
    for (size_t span = length_ / kSpan; layout_->recurrent && span <= last / kSpanPages; span++) {
      if (span == tails_.size()) tails_.emplace_back();
      if (!tails_[span] || tails_[span].owners() != 1) tails_[span] = fresh(tail_bytes(*layout_));
    }
  } catch (...) {
    drop_surplus();
    throw;
  }
}

void Session::drop_surplus() {
  for (Pages& pages : pages_) pages.resize(std::min(pages.size(), in_pages(length_, kPage)));
  tails_.resize(std::min(tails_.size(), in_pages(length_, kSpan)));
}

void Session::reserve_memory(uint32_t count) {
  Pages pages(memory_);
  pages.resize(layout_->memory_bytes == 0 ? 0 : in_pages(count, kPage));
  for (Page& page : pages) {
    // Twice: here and in this session.
    if (!page || page.owners() > 2) page = fresh(layout_->memory_bytes);
  }
  memory_.swap(pages);
  memory_length_ = 0;
  truncate(0);
}

void Session::advance(uint32_t count) {
  length_ += count;
  if (length_ > kRollback) ring_start_ = std::max(ring_start_, length_ - kRollback);
}

// Fills the rings with the columns before the end of a span.
void Session::load_tails(uint32_t boundary) {
  for (uint32_t slot = 0; slot < layout_->conv.size(); slot++) {
    const StateLayout::Conv& conv = layout_->conv[slot];
    if (conv.width == 0) continue;
    const float* columns = tail(boundary / kSpan - 1, slot);
    for (uint32_t j = 0; j + 1 < conv.taps; j++) {
      const uint32_t column = (boundary - (conv.taps - 1) + j) % static_cast<uint32_t>(conv.ring);
      std::memcpy(ring(slot) + size_t{column} * conv.width, columns + size_t{j} * conv.width,
                  conv.width * sizeof(float));
    }
  }
}

// Whether the next token would see only pages that are still there.
bool Session::can_go_back_to(uint32_t length) const {
  for (uint32_t group = 0; group < pages_.size(); group++) {
    if (!pages_[group][layout_->first_seen(group, length) / kPage]) return false;
  }
  return true;
}

uint32_t Session::truncate(uint32_t length) {
  if (length >= length_) return length_;
  uint32_t reached = length;
  const bool by_tails = layout_->recurrent && length < ring_start_;
  if (by_tails) reached = length / kSpan * kSpan;
  if (reached > 0 && !can_go_back_to(reached)) reached = 0;
  if (by_tails || reached == 0) {
    if (reached > 0) load_tails(reached);
    ring_start_ = reached;
  }
  length_ = reached;
  ring_start_ = std::min(ring_start_, length_);
  drop_surplus();
  return reached;
}

void Session::restore(const Session& from) {
  check(layout_ == from.layout_, CACTUS_ERROR_ARGUMENT,
        "a session can only be restored from a session of the same program");
  if (this == &from) return;
  Session copy(from);
  std::swap(pages_, copy.pages_);
  std::swap(memory_, copy.memory_);
  std::swap(tails_, copy.tails_);
  memory_length_ = copy.memory_length_;
  std::swap(rings_, copy.rings_);
  length_ = copy.length_;
  ring_start_ = copy.ring_start_;
}

KvPage StateLayout::Kv::part_of(uint8_t* page, uint32_t head) const {
  uint8_t* k = page + offset + head * head_bytes();
  uint8_t* v = k + heads * head_bytes();
  if (!quantized) return {k, v, nullptr, nullptr};
  return {k, v, reinterpret_cast<float*>(k + number_bytes()),
          reinterpret_cast<float*>(v + number_bytes())};
}

KvSpan StateLayout::Kv::part_of(const SpanPages& span, uint32_t head) const {
  KvSpan result;
  for (int n = 0; n < kSpanPages; n++) result.pages[n] = part_of(span.pages[n], head);
  return result;
}

SpanPages Session::span(uint32_t kind, size_t span) const {
  const Pages& pages = pages_of(kind);
  SpanPages result;
  for (size_t n = 0; n < kSpanPages; n++) {
    const size_t index = span * kSpanPages + n;
    const bool there = index < pages.size() && pages[index];
    result.pages[n] = (there ? pages[index] : pages.back()).data();
  }
  return result;
}

}  // namespace cactus
