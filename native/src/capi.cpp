// The C boundary: checked handles in, status codes out; no exception passes.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cactus.h"
#include "cpu/isa.h"
#include "error.h"
#include "handles.h"
#include "peaks.h"
#include "similarity.h"
#include "threads.h"

namespace {

using cactus::check;
using cactus::Error;
using cactus::Program;
using cactus::ProgramHandle;
using cactus::Registry;
using cactus::Sampler;
using cactus::SamplerHandle;
using cactus::Session;
using cactus::SessionHandle;
using cactus::SessionUse;
using cactus::SessionUses;

// A fixed buffer: reporting that there is no memory must not need any.
thread_local char last_error[1024] = "";

void set_error(const char* prefix, const char* message) {
  std::snprintf(last_error, sizeof last_error, "%s%s", prefix, message);
}

// Never destroyed: a thread may still be inside a step when the process ends.
auto& programs = *new Registry<ProgramHandle, 1>("program");
auto& sessions = *new Registry<SessionHandle, 2>("session");
auto& samplers = *new Registry<SamplerHandle, 3>("sampler");

// Of this process: a lock that a thread of the parent held is nobody's here.
std::shared_ptr<ProgramHandle> live_program(cactus_id id) {
  auto handle = programs.get(id);
  handle->check_process();
  return handle;
}

std::shared_ptr<SessionHandle> live_session(cactus_id id) {
  auto handle = sessions.get(id);
  handle->program->check_process();
  return handle;
}

std::shared_ptr<SamplerHandle> live_sampler(cactus_id id) {
  auto handle = samplers.get(id);
  handle->check_process();
  return handle;
}

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

// The rows of a step, each checked, and what they name.
struct StepRows {
  std::vector<std::shared_ptr<SessionHandle>> sessions;
  std::vector<std::shared_ptr<SamplerHandle>> row_samplers;
  std::vector<cactus::Sequence> sequences;

  StepRows(const Program& program, const cactus_row* rows, uint32_t n_rows) {
    uint64_t total = 0;
    for (uint32_t n = 0; n < n_rows; n++) {
      add(program, rows[n], n);
      total += rows[n].count;
      refuse(total > program.max_rows(), n, ": the step has more than ", program.max_rows(),
             " tokens");
    }
    check_distinct();
  }

 private:
  // The message is made only where it is needed: a step may have thousands of rows.
  template <class... Parts>
  static void refuse(bool bad, uint32_t row, const Parts&... parts) {
    if (!bad) return;
    std::ostringstream message;
    message << "rows[" << row << "]";
    (message << ... << parts);
    throw Error(CACTUS_ERROR_ARGUMENT, message.str());
  }

  void add(const Program& program, const cactus_row& row, uint32_t n) {
    sessions.push_back(live_session(row.session));
    const SessionHandle& session = *sessions.back();
    refuse(session.program->program.layout() != program.layout(), n,
           ".session belongs to another program");
    refuse(row.count == 0 || row.outputs > CACTUS_OUTPUTS_SUM, n,
           " is empty or asks for unknown outputs");
    check_input(program.plan(), row, n);
    const uint32_t vocabulary = program.plan().header.vocab_size;
    refuse(row.outputs == CACTUS_OUTPUTS_SUM && vocabulary != 0, n,
           ".outputs is a sum, and the program gives logits");
    refuse(row.n_top > vocabulary, n, ".n_top is ", row.n_top, ", and the vocabulary has ",
           vocabulary, " tokens");
    refuse(row.n_top != 0 && row.top == nullptr, n, ".top is null");
    Sampler* sampler = nullptr;
    if (row.sampler != 0) {
      row_samplers.push_back(live_sampler(row.sampler));
      sampler = &row_samplers.back()->sampler;
    }
    sequences.push_back({&sessions.back()->session, row.tokens, row.features, row.n_features,
                         row.positions, row.count, row.outputs, sampler, row.n_top, row.top,
                         row.stop});
  }

