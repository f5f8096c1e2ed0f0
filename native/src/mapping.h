// A file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cactus {

class Mapping {
 public:
  // Throws CACTUS_ERROR_FILE where the path is not a readable regular file.
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Throws if the file has become shorter since it was mapped: touching the lost pages would end
  // the process with SIGBUS. A file that is replaced by rename stays as it was mapped.
  void check_unchanged() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cactus
