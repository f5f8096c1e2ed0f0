#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "error.h"
#include "threads.h"

namespace cactus {

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
  forks_ = fork_generation();
  try {
    preloader_ = std::thread([this] { make_present(); });
  } catch (const std::system_error&) {  // no thread to be had: it is a convenience
  }
}

// Piece by piece, so that closing does not wait for the whole file. A file that is truncated
// meanwhile is an error here and not a signal, as touching its pages would be.
void Mapping::make_present() {
#if defined(MADV_POPULATE_READ)
  constexpr size_t kPiece = size_t{8} << 20;
  for (size_t at = 0; at < size_ && !stopping_.load(std::memory_order_relaxed); at += kPiece) {
    void* piece = const_cast<uint8_t*>(data_ + at);
    if (madvise(piece, std::min(kPiece, size_ - at), MADV_POPULATE_READ) != 0) return;
  }
#endif
}

Mapping::~Mapping() {
  stopping_.store(true, std::memory_order_relaxed);
  if (preloader_.joinable()) {
    if (fork_generation() == forks_) {
      preloader_.join();
    } else {
      // It stayed in the parent process, and its record may not be touched here.
      new std::thread(std::move(preloader_));
    }
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