  static void check_input(const cactus::Plan& plan, const cactus_row& row, uint32_t n) {
    if (plan.of_features) {
      refuse(row.features == nullptr, n, ".features is null");
      refuse(row.tokens != nullptr, n, " has tokens, and the program's rows are features");
      refuse(row.n_features != row.count, n, ".n_features is ", row.n_features, ", and its count ",
             row.count);
    } else {
      refuse(row.tokens == nullptr, n, ".tokens is null");
      refuse(row.n_features != 0 && plan.header.features == 0, n,
             " has features, and the program takes none");
      refuse(row.n_features != 0 && row.features == nullptr, n, ".features is null");
    }
    refuse(row.positions != nullptr && plan.axes == 0, n,
           " has positions, and the program takes none");
  }

  void check_distinct() const {
    std::vector<std::pair<const SessionHandle*, uint32_t>> order;
    for (const auto& session : sessions) {
      order.emplace_back(session.get(), static_cast<uint32_t>(order.size()));
    }
    std::sort(order.begin(), order.end());
    for (size_t n = 1; n < order.size(); n++) {
      refuse(order[n].first == order[n - 1].first, order[n].second,
             ".session is in this step twice");
    }
  }
};

void check_rows(const cactus_row* rows, uint32_t n_rows) {
  need(rows, "rows");
  check(n_rows > 0 && n_rows <= 4096, CACTUS_ERROR_ARGUMENT, "n_rows is out of range");
}

void run_step(ProgramHandle& handle, const cactus_row* rows, uint32_t n_rows,
              cactus_output* outputs, uint32_t n_outputs, float* values, const int32_t* stop) {
  StepRows step(handle.program, rows, n_rows);
  const std::lock_guard<std::mutex> lock(handle.program.mutex());
  const SessionUse use(std::move(step.sessions));
  handle.program.step(std::move(step.sequences), outputs, n_outputs, values, stop);
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

cactus_status cactus_dot_f16(const uint16_t* vectors, uint64_t count, uint32_t width,
                             const float* query, float* out, int32_t threads, const char* isa) {
  return guarded([&] {
    check(width != 0 && width % 16 == 0 && count <= (uint64_t{1} << 40) / width,
          CACTUS_ERROR_ARGUMENT,
          "width is " + std::to_string(width) + " and count " + std::to_string(count) +
              ", expected a multiple of 16, and no more than 2^40 values");
    need(query, "query");
    if (count == 0) return;
    need(vectors, "vectors");
    need(out, "out");
    cactus::dot_vectors(cactus::find_kernels(isa ? isa : ""), thread_count(threads, "threads"),
                        vectors, count, width, query, out);
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
      const auto base = live_program(o.shares);
      const Program& shared = base->program;
      const cactus::KernelTable& kernels = o.isa ? cactus::find_kernels(o.isa) : shared.kernels();
      *program = programs.add(std::make_shared<ProgramHandle>(base->uses, o.plan, o.plan_size,
                                                              shared, kernels, max_rows));
      return;
    }
    need(o.weights_path, "options.weights_path");
    const int threads = thread_count(o.threads, "options.threads");
    const cactus::KernelTable& kernels = cactus::find_kernels(o.isa ? o.isa : "");
    const cactus::Reading reading = o.resident  ? cactus::Reading::kResident
                                    : o.preload ? cactus::Reading::kBackground
                                                : cactus::Reading::kAsTouched;
    *program = programs.add(std::make_shared<ProgramHandle>(
        std::make_shared<SessionUses>(), o.plan, o.plan_size, std::string(o.weights_path), kernels,
        threads, max_rows, reading, o.kv_bytes));
  });
}

cactus_status cactus_program_info_get(cactus_id program, cactus_program_info* info) {
  return guarded([&] {
    need(info, "info");
    const auto handle = live_program(program);
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
    value.axes = p.plan().axes;
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
    const auto handle = live_program(program);
    check_rows(rows, n_rows);
    if (n_outputs > 0) need(outputs, "outputs");
    run_step(*handle, rows, n_rows, outputs, n_outputs, values, stop);
  });
  if (status != nullptr) *status = result;
  return result;
}

cactus_status cactus_program_generate(cactus_id program, const cactus_row* rows, uint32_t n_rows,
                                      const int32_t* ends, uint32_t n_ends, cactus_output* outputs,
                                      uint32_t n_steps, uint32_t* made, cactus_status* status) {
  const cactus_status result = guarded([&] {
    const auto handle = live_program(program);
    check_rows(rows, n_rows);
    need(outputs, "outputs");
    need(made, "made");
    if (n_ends > 0) need(ends, "ends");
    check(n_steps > 0, CACTUS_ERROR_ARGUMENT, "n_steps is 0");
    check(handle->program.plan().header.vocab_size > 0, CACTUS_ERROR_ARGUMENT,
          "generate: the program gives states, not tokens");
    std::vector<cactus_row> next(rows, rows + n_rows);
    std::vector<int32_t> tokens(n_rows);
    for (const cactus_row& row : next) {
      check(row.outputs == CACTUS_OUTPUTS_LAST && row.features == nullptr &&
                row.positions == nullptr && row.count > 0,
            CACTUS_ERROR_ARGUMENT, "generate: rows have tokens alone, and their last output");
    }
    const auto ended = [&](const cactus_row& row) {
      const int32_t token = *row.tokens;
      return std::find(ends, ends + n_ends, token) != ends + n_ends ||
             (row.stop != nullptr && __atomic_load_n(row.stop, __ATOMIC_RELAXED) != 0);
    };
    for (*made = 0; *made < n_steps; outputs += n_rows) {
      try {
        run_step(*handle, next.data(), n_rows, outputs, n_rows, nullptr, nullptr);
      } catch (...) {
        if (*made == 0) throw;
        break;
      }
      ++*made;
      for (uint32_t n = 0; n < n_rows; n++) {
        tokens[n] = outputs[n].token;
        next[n].tokens = &tokens[n];
        next[n].count = 1;
        next[n].top += next[n].n_top;
      }
      if (std::any_of(next.begin(), next.end(), ended)) break;
    }
  });
  if (status != nullptr) *status = result;
  return result;
}

cactus_status cactus_program_read(cactus_id program, uint32_t buffer, float* out, uint64_t count) {
  return guarded([&] {
    const auto handle = live_program(program);
    const std::lock_guard<std::mutex> lock(handle->program.mutex());
    handle->program.read(buffer, out, count);
  });
}

cactus_status cactus_program_profile(cactus_id program, int32_t enable, double* seconds,
                                     uint32_t n_steps) {
  return guarded([&] {
    const auto handle = live_program(program);
    const std::lock_guard<std::mutex> lock(handle->program.mutex());
    handle->program.profile(enable != 0, seconds, n_steps);
  });
}

cactus_status cactus_program_destroy(cactus_id program) {
  return guarded([&] { programs.remove(program); });
}

cactus_status cactus_session_create(cactus_id program, cactus_id* session) {
  return guarded([&] {
    need(session, "session");
    const auto handle = live_program(program);
    *session = sessions.add(std::make_shared<SessionHandle>(
        handle, Session(handle->program.layout(), handle->program.pool())));
  });
}

cactus_status cactus_session_length(cactus_id session, uint32_t* length) {
  return guarded([&] {
    need(length, "length");
    *length = live_session(session)->length;
  });
}

cactus_status cactus_session_memory(cactus_id session, uint32_t* length) {
  return guarded([&] {
    need(length, "length");
    *length = live_session(session)->memory_length;
  });
}

cactus_status cactus_session_truncate(cactus_id session, uint32_t length, uint32_t* reached) {
  return guarded([&] {
    const auto handle = live_session(session);
    const SessionUse use({handle});
    const uint32_t at = handle->session.truncate(length);
    if (reached != nullptr) *reached = at;
  });
}

cactus_status cactus_session_fork(cactus_id session, cactus_id* copy) {
  return guarded([&] {
    need(copy, "copy");
    const auto handle = live_session(session);
    const SessionUse use({handle});
    *copy = sessions.add(std::make_shared<SessionHandle>(handle->program, handle->session));
  });
}

cactus_status cactus_session_restore(cactus_id session, cactus_id from) {
  return guarded([&] {
    const auto handle = live_session(session), source = live_session(from);
    check(handle->program->program.layout() == source->program->program.layout(),
          CACTUS_ERROR_ARGUMENT,
          "a session can only be restored from a session of the same program");
    const SessionUse use({handle, source});
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

cactus_status cactus_sampler_rewind(cactus_id sampler, uint64_t n_tokens) {
  return guarded([&] { live_sampler(sampler)->sampler.rewind(n_tokens); });
}

cactus_status cactus_sampler_destroy(cactus_id sampler) {
  return guarded([&] { samplers.remove(sampler); });
}

}  // extern "C"
