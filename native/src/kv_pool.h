// The memory of keys and values: pages of a few sizes, under one limit for all sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace cactus {

// Hands out pages that nobody has zeroed: what is in one before it is written is of no meaning.
// Pages that come back are kept for the next that asks, up to kKept bytes, and then go to the
// system. May be used from several threads.
class KvPool {
 public:
  // `limit` bytes may be in use at once; 0: as long as the machine has memory.
  explicit KvPool(uint64_t limit);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  // `bytes`, aligned to 64. Throws CACTUS_ERROR_MEMORY with the figures, and nothing was taken.
  void* take(size_t bytes);
  void give_back(void* page, size_t bytes) noexcept;

  uint64_t used() const;
  uint64_t limit() const { return limit_; }

 private:
  static constexpr uint64_t kKept = uint64_t{64} << 20;
  // How much is taken between two looks at what the machine has, and how much of that is left to
  // it. A page counts there only when it is written, which is soon after it was taken.
  static constexpr uint64_t kLook = uint64_t{16} << 20, kLeft = uint64_t{32} << 20;

  bool system_has(size_t bytes);
  void drop_kept() noexcept;

  const uint64_t limit_;
  const uint32_t forks_;  // of the process that may use it
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> kept_;  // by size
  uint64_t used_ = 0, kept_bytes_ = 0;
  uint64_t unseen_ = kLook;  // taken from the system since the last look
};

// A page of a pool, given back when nobody has it any more.
class Page {
 public:
  Page(std::shared_ptr<KvPool> pool, size_t bytes)
      : pool_(std::move(pool)), bytes_(bytes), memory_(pool_->take(bytes)) {}
  ~Page() { pool_->give_back(memory_, bytes_); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  uint8_t* data() const { return static_cast<uint8_t*>(memory_); }

 private:
  const std::shared_ptr<KvPool> pool_;
  const size_t bytes_;
  void* const memory_;
};

}  // namespace cactus
