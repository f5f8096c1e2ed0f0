#include "kv_pool.h"

#include <sys/mman.h>

#include <string>

#include "error.h"
#include "memory.h"
#include "threads.h"

namespace cactus {

namespace {

// From the system and not from malloc, which may keep what is freed, or zero what it hands out.
void* map_page(size_t bytes) {
  void* page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : page;
}

}  // namespace

KvPool::KvPool(uint64_t limit) : limit_(limit), forks_(fork_generation()) {}

KvPool::~KvPool() {
  if (forks_ == fork_generation()) drop_kept();
}

void KvPool::drop_kept() noexcept {
  for (const auto& [bytes, pages] : kept_) {
    for (void* page : pages) munmap(page, bytes);
  }
  kept_.clear();
  kept_bytes_ = 0;
}

bool KvPool::system_has(size_t bytes) {
  if (unseen_ + bytes <= kLook) return true;
  const uint64_t available = available_memory();
  if (available < kLeft || available - kLeft < bytes) return false;
  unseen_ = 0;
  return true;
}

void* KvPool::take(size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto fail = [&](const std::string& why) {
    throw Error(CACTUS_ERROR_MEMORY, "the keys and values of all sessions take " +
                                         in_mebibytes(used_) + ", and " + in_mebibytes(bytes) +
                                         " more are needed, " + why);
  };
  if (limit_ != 0 && used_ + bytes > limit_) {
    fail("over their limit of " + in_mebibytes(limit_) + "; close a session, or allow more");
  }
  std::vector<void*>& kept = kept_[bytes];
  // So that giving back, which must not fail, has room.
  if (kept.capacity() == 0) kept.reserve(kKept / bytes + 1);
  void* page = nullptr;
  if (!kept.empty()) {
    page = kept.back();
    kept.pop_back();
    kept_bytes_ -= bytes;
  } else {
    const auto from_system = [&] { return system_has(bytes) ? map_page(bytes) : nullptr; };
    page = from_system();
    if (page == nullptr && kept_bytes_ != 0) {
      drop_kept();
      page = from_system();
    }
    if (page == nullptr) {
      fail("more than is available; end other programs, or close a session");
    }
    unseen_ += bytes;
  }
  used_ += bytes;
  return page;
}

void KvPool::give_back(void* page, size_t bytes) noexcept {
  // The lock may be held by a thread that only the parent process has; the page stays mapped.
  if (forks_ != fork_generation()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  used_ -= bytes;
  if (const auto found = kept_.find(bytes); found != kept_.end() &&
                                            found->second.size() < found->second.capacity() &&
                                            kept_bytes_ + bytes <= kKept) {
    found->second.push_back(page);
    kept_bytes_ += bytes;
  } else {
    munmap(page, bytes);
  }
}

uint64_t KvPool::used() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_;
}

}  // namespace cactus
