// A file mapped read-only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

namespace cactus {

class Mapping {
 public:
  // Throws CACTUS_ERROR_FILE where the path is not a readable regular file. With `preload` a
  // thread makes all pages present meanwhile, where the system can; else they come as they are
  // touched.
  Mapping(const std::string& path, bool preload);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Throws if the file has become shorter since it was mapped: touching the lost pages would end
  // the process with SIGBUS. A file that is replaced by rename stays as it was mapped.
  void check_unchanged() const;

 private:
  void make_present();

  std::string path_;
  int descriptor_ = -1;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread preloader_;
  uint32_t forks_ = 0;  // fork generation of the preloader
};

}  // namespace cactus
