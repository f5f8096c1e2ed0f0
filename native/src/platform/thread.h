// A thread whose stack kernels fit into.
#pragma once

#include <functional>
#include <thread>

namespace cactus {

// Like std::thread, and must be joined, too. Its stack is 1 MB on every system: musl gives 128 KB,
// of which the kernels of one tier alone take 115.
class Thread {
 public:
  // std::system_error where it cannot be started. The body throws nothing.
  explicit Thread(std::function<void()> body);
  void join();

 private:
  std::thread::native_handle_type handle_;
};

}  // namespace cactus
