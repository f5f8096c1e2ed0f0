#include "memory.h"

#include <cstdio>
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

Block::Block(size_t bytes) : memory_(std::calloc(bytes + 64, 1), std::free) {
  if (memory_ == nullptr) throw std::bad_alloc();
  aligned_ =
      reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) & ~uintptr_t{63});
}

}  // namespace cactus
