#include "memory.h"

#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#include "error.h"
#include "platform/memory.h"

namespace cactus {

std::string in_mebibytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / 0x1p20);
  return text;
}

void check_available(uint64_t bytes, const std::string& what) {
  const uint64_t available = available_memory();
  check(bytes <= available, CACTUS_ERROR_MEMORY,
        what + " take " + in_mebibytes(bytes) + ", " + in_mebibytes(available) +
            " of memory are available; end other programs, or allow this one more");
}

namespace {

constexpr size_t kLargePage = size_t{2} << 20;

void* aligned(void* memory, size_t alignment) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(memory) + alignment - 1;
  return reinterpret_cast<void*>(at / alignment * alignment);
}

}  // namespace

Block::Block(size_t bytes) {
  const bool large = bytes >= 2 * kLargePage;
  const size_t alignment = large ? kLargePage : 64;
  const size_t whole = bytes + alignment;
  memory_ = {large ? map_memory(whole, true) : std::calloc(whole, 1), Free{large ? whole : 0}};
  if (memory_ == nullptr) throw std::bad_alloc();
  aligned_ = aligned(memory_.get(), alignment);
}

void Block::Free::operator()(void* memory) const {
  mapped != 0 ? unmap_memory(memory, mapped) : std::free(memory);
}

}  // namespace cactus
