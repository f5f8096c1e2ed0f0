// The C boundary: checked handles in, status codes out; no exception passes.
#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>

#include "cactus.h"
#include "cpu/isa.h"
#include "error.h"
#include "peaks.h"
#include "program.h"

namespace {

using cactus::check;
using cactus::Error;
using cactus::Program;
using cactus::Sampler;
using cactus::Session;

// A fixed buffer: reporting that there is no memory must not need any.
thread_local char last_error[1024] = "";

void set_error(const char* prefix, const char* message) {
  std::snprintf(last_error, sizeof last_error, "%s%s", prefix, message);
}

// Objects by id. An id is never used again, and carries its kind, so a stale or mistaken one is
// found out.
template <class T, uint64_t kKind>
class Registry {
 public:
  explicit Registry(const char* noun) : noun_(noun) {}

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
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  const char* noun_;
  std::mutex mutex_;
  std::map<cactus_id, std::shared_ptr<T>> objects_;
  uint64_t last_ = 0;
};

struct ProgramHandle {
  Program program;
  const uint32_t forks = cactus::fork_generation();

  template <class... Arguments>
  explicit ProgramHandle(Arguments&&... arguments)
      : program(std::forward<Arguments>(arguments)...) {}
  // The lock may be held by a thread that only the parent process has.
  void check_process() const {
    check(forks == cactus::fork_generation(), CACTUS_ERROR_FORKED,
          "the model was loaded before fork(); load it again in this process");
  }
};

struct SessionHandle {
  std::shared_ptr<ProgramHandle> program;
  Session session;

  std::unique_lock<std::mutex> lock() const {
    program->check_process();
    return std::unique_lock<std::mutex>(*program->program.mutex());
  }
};

struct SamplerHandle {
  Sampler sampler;
  const uint32_t forks = cactus::fork_generation();

  explicit SamplerHandle(const cactus_sampler_options& options) : sampler(options) {}
  // A thread of the parent may have held the sampler's lock.
  void check_process() const {
    check(forks == cactus::fork_generation(), CACTUS_ERROR_FORKED,
          "the sampler was made before fork(); make another one in this process");
  }
};

// Never destroyed: a thread may still be inside a step when the process ends.
auto& programs = *new Registry<ProgramHandle, 1>("program");
auto& sessions = *new Registry<SessionHandle, 2>("session");
auto& samplers = *new Registry<SamplerHandle, 3>("sampler");

std::shared_ptr<SamplerHandle> live_sampler(cactus_id id) {
  auto handle = samplers.get(id);
  handle->check_process();
  return handle;
}

// A fork must not copy a lock that a thread of the parent holds: the child could never take it.
const int fork_handlers = [] {
  const auto release = [] {
    samplers.unlock();
    sessions.unlock();
    programs.unlock();
  };
  return pthread_atfork(
      [] {
        programs.lock();
        sessions.lock();
        samplers.lock();
      },
      release, release);
}();

template <class Body>
cactus_status guarded(const Body& body) {
  try {
    body();
    set_error("", "");
    return CACTUS_OK;
  } catch (const Error& error) {
    set_error("", error.what());
    return error.status();
  } catch (const std::bad_alloc&) {
    set_error("", "not enough memory");
    return CACTUS_ERROR_MEMORY;
  } catch (const std::system_error& error) {
    set_error("cannot start threads: ", error.what());
    return CACTUS_ERROR_MEMORY;
  } catch (const std::exception& error) {
    set_error("", error.what());
    return CACTUS_ERROR_INTERNAL;
  } catch (...) {
    set_error("", "unknown failure");
    return CACTUS_ERROR_INTERNAL;
  }
}

void need(const void* pointer, const char* name) {
  check(pointer != nullptr, CACTUS_ERROR_ARGUMENT, std::string(name) + " is null");
}

// Copies a caller's struct whose first member is its size: fields it does not know are zero.
template <class T>
T versioned(const T* given, const char* name) {
  need(given, name);
  T value{};
  check(given->size >= sizeof(uint32_t) && given->size <= 4096, CACTUS_ERROR_ARGUMENT,
        std::string(name) + ".size is out of range");
  std::memcpy(&value, given, std::min<size_t>(given->size, sizeof value));
  return value;
}

// The other way: as much of `value` as the caller's struct has room for.
template <class T>
void give(const T& value, T* to, const char* name) {
  const uint32_t room = to->size;
  check(room >= sizeof(uint32_t), CACTUS_ERROR_ARGUMENT,
        std::string(name) + ".size is out of range");
  std::memcpy(to, &value, std::min<size_t>(room, sizeof value));
  to->size = room;
}

int thread_count(int32_t wanted, const char* name) {
  check(wanted >= 0 && wanted <= cactus::kMaxThreads, CACTUS_ERROR_ARGUMENT,
        std::string(name) + " is " + std::to_string(wanted) + ", expected 0 to " +
            std::to_string(cactus::kMaxThreads));
  return wanted ? wanted : cactus::default_threads();
}

}  // namespace

