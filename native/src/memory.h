// Blocks of memory, and the check before they are taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace cactus {

// Throws CACTUS_ERROR_MEMORY with the figures where `bytes` more are not available for `what`.
void check_available(uint64_t bytes, const std::string& what);

// "12.3 MiB"
std::string in_mebibytes(uint64_t bytes);

// Zeros, aligned to a cache line. A large block takes memory only where it is written, in large
// pages where the system has them: rows of a step lie in several buffers, and in small pages the
// processor would look up the address of each 4 KiB anew.
class Block {
 public:
  Block() = default;
  // Throws std::bad_alloc.
  explicit Block(size_t bytes);
  template <class T>
  T* as() const {
    return static_cast<T*>(aligned_);
  }

 private:
  struct Free {
    size_t mapped;  // bytes, or 0 where malloc has it
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_{nullptr, Free{0}};
  void* aligned_ = nullptr;
};

}  // namespace cactus
