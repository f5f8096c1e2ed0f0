#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "error.h"
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

Mapping::Mapping(const std::string& path, bool preload) : path_(path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  descriptor_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw Error(CACTUS_ERROR_FILE, "cannot open " + path + ": " + std::strerror(errno));
  }
  const auto fail = [&](const std::string& why) {
    close(descriptor_);
    throw Error(CACTUS_ERROR_FILE, path + ": " + why);
  };
  struct stat info;
  if (fstat(descriptor_, &info) != 0) fail(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail("is not a regular file");
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) fail("is empty");
  void* address = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (address == MAP_FAILED) fail(std::string("cannot be mapped: ") + std::strerror(errno));
  data_ = static_cast<const uint8_t*>(address);
  // Advice only: a system that does not know it reads the pages as they are touched.
  madvise(address, size_, MADV_WILLNEED);
  if (!preload) return;
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
    preload_.reset();  // no thread or no memory to be had: it is a convenience
  }
}

Mapping::~Mapping() {
  if (preload_ && preload_->forks == fork_generation()) {
    preload_->stopping.store(true, std::memory_order_relaxed);
    preload_->done.wait(false, std::memory_order_acquire);
  }
  munmap(const_cast<uint8_t*>(data_), size_);
  close(descriptor_);
}

void Mapping::check_unchanged() const {
  struct stat info;
  const bool whole = fstat(descriptor_, &info) == 0 && static_cast<size_t>(info.st_size) >= size_;
  check(whole, CACTUS_ERROR_FILE,
        path_ + ": the file was truncated after it was loaded; load the model again");
}

}  // namespace cactus