extern "C" {

uint32_t cactus_abi_version(void) { return CACTUS_ABI_VERSION; }

const char* cactus_last_error(void) { return last_error; }

uint32_t cactus_isa_available(void) {
  uint32_t bits = 0;
  for (uint32_t tier = 0; cactus::tier_name(tier) != nullptr; tier++) {
    if (cactus::tier_available(tier)) bits |= 1u << tier;
  }
  return bits;
}

const char* cactus_isa_name(uint32_t tier) { return cactus::tier_name(tier); }

cactus_status cactus_machine_peaks_get(int32_t threads, const char* isa, uint64_t buffer_bytes,
                                       cactus_machine_peaks* peaks) {
  return guarded([&] {
    need(peaks, "peaks");
    give(cactus_machine_peaks{}, peaks, "peaks");  // a wrong size is found before a second's work
    const cactus::KernelTable& kernels = cactus::find_kernels(isa ? isa : "");
    cactus_machine_peaks value = cactus::measure_peaks(kernels, thread_count(threads, "threads"),
                                                       buffer_bytes ? buffer_bytes : 512 << 20);
    give(value, peaks, "peaks");
  });
}

cactus_status cactus_program_create(const cactus_program_options* options, cactus_id* program) {
  return guarded([&] {
    need(program, "program");
    const cactus_program_options o = versioned(options, "options");
    check(o.max_rows <= 8192, CACTUS_ERROR_ARGUMENT,
          "options.max_rows is " + std::to_string(o.max_rows) + ", expected 0 to 8192");
    const uint32_t max_rows = o.max_rows ? o.max_rows : 256;
    if (o.shares != 0) {
      const auto base = programs.get(o.shares);
      base->check_process();
      *program = programs.add(
          std::make_shared<ProgramHandle>(o.plan, o.plan_size, base->program, max_rows));
      return;
    }
    need(o.weights_path, "options.weights_path");
    const int threads = thread_count(o.threads, "options.threads");
    const cactus::KernelTable& kernels = cactus::find_kernels(o.isa ? o.isa : "");
    const cactus::Reading reading = o.resident  ? cactus::Reading::kResident
                                    : o.preload ? cactus::Reading::kBackground
                                                : cactus::Reading::kAsTouched;
    *program = programs.add(
        std::make_shared<ProgramHandle>(o.plan, o.plan_size, std::string(o.weights_path), kernels,
                                        threads, max_rows, reading, o.kv_bytes));
  });
}

cactus_status cactus_program_info_get(cactus_id program, cactus_program_info* info) {
  return guarded([&] {
    need(info, "info");
    const auto handle = programs.get(program);
    handle->check_process();
    const Program& p = handle->program;
    cactus_program_info value{};
    value.threads = static_cast<uint32_t>(p.threads());
    value.max_rows = p.max_rows();
    value.vocab_size = p.plan().header.vocab_size;
    value.context_length = p.plan().header.context_length;
    value.page_positions = cactus::kPage;
    value.weight_bytes = p.weight_bytes();
    value.arena_bytes = p.arena_bytes();
    value.page_bytes = p.layout()->page_bytes();
    value.memory_page_bytes = p.layout()->memory_bytes;
    value.features = p.plan().header.features;
    value.output_width = p.output_width();
    value.kv_bytes = p.pool()->used();
    value.kv_limit = p.pool()->limit();
    std::strncpy(value.isa, p.kernels().name, sizeof value.isa - 1);
    give(value, info, "info");
  });
}

cactus_status cactus_program_step(cactus_id program, const cactus_row* rows, uint32_t n_rows,
                                  cactus_output* outputs, uint32_t n_outputs, float* values,
                                  const int32_t* stop, cactus_status* status) {
  const cactus_status result = guarded([&] {
    const auto handle = programs.get(program);
    handle->check_process();
    need(rows, "rows");
    check(n_rows > 0 && n_rows <= 4096, CACTUS_ERROR_ARGUMENT, "n_rows is out of range");
    if (n_outputs > 0) need(outputs, "outputs");
    std::vector<std::shared_ptr<SessionHandle>> held;
    std::vector<std::shared_ptr<SamplerHandle>> held_samplers;
    std::vector<cactus::Sequence> sequences;
    uint64_t total = 0;
    for (uint32_t n = 0; n < n_rows; n++) {
      const cactus_row& row = rows[n];
      const auto session = sessions.get(row.session);
      const std::string where = "rows[" + std::to_string(n) + "]";
      check(session->program->program.layout() == handle->program.layout(), CACTUS_ERROR_ARGUMENT,
            where + ".session belongs to another program");
      check(std::find(held.begin(), held.end(), session) == held.end(), CACTUS_ERROR_ARGUMENT,
            where + ".session is in this step twice");
      check(row.count > 0 && row.outputs <= CACTUS_OUTPUTS_ALL, CACTUS_ERROR_ARGUMENT,
            where + " is empty or asks for unknown outputs");
      const bool remembers = handle->program.plan().header.features != 0;
      need(remembers ? static_cast<const void*>(row.features) : row.tokens,
           remembers ? "rows.features" : "rows.tokens");
      check(row.n_top <= handle->program.plan().header.vocab_size, CACTUS_ERROR_ARGUMENT,
            where + ".n_top is " + std::to_string(row.n_top) + ", and the vocabulary has " +
                std::to_string(handle->program.plan().header.vocab_size) + " tokens");
      if (row.n_top != 0) need(row.top, "rows.top");
      total += row.count;
      check(total <= handle->program.max_rows(), CACTUS_ERROR_ARGUMENT,
            "the step has more than " + std::to_string(handle->program.max_rows()) + " tokens");
      held.push_back(session);
      Sampler* sampler = nullptr;
      if (row.sampler != 0) {
        held_samplers.push_back(live_sampler(row.sampler));
        sampler = &held_samplers.back()->sampler;
      }
      sequences.push_back({&session->session, row.tokens, remembers ? row.features : nullptr,
                           row.count, row.outputs, sampler, row.n_top, row.top, row.stop});
    }
    const std::lock_guard<std::mutex> lock(*handle->program.mutex());
    handle->program.step(std::move(sequences), outputs, n_outputs, values, stop);
  });
  if (status != nullptr) *status = result;
  return result;
}

cactus_status cactus_program_read(cactus_id program, uint32_t buffer, float* out, uint64_t count) {
  return guarded([&] {
    const auto handle = programs.get(program);
    handle->check_process();
    const std::lock_guard<std::mutex> lock(*handle->program.mutex());
    handle->program.read(buffer, out, count);
  });
}

cactus_status cactus_program_profile(cactus_id program, int32_t enable, double* seconds,
                                     uint32_t n_steps) {
  return guarded([&] {
    const auto handle = programs.get(program);
    handle->check_process();
    const std::lock_guard<std::mutex> lock(*handle->program.mutex());
    handle->program.profile(enable != 0, seconds, n_steps);
  });
}

cactus_status cactus_program_destroy(cactus_id program) {
  return guarded([&] { programs.remove(program); });
}

cactus_status cactus_session_create(cactus_id program, cactus_id* session) {
  return guarded([&] {
    need(session, "session");
    const auto handle = programs.get(program);
    *session = sessions.add(std::make_shared<SessionHandle>(
        SessionHandle{handle, Session(handle->program.layout(), handle->program.pool())}));
  });
}

cactus_status cactus_session_length(cactus_id session, uint32_t* length) {
  return guarded([&] {
    need(length, "length");
    const auto handle = sessions.get(session);
    const auto lock = handle->lock();
    *length = handle->session.length();
  });
}

cactus_status cactus_session_memory(cactus_id session, uint32_t* length) {
  return guarded([&] {
    need(length, "length");
    const auto handle = sessions.get(session);
    const auto lock = handle->lock();
    *length = handle->session.memory_length();
  });
}

cactus_status cactus_session_truncate(cactus_id session, uint32_t length, uint32_t* reached) {
  return guarded([&] {
    const auto handle = sessions.get(session);
    const auto lock = handle->lock();
    const uint32_t at = handle->session.truncate(length);
    if (reached != nullptr) *reached = at;
  });
}

cactus_status cactus_session_fork(cactus_id session, cactus_id* copy) {
  return guarded([&] {
    need(copy, "copy");
    const auto handle = sessions.get(session);
    const auto lock = handle->lock();
    *copy = sessions.add(
        std::make_shared<SessionHandle>(SessionHandle{handle->program, handle->session}));
  });
}

cactus_status cactus_session_restore(cactus_id session, cactus_id from) {
  return guarded([&] {
    const auto handle = sessions.get(session), source = sessions.get(from);
    check(handle->program->program.layout() == source->program->program.layout(),
          CACTUS_ERROR_ARGUMENT,
          "a session can only be restored from a session of the same program");
    const auto lock = handle->lock();
    handle->session.restore(source->session);
  });
}

cactus_status cactus_session_destroy(cactus_id session) {
  return guarded([&] { sessions.remove(session); });
}

cactus_status cactus_sampler_create(const cactus_sampler_options* options, cactus_id* sampler) {
  return guarded([&] {
    need(sampler, "sampler");
    *sampler = samplers.add(std::make_shared<SamplerHandle>(versioned(options, "options")));
  });
}

cactus_status cactus_sampler_mask(cactus_id sampler, const uint32_t* words, uint32_t n_words,
                                  uint32_t n_masks) {
  return guarded([&] {
    check(n_words <= 1u << 20 && n_masks <= 8192, CACTUS_ERROR_ARGUMENT,
          "n_words or n_masks is out of range");
    live_sampler(sampler)->sampler.set_mask(words, n_words, n_masks);
  });
}

cactus_status cactus_sampler_prompt(cactus_id sampler, const int32_t* tokens, uint32_t n_tokens) {
  return guarded([&] {
    if (n_tokens > 0) need(tokens, "tokens");
    live_sampler(sampler)->sampler.prompt(tokens, n_tokens);
  });
}

cactus_status cactus_sampler_accept(cactus_id sampler, const int32_t* tokens, uint32_t n_tokens) {
  return guarded([&] {
    if (n_tokens > 0) need(tokens, "tokens");
    live_sampler(sampler)->sampler.accept(tokens, n_tokens);
  });
}

cactus_status cactus_sampler_destroy(cactus_id sampler) {
  return guarded([&] { samplers.remove(sampler); });
}

}  // extern "C"
