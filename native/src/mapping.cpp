#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace cactus {

Mapping::Mapping(const std::string& path) : path_(path) {
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
}

Mapping::~Mapping() {
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
