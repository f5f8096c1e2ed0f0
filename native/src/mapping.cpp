#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>

#include "error.h"
#include "memory.h"
#include "threads.h"

namespace cactus {

namespace {

// Piece by piece, so that closing does not wait for the whole file. A file that is truncated
// meanwhile is an error here and not a signal, as touching its pages would be.
void make_present([[maybe_unused]] const uint8_t* data, [[maybe_unused]] size_t size,
                  [[maybe_unused]] const std::atomic<bool>& stopping) {
#if defined(MADV_POPULATE_READ)
  constexpr size_t kPiece = size_t{8} << 20;
  for (size_t at = 0; at < size && !stopping.load(std::memory_order_relaxed); at += kPiece) {
    void* piece = const_cast<uint8_t*>(data + at);
    if (madvise(piece, std::min(kPiece, size - at), MADV_POPULATE_READ) != 0) return;
  }
#endif
}

}  // namespace

Mapping::Mapping(const std::string& path, Reading reading) : path_(path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  descriptor_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  check(descriptor_ >= 0, CACTUS_ERROR_FILE, "cannot open " + path + ": " + std::strerror(errno));
  try {
    struct stat info;
    const auto need = [&](bool ok, const char* why) {
      check(ok, CACTUS_ERROR_FILE, path + ": " + why);
    };
    need(fstat(descriptor_, &info) == 0, std::strerror(errno));
    need(S_ISREG(info.st_mode), "is not a regular file");
    size_ = static_cast<size_t>(info.st_size);
    need(size_ != 0, "is empty");
    reading == Reading::kResident ? copy() : map();
  } catch (...) {
    if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
    close(descriptor_);
    throw;
  }
  if (reading == Reading::kResident) {
    close(descriptor_);
    descriptor_ = -1;
  }
  if (reading == Reading::kBackground) preload();
}

void Mapping::map() {
  void* address = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  check(address != MAP_FAILED, CACTUS_ERROR_FILE,
        path_ + ": cannot be mapped: " + std::strerror(errno));
  data_ = static_cast<const uint8_t*>(address);
  // Advice only: a system that does not know it reads the pages as they are touched.
  madvise(address, size_, MADV_WILLNEED);
}

void Mapping::copy() {
  check_available(size_, path_ + ": the weights");
  void* address = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  uint8_t* data = static_cast<uint8_t*>(address);
  data_ = data;
#if defined(MADV_HUGEPAGE)
  madvise(address, size_, MADV_HUGEPAGE);  // advice, too
#endif
  for (size_t at = 0; at < size_;) {
    const ssize_t got = pread(descriptor_, data + at, std::min(size_ - at, size_t{64} << 20),
                              static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    check(got >= 0, CACTUS_ERROR_FILE, path_ + ": cannot be read: " + std::strerror(errno));
    check(got > 0, CACTUS_ERROR_FILE, path_ + ": became shorter while it was read");
    at += static_cast<size_t>(got);
  }
  mprotect(address, size_, PROT_READ);
}

void Mapping::preload() {
  try {
    preload_ = std::make_shared<Preload>();
    preload_->forks = fork_generation();
    // Detached: after a fork the child could neither join nor drop it.
    std::thread([state = preload_, data = data_, size = size_] {
      make_present(data, size, state->stopping);
      state->done.store(true, std::memory_order_release);
      state->done.notify_all();
    }).detach();
  } catch (const std::exception&) {
    preload_.reset();  // no thread or no memory available: it is a convenience
  }
}

Mapping::~Mapping() {
  if (preload_ && preload_->forks == fork_generation()) {
    preload_->stopping.store(true, std::memory_order_relaxed);
    preload_->done.wait(false, std::memory_order_acquire);
  }
  munmap(const_cast<uint8_t*>(data_), size_);
  if (descriptor_ >= 0) close(descriptor_);
}

void Mapping::check_unchanged() const {
  if (descriptor_ < 0) return;
  struct stat info;
  const bool whole = fstat(descriptor_, &info) == 0 && static_cast<size_t>(info.st_size) >= size_;
  check(whole, CACTUS_ERROR_FILE,
        path_ + ": the file was truncated after it was loaded; load the model again");
}

}  // namespace cactus
