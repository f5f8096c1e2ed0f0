// Blocks of memory, and the check before they are taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

namespace cactus {

// Throws CACTUS_ERROR_MEMORY with the figures where `bytes` more are not available for `what`.
void check_available(uint64_t bytes, const std::string& what);

// "12.3 MiB"
std::string in_mebibytes(uint64_t bytes);

// Zeros, aligned to a cache line. A large block takes memory only where it is written.
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
  std::unique_ptr<void, void (*)(void*)> memory_{nullptr, std::free};
  void* aligned_ = nullptr;
};

}  // namespace cactus
