/* The header from C99: load a plan, prefill, decode greedily, and be refused. Prints the tokens.
   usage: generate PLAN WEIGHTS COUNT TOKEN... */
#include <stdio.h>
#include <stdlib.h>

#include "cactus.h"

static void* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  void* data;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(3);
  *size = (size_t)ftell(file);
  rewind(file);
  data = malloc(*size);
  if (data == NULL || fread(data, 1, *size, file) != *size) exit(3);
  fclose(file);
  return data;
}

static void check(cactus_status status) {
  if (status == CACTUS_OK) return;
  fprintf(stderr, "status %d: %s\n", status, cactus_last_error());
  exit(1);
}

int main(int argc, char** argv) {
  size_t plan_size;
  cactus_id program, session;
  cactus_program_options options = {0};
  cactus_program_info info = {0};
  cactus_output output;
  int32_t prompt[64];
  cactus_row row = {0};
  cactus_status status = -1;
  const int32_t stopped = 1;
  int i, count;
  if (argc < 5 || argc > 64) return 2;
  void* plan = read_file(argv[1], &plan_size);
  options.size = sizeof options;
  options.plan = plan;
  options.plan_size = plan_size;
  options.weights_path = argv[2];
  options.threads = 2;
  if (cactus_abi_version() != CACTUS_ABI_VERSION) return 2;
  check(cactus_program_create(&options, &program));
  free(plan);
  info.size = sizeof info;
  check(cactus_program_info_get(program, &info));
  fprintf(stderr, "%s, %u threads, vocabulary %u\n", info.isa, info.threads, info.vocab_size);
  check(cactus_session_create(program, &session));
  for (i = 4; i < argc; i++) prompt[i - 4] = atoi(argv[i]);
  row.session = session;
  row.tokens = prompt;
  row.count = (uint32_t)(argc - 4);
  row.outputs = CACTUS_OUTPUTS_LAST;
  count = atoi(argv[3]);
  for (i = 0; i < count; i++) {
    check(cactus_program_step(program, &row, 1, &output, 1, NULL, NULL, &status));
    if (status != CACTUS_OK) return 4;
    printf("%d\n", output.token);
    row.tokens = &output.token;
    row.count = 1;
  }
  row.stop = &stopped; /* of its only row: the step ends */
  if (cactus_program_step(program, &row, 1, &output, 1, NULL, NULL, &status) !=
          CACTUS_ERROR_CANCELLED ||
      status != CACTUS_ERROR_CANCELLED)
    return 4;
  check(cactus_session_destroy(session));
  if (cactus_program_step(program, &row, 1, &output, 1, NULL, NULL, NULL) != CACTUS_ERROR_HANDLE)
    return 4;
  if (cactus_program_step(program, NULL, 1, &output, 1, NULL, NULL, NULL) != CACTUS_ERROR_ARGUMENT)
    return 4;
  check(cactus_program_destroy(program));
  check(cactus_program_destroy(program));
  return 0;
}
