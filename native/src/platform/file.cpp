#include "platform/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "error.h"

namespace cactus {

File::File(const std::string& path) : path_(path) {
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
  } catch (...) {
    close();
    throw;
  }
}

File::~File() { close(); }

void File::close() noexcept {
  if (is_open()) ::close(descriptor_);
  descriptor_ = -1;
}

const uint8_t* File::map() const {
  void* address = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  check(address != MAP_FAILED, CACTUS_ERROR_FILE,
        path_ + ": cannot be mapped: " + std::strerror(errno));
  // Advice only: a system that does not know it reads the pages as they are touched. In large pages
  // a file that is not in memory yet is read faster, and later its weights are.
#if defined(MADV_HUGEPAGE)
  madvise(address, size_, MADV_HUGEPAGE);
#else
  madvise(address, size_, MADV_WILLNEED);
#endif
  return static_cast<const uint8_t*>(address);
}

void File::read(uint8_t* data) const {
  for (size_t at = 0; at < size_;) {
    const ssize_t got = pread(descriptor_, data + at, std::min(size_ - at, size_t{64} << 20),
                              static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    check(got >= 0, CACTUS_ERROR_FILE, path_ + ": cannot be read: " + std::strerror(errno));
    check(got > 0, CACTUS_ERROR_FILE, path_ + ": became shorter while it was read");
    at += static_cast<size_t>(got);
  }
}

bool File::is_whole() const {
  struct stat info;
  return fstat(descriptor_, &info) == 0 && static_cast<size_t>(info.st_size) >= size_;
}

void make_present([[maybe_unused]] const uint8_t* data, [[maybe_unused]] size_t size,
                  [[maybe_unused]] const std::atomic<bool>& stopping) {
#if defined(MADV_POPULATE_READ)
  // Piece by piece, so that closing does not wait for the whole file.
  constexpr size_t kPiece = size_t{8} << 20;
  for (size_t at = 0; at < size && !stopping.load(std::memory_order_relaxed); at += kPiece) {
    void* piece = const_cast<uint8_t*>(data + at);
    if (madvise(piece, std::min(kPiece, size - at), MADV_POPULATE_READ) != 0) return;
  }
#endif
}

}  // namespace cactus
