// A file that is read: mapped, or piece by piece.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace cactus {

class File {
 public:
  // Throws CACTUS_ERROR_FILE where the path is not a readable regular file, or is empty.
  explicit File(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  size_t size() const { return size_; }
  // The whole file read-only, until unmap_memory.
  const uint8_t* map() const;
  // All of it into `data`.
  void read(uint8_t* data) const;
  // Whether it is still as long as it was.
  bool is_whole() const;
  void close() noexcept;
  bool is_open() const { return descriptor_ >= 0; }

 private:
  const std::string path_;
  int descriptor_ = -1;
  size_t size_ = 0;
};

// Makes all pages of a mapped file present, where the system can; ends early once `stopping` is
// set. A file that is truncated meanwhile ends it, too, and not the process.
void make_present(const uint8_t* data, size_t size, const std::atomic<bool>& stopping);

}  // namespace cactus
