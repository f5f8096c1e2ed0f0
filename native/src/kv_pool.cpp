#include "kv_pool.h"

#include <string>

#include "error.h"
#include "memory.h"
#include "platform/memory.h"
#include "platform/process.h"

namespace cactus {

KvPool::KvPool(uint64_t limit) : limit_(limit), forks_(fork_generation()) {}

KvPool::~KvPool() {
  if (forks_ == fork_generation()) drop_kept();
}

bool KvPool::drop_kept() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (kept_bytes_ == 0) return false;
  // The vectors stay, with the room that giving back needs.
  for (auto& [bytes, pages] : kept_) {
    for (void* page : pages) unmap_memory(page, bytes);
    pages.clear();
  }
  kept_bytes_ = 0;
  return true;
}

bool KvPool::system_has(size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    unseen_ += bytes;
    if (unseen_ <= kLook) return true;
  }
  const uint64_t available = available_memory();
  if (available < kLeft || available - kLeft < bytes) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  unseen_ = bytes;
  return true;
}

void* KvPool::take_from_system(size_t bytes) {
  // Attention reads all keys and values of a step once: in small pages the processor would look up
  // the address of each 4 KiB anew.
  return system_has(bytes) ? map_memory(bytes, true) : nullptr;
}

void KvPool::fail(size_t bytes, const std::string& why) const {
  throw Error(CACTUS_ERROR_MEMORY, "the keys and values of all sessions take " +
                                       in_mebibytes(used()) + ", and " + in_mebibytes(bytes) +
                                       " more are needed, " + why);
}

void* KvPool::take_kept(size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (limit_ != 0 && used_ + bytes > limit_) {
    fail(bytes, "over their limit of " + in_mebibytes(limit_) + "; close a session, or allow more");
  }
  std::vector<void*>& kept = kept_[bytes];
  // So that giving back, which must not fail, has room.
  if (kept.capacity() == 0) kept.reserve(kKept / bytes + 1);
  used_ += bytes;
  if (kept.empty()) return nullptr;
  void* page = kept.back();
  kept.pop_back();
  kept_bytes_ -= bytes;
  return page;
}

void* KvPool::take(size_t bytes) {
  void* page = take_kept(bytes);
  if (page == nullptr) page = take_from_system(bytes);
  if (page == nullptr && drop_kept()) page = take_from_system(bytes);
  if (page != nullptr) return page;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_ -= bytes;
  }
  fail(bytes, "more than is available; end other programs, or close a session");
}

void KvPool::give_back(void* page, size_t bytes) noexcept {
  // The lock may be held by a thread that only the parent process has; the page stays mapped.
  if (forks_ != fork_generation()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_ -= bytes;
    std::vector<void*>& kept = kept_.find(bytes)->second;  // made when the page was taken
    if (kept.size() < kept.capacity() && kept_bytes_ + bytes <= kKept) {
      kept.push_back(page);
      kept_bytes_ += bytes;
      return;
    }
  }
  unmap_memory(page, bytes);
}

Page::Page(std::shared_ptr<KvPool> pool, size_t bytes)
    : shared_(new Shared(std::move(pool), bytes)) {}

void Page::reset() noexcept {
  if (shared_ != nullptr && shared_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete shared_;
  }
  shared_ = nullptr;
}

}  // namespace cactus
