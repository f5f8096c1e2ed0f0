// What the ids of the C interface stand for, and which thread may use it when.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cactus.h"
#include "error.h"
#include "platform/process.h"
#include "program.h"

namespace cactus {

// Objects by id. An id is never used again, and carries its kind, so a stale or mistaken one is
// found out.
template <class T, uint64_t kKind>
class Registry {
 public:
  // One that lives as long as the process.
  explicit Registry(const char* noun) : noun_(noun) { hold_during_fork(mutex_); }

  cactus_id add(std::shared_ptr<T> object) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const cactus_id id = kKind << 56 | ++last_;
    objects_.emplace(id, std::move(object));
    return id;
  }
  std::shared_ptr<T> get(cactus_id id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(id);
    check(found != objects_.end(), CACTUS_ERROR_HANDLE,
          std::string("no such ") + noun_ + ": it has been destroyed, or never was");
    return found->second;
  }
  void remove(cactus_id id) {
    std::shared_ptr<T> object;  // destroyed after the lock is released
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(id);
    if (found == objects_.end()) return;
    object = std::move(found->second);
    objects_.erase(found);
  }

 private:
  const char* noun_;
  std::mutex mutex_;
  std::map<cactus_id, std::shared_ptr<T>> objects_;
  uint64_t last_ = 0;
};

// Which sessions are in use, of a program and of those that share its sessions.
struct SessionUses {
  std::mutex mutex;
  std::condition_variable changed;
};

struct ProgramHandle {
  Program program;
  const std::shared_ptr<SessionUses> uses;
  const uint32_t forks = fork_generation();

  template <class... Arguments>
  explicit ProgramHandle(std::shared_ptr<SessionUses> of_sessions, Arguments&&... arguments)
      : program(std::forward<Arguments>(arguments)...), uses(std::move(of_sessions)) {}
  // A lock may be held by a thread that only the parent process has.
  void check_process() const {
    check(forks == fork_generation(), CACTUS_ERROR_FORKED,
          "the model was loaded before fork(); load it again in this process");
  }
};

// A session, and what can be known of it without waiting.
struct SessionHandle {
  SessionHandle(std::shared_ptr<ProgramHandle> of_program, Session value)
      : program(std::move(of_program)), session(std::move(value)) {
    publish();
  }
  void publish() {
    length = session.length();
    memory_length = session.memory_length();
  }

  const std::shared_ptr<ProgramHandle> program;
  Session session;
  bool used = false;  // under the lock of SessionUses
  std::atomic<uint32_t> length, memory_length;
};

// Sessions of one program that nobody else may read or change as long as it lives. Waits until none
// of them is in use, and takes all at once: nobody holds some while waiting for others.
class SessionUse {
 public:
  explicit SessionUse(std::vector<std::shared_ptr<SessionHandle>> sessions)
      : uses_(*sessions.front()->program->uses), sessions_(std::move(sessions)) {
    std::unique_lock<std::mutex> lock(uses_.mutex);
    uses_.changed.wait(lock, [&] {
      return std::none_of(sessions_.begin(), sessions_.end(),
                          [](const auto& each) { return each->used; });
    });
    for (const auto& session : sessions_) session->used = true;
  }
  ~SessionUse() {
    for (const auto& session : sessions_) session->publish();
    {
      const std::lock_guard<std::mutex> lock(uses_.mutex);
      for (const auto& session : sessions_) session->used = false;
    }
    uses_.changed.notify_all();
  }
  SessionUse(const SessionUse&) = delete;
  SessionUse& operator=(const SessionUse&) = delete;

 private:
  SessionUses& uses_;
  const std::vector<std::shared_ptr<SessionHandle>> sessions_;
};

struct SamplerHandle {
  Sampler sampler;
  const uint32_t forks = fork_generation();

  explicit SamplerHandle(const cactus_sampler_options& options) : sampler(options) {}
  // A thread of the parent may have held the sampler's lock.
  void check_process() const {
    check(forks == fork_generation(), CACTUS_ERROR_FORKED,
          "the sampler was made before fork(); make another one in this process");
  }
};

}  // namespace cactus
