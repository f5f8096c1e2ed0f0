#include "mapping.h"

#include <new>
#include <system_error>
#include <thread>

#include "error.h"
#include "memory.h"
#include "platform/memory.h"
#include "platform/process.h"

namespace cactus {

Mapping::Mapping(const std::string& path, Reading reading) : file_(path) {
  if (reading == Reading::kResident) {
    copy();
    file_.close();
  } else {
    data_ = file_.map();
  }
  if (reading == Reading::kBackground) preload();
}

void Mapping::copy() {
  check_available(size(), file_.path() + ": the weights");
  uint8_t* data = static_cast<uint8_t*>(map_memory(size(), true));
  if (data == nullptr) throw std::bad_alloc();
  try {
    file_.read(data);
  } catch (...) {
    unmap_memory(data, size());
    throw;
  }
  protect_memory(data, size());
  data_ = data;
}

void Mapping::preload() {
  try {
    preload_ = std::make_shared<Preload>();
    preload_->forks = fork_generation();
    // Detached: after a fork the child could neither join nor drop it.
    std::thread([state = preload_, data = data_, size = size()] {
      name_this_thread("cactus-read");
      make_present(data, size, state->stopping);
      state->done.store(1, std::memory_order_release);
      wake_all(state->done);
    }).detach();
  } catch (const std::exception&) {
    preload_.reset();  // no thread or no memory available: it is a convenience
  }
}

Mapping::~Mapping() {
  if (preload_ && preload_->forks == fork_generation()) {
    preload_->stopping.store(true, std::memory_order_relaxed);
    sleep_while(preload_->done, 0);
  }
  unmap_memory(data_, size());
}

void Mapping::check_unchanged() const {
  check(!file_.is_open() || file_.is_whole(), CACTUS_ERROR_FILE,
        file_.path() + ": the file was truncated after it was loaded; load the model again");
}

}  // namespace cactus
