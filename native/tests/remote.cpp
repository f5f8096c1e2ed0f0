// The C interface over a pipe, for tests on another processor than that of the test suite: the
// suite starts this program there (or in an emulator) and drives it like a library.
//
// A request is a line of words, a path the rest of one; the answer is a status, the number of bytes
// that follow, both int32, and those bytes: the result, or the message of an error.
//
//   tiers                                            names of those that can run here
//   create ISA THREADS MAX_ROWS SHARES READING BYTES PATH
//                                                    id, cactus_program_info; BYTES of the plan
//                                                    follow the line, ISA - is the default,
//                                                    READING is mapped, preload or resident
//   session PROGRAM                                  id
//   step PROGRAM OUTPUTS VOCAB ROWS                  outputs, then logits [OUTPUTS][VOCAB]
//        {SESSION OUTPUTS_OF_ROW COUNT FEATURES WIDTH AXES TOKENS TOKEN...}...
//                                                    [FEATURES][WIDTH] floats and [COUNT][AXES]
//                                                    int32 of each row follow the line
//   read PROGRAM BUFFER COUNT                        floats
//   close PROGRAM                                    nothing; its sessions are closed, too
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cactus.h"

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#endif

namespace {

std::map<cactus_id, std::vector<cactus_id>> sessions;  // of each program

template <class T>
void append(std::string* bytes, const T* values, size_t count) {
  bytes->append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

// So many of what follows the line; null for none.
template <class T>
const T* read(std::vector<T>* values, size_t count) {
  values->resize(count);
  std::cin.read(reinterpret_cast<char*>(values->data()),
                static_cast<std::streamsize>(count * sizeof(T)));
  return count == 0 ? nullptr : values->data();
}

cactus_status create(std::istream& words, std::string* result) {
  std::string isa, reading, path;
  cactus_program_options options{};
  options.size = sizeof options;
  words >> isa >> options.threads >> options.max_rows >> options.shares >> reading >>
      options.plan_size >> std::ws;
  std::getline(words, path);
  std::string plan(options.plan_size, '\0');
  std::cin.read(plan.data(), static_cast<std::streamsize>(plan.size()));
  options.plan = plan.data();
  options.weights_path = path.c_str();
  options.preload = reading == "preload";
  options.resident = reading == "resident";
  if (isa != "-") options.isa = isa.c_str();
  cactus_id program = 0;
  const cactus_status status = cactus_program_create(&options, &program);
  if (status != CACTUS_OK) return status;
  sessions[program];
  cactus_program_info info{};
  info.size = sizeof info;
  append(result, &program, 1);
  const cactus_status described = cactus_program_info_get(program, &info);
  append(result, &info, 1);
  return described;
}

cactus_status step(std::istream& words, std::string* result) {
  cactus_id program = 0;
  size_t n_outputs = 0, vocab = 0, n_rows = 0;
  words >> program >> n_outputs >> vocab >> n_rows;
  std::vector<cactus_row> rows(n_rows);
  std::vector<std::vector<int32_t>> tokens(n_rows);
  std::vector<std::vector<float>> features(n_rows);
  std::vector<std::vector<int32_t>> positions(n_rows);
  for (size_t n = 0; n < n_rows; n++) {
    size_t width = 0, axes = 0, n_tokens = 0;
    words >> rows[n].session >> rows[n].outputs >> rows[n].count >> rows[n].n_features >> width >>
        axes >> n_tokens;
    rows[n].features = read(&features[n], rows[n].n_features * width);
    rows[n].positions = read(&positions[n], rows[n].count * axes);
    tokens[n].resize(n_tokens);
    for (int32_t& token : tokens[n]) words >> token;
    if (n_tokens != 0) rows[n].tokens = tokens[n].data();
  }
  std::vector<cactus_output> outputs(n_outputs);
  std::vector<float> logits(n_outputs * vocab);
  const cactus_status status = cactus_program_step(
      program, rows.data(), static_cast<uint32_t>(n_rows), outputs.data(),
      static_cast<uint32_t>(n_outputs), logits.empty() ? nullptr : logits.data(), nullptr, nullptr);
  append(result, outputs.data(), outputs.size());
  append(result, logits.data(), logits.size());
  return status;
}

cactus_status answer(const std::string& verb, std::istream& words, std::string* result) {
  cactus_id program = 0;
  if (verb == "create") return create(words, result);
  if (verb == "step") return step(words, result);
  if (verb == "tiers") {
    for (uint32_t tier = 0; cactus_isa_name(tier) != nullptr; tier++) {
      if ((cactus_isa_available() >> tier & 1) != 0)
        *result += std::string(" ") + cactus_isa_name(tier);
    }
    return CACTUS_OK;
  }
  words >> program;
  if (verb == "session") {
    cactus_id session = 0;
    const cactus_status status = cactus_session_create(program, &session);
    sessions[program].push_back(session);
    append(result, &session, 1);
    return status;
  }
  if (verb == "read") {
    uint32_t buffer = 0;
    uint64_t count = 0;
    words >> buffer >> count;
    std::vector<float> values(count);
    const cactus_status status = cactus_program_read(program, buffer, values.data(), count);
    append(result, values.data(), count);
    return status;
  }
  if (verb == "close") {
    for (const cactus_id session : sessions[program]) cactus_session_destroy(session);
    sessions.erase(program);
    return cactus_program_destroy(program);
  }
  return CACTUS_ERROR_INTERNAL;
}

}  // namespace

int main() {
#if defined(_WIN32)
  _setmode(_fileno(stdin), _O_BINARY);  // text would end at the first byte 26
  _setmode(_fileno(stdout), _O_BINARY);
#endif
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string verb, result;
    words >> verb;
    const cactus_status status = answer(verb, words, &result);
    if (status != CACTUS_OK) result = cactus_last_error();
    const int32_t head[2] = {status, static_cast<int32_t>(result.size())};
    std::cout.write(reinterpret_cast<const char*>(head), sizeof head);
    std::cout << result << std::flush;
  }
  return 0;
}
