// POSIX threads, which MinGW-w64 has for Windows, too: std::thread says nothing about stacks.
#include "platform/thread.h"

#include <pthread.h>

#include <memory>
#include <system_error>
#include <utility>

namespace cactus {

namespace {

constexpr size_t kStackBytes = size_t{1} << 20;

using Body = std::function<void()>;

void* run(void* given) {
  const std::unique_ptr<Body> body(static_cast<Body*>(given));
  (*body)();
  return nullptr;
}

}  // namespace

Thread::Thread(Body body) {
  auto owned = std::make_unique<Body>(std::move(body));
  pthread_attr_t attributes;
  int status = pthread_attr_init(&attributes);
  if (status == 0) {
    status = pthread_attr_setstacksize(&attributes, kStackBytes);
    if (status == 0) status = pthread_create(&handle_, &attributes, run, owned.get());
    pthread_attr_destroy(&attributes);
  }
  if (status != 0) throw std::system_error(status, std::generic_category());
  static_cast<void>(owned.release());  // the thread's now
}

void Thread::join() { pthread_join(handle_, nullptr); }

}  // namespace cactus
