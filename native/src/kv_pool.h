// The memory of keys and values: pages of a few sizes, under one limit for all sessions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cactus {

// Hands out pages that nobody has zeroed: what is in one before it is written is of no meaning.
// Pages that come back are kept for the next that asks, up to kKept bytes, and then go to the
// system. May be used from several threads. Its lock is held during calls of the system only where
// memory has run out.
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

  uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  uint64_t limit() const { return limit_; }

 private:
  static constexpr uint64_t kKept = uint64_t{64} << 20;
  // How much is taken between two looks at what the machine has, and how much of that is left to
  // it. A page counts there only when it is written, which is soon after it was taken.
  static constexpr uint64_t kLook = uint64_t{16} << 20, kLeft = uint64_t{32} << 20;

  // One that was kept, or null. Counts it as used either way.
  void* take_kept(size_t bytes);
  void* take_from_system(size_t bytes);
  bool system_has(size_t bytes);
  bool drop_kept() noexcept;
  [[noreturn]] void fail(size_t bytes, const std::string& why) const;

  const uint64_t limit_;
  const uint32_t forks_;  // of the process that may use it
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> kept_;  // by size
  std::atomic<uint64_t> used_{0};              // changed under the lock
  uint64_t kept_bytes_ = 0;
  uint64_t unseen_ = kLook;  // taken from the system since the last look
};

// A page of a pool that sessions share; given back when nobody has it any more.
class Page {
 public:
  Page() = default;
  Page(std::shared_ptr<KvPool> pool, size_t bytes);
  Page(const Page& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) shared_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Page(Page&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  Page& operator=(Page other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~Page() { reset(); }
  void reset() noexcept;

  explicit operator bool() const { return shared_ != nullptr; }
  bool operator==(const Page& other) const { return shared_ == other.shared_; }
  uint8_t* data() const { return static_cast<uint8_t*>(shared_->memory); }
  // How many have it. Where that is one, what the others have read lies before what it writes.
  uint32_t owners() const { return shared_->owners.load(std::memory_order_acquire); }

 private:
  struct Shared {
    Shared(std::shared_ptr<KvPool> from, size_t size)
        : pool(std::move(from)), bytes(size), memory(pool->take(size)) {}
    ~Shared() { pool->give_back(memory, bytes); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    const std::shared_ptr<KvPool> pool;
    const size_t bytes;
    void* const memory;
    std::atomic<uint32_t> owners{1};
  };
  Shared* shared_ = nullptr;
};

}  // namespace cactus
