#include "arena.h"

#include <algorithm>
#include <numeric>

namespace cactus {

namespace {

// Steps [first, last].
struct Life {
  size_t first, last;
};

// The lives of every buffer's values, in order.
std::vector<std::vector<Life>> lives_of(const Plan& plan) {
  std::vector<std::vector<Life>> lives(plan.buffers.size());
  for (size_t n = 0; n < plan.steps.size(); n++) {
    const Step& step = plan.steps[n];
    bool in_place = false;
    for (uint32_t in : step.reads) {
      std::vector<Life>& life = lives[in];
      if (life.empty()) life.push_back({0, n});
      life.back().last = n;
      in_place |= in == step.writes;
    }
    if (step.writes && !in_place) lives[*step.writes].push_back({n, n});
  }
  for (size_t b = 0; b < lives.size(); b++) {
    const BufferRecord& buffer = plan.buffers[b];
    // The columns behind the last are zero once and for all, and a kept value outlives the step.
    if (buffer.rows == 2 || buffer.width != padded(buffer.width)) {
      lives[b] = {{0, plan.steps.size()}};
    }
  }
  return lives;
}

bool meet(const std::vector<Life>& a, const std::vector<Life>& b) {
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i].last < b[j].first) {
      i++;
    } else if (b[j].last < a[i].first) {
      j++;
    } else {
      return true;
    }
  }
  return false;
}

}  // namespace

Arena place_buffers(const Plan& plan, const std::vector<uint64_t>& sizes) {
  const std::vector<std::vector<Life>> lives = lives_of(plan);
  const auto padded_size = [&](size_t b) { return (sizes[b] + 63) / 64 * 64; };
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  Arena arena;
  arena.offsets.assign(sizes.size(), 0);
  std::vector<size_t> placed;  // by offset
  for (size_t b : order) {
    if (sizes[b] == 0) break;
    if (lives[b].empty()) continue;  // no step uses it
    // The lowest gap between those that it may not overwrite.
    uint64_t offset = 0;
    for (size_t other : placed) {
      if (!meet(lives[b], lives[other])) continue;
      if (offset + padded_size(b) <= arena.offsets[other]) break;
      offset = std::max(offset, arena.offsets[other] + padded_size(other));
    }
    arena.offsets[b] = offset;
    arena.bytes = std::max(arena.bytes, offset + padded_size(b));
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](uint64_t at, size_t other) { return at < arena.offsets[other]; }),
        b);
  }
  return arena;
}

}  // namespace cactus
