// A file of weights in memory: mapped read-only, or read into memory of this process alone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "platform/file.h"

namespace cactus {

// How a file comes into memory.
enum class Reading {
  kAsTouched,   // mapped, page by page
  kBackground,  // mapped, and a thread makes all pages present meanwhile, where the system can
  kResident,    // copied before anything else: no page depends on the file any more
};

class Mapping {
 public:
  // Throws CACTUS_ERROR_FILE where the path is not a readable regular file, CACTUS_ERROR_MEMORY
  // where there is none for a copy.
  Mapping(const std::string& path, Reading reading);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return file_.size(); }

  // Throws if the file has become shorter since it was mapped: touching the lost pages would end
  // the process with SIGBUS. A file that is replaced by rename stays as it was mapped. What was
  // copied cannot change.
  void check_unchanged() const;

 private:
  struct Preload {
    std::atomic<bool> stopping{false};
    std::atomic<uint32_t> done{0};
    uint32_t forks;  // fork generation of its thread
  };

  void copy();
  void preload();

  File file_;
  const uint8_t* data_ = nullptr;
  std::shared_ptr<Preload> preload_;  // shared with its thread
};

}  // namespace cactus
