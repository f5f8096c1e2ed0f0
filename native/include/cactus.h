// Cactus: the C interface of the native core. Tokens in, tokens out; no text, JSON or network.
//
//   cactus_id program, session;
//   cactus_program_options options = {.size = sizeof options, .plan = blob, .plan_size = n,
//                                     .weights_path = "model.safetensors", .threads = 2};
//   if (cactus_program_create(&options, &program) != CACTUS_OK) puts(cactus_last_error());
//   cactus_session_create(program, &session);
//   cactus_row row = {.session = session, .tokens = prompt, .count = n_prompt,
//                     .outputs = CACTUS_OUTPUTS_LAST};
//   cactus_output out = {.token = eos};
//   while (cactus_program_step(program, &row, 1, &out, 1, NULL, NULL, NULL) == CACTUS_OK) {
//     if (out.token == eos) break;  // the first step reads the prompt, each other one a token
//     row.tokens = &out.token;
//     row.count = 1;
//   }
//   cactus_session_destroy(session);
//   cactus_program_destroy(program);
//
// Rules. Every function that can fail returns a cactus_status; the message is cactus_last_error(),
// kept per thread. Handles are checked ids: a stale one is CACTUS_ERROR_HANDLE, never a crash, and
// destroying one twice is harmless. No exception, abort or exit crosses this boundary. Structs that
// may grow begin with their size. One declaration a line: the Python signatures are generated from
// this file.
//
// Threads. All functions may be called from any thread. What waits for what:
//
// The steps of one program run one after another; its read and profile wait for them, too.
//
// A step whose turn has come takes its sessions, all at once, until it ends. Whoever else needs one
// of them waits that long: truncate, fork, restore, and a step of a program that shares its
// sessions. So does the step, for these. Other sessions are free meanwhile.
//
// length and memory of a session never wait: during a step they are what they were before it.
// Neither do info, create and destroy. What is destroyed while a step uses it is gone for all
// others at once, and its memory when the step ends.
//
// All programs share one team of threads, which sleep while no step runs. Steps run side by side as
// long as they have no more threads together than there are cores; otherwise in the order in which
// they came. A step of one thread needs nobody of the team, and does not wait for it.
#ifndef CACTUS_H
#define CACTUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(cactus_EXPORTS)
#define CACTUS_API __declspec(dllexport)
#elif defined(_WIN32)
#define CACTUS_API __declspec(dllimport)
#else
#define CACTUS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CACTUS_ABI_VERSION 13

typedef uint64_t cactus_id;
typedef int32_t cactus_status;

enum {
  CACTUS_OK = 0,
  CACTUS_ERROR_INTERNAL = 1,
  CACTUS_ERROR_ARGUMENT = 2,   // an argument is out of its range
  CACTUS_ERROR_HANDLE = 3,     // no such handle: destroyed, or never made
  CACTUS_ERROR_PLAN = 4,       // the plan is damaged or does not fit its weights
  CACTUS_ERROR_FILE = 5,       // the weights file cannot be mapped, or has changed
  CACTUS_ERROR_MEMORY = 6,     // not enough memory, or over a limit of it; nothing was changed
  CACTUS_ERROR_CONTEXT = 7,    // more tokens than the model's context
  CACTUS_ERROR_NONFINITE = 8,  // the logits hold NaN or infinity
  CACTUS_ERROR_FORKED = 9,     // the program or sampler was made before fork(); make it again here
  CACTUS_ERROR_ISA = 10,       // the wanted tier is unknown or not possible on this CPU
  CACTUS_ERROR_CANCELLED = 11  // the step was ended by its stop flag, or those of all its rows
};

// Which logits of a row are wanted: of none, the last, all, or the first of its tokens; or, of a
// program without a vocabulary, the sum of all states as one output.
enum {
  CACTUS_OUTPUTS_NONE = 0,
  CACTUS_OUTPUTS_LAST = 1,
  CACTUS_OUTPUTS_ALL = 2,
  CACTUS_OUTPUTS_FIRST = 3,
  CACTUS_OUTPUTS_SUM = 4
};

typedef struct cactus_program_options {
  uint32_t size;
  int32_t threads;  // 1..256; 0: the cores that this process may run on, at most 256
  const void* plan;
  uint64_t plan_size;
  const char* weights_path;  // UTF-8; mapped read-only
  const char* isa;           // a tier's name, "scalar" or "avx2"; null: CACTUS_ISA or the best
  uint32_t max_rows;         // most tokens of one step; 0: 256
  uint32_t preload;          // 1: read the weights in the background instead of as they are needed
  // Not 0: another plan for the weights of this program, whose file, number of threads and sessions
  // it shares, and its tier where isa is null: an encoder beside its decoder. The plan has the same
  // slots, or none and keeps nothing. weights_path, threads, preload, kv_bytes and resident are not
  // read.
  cactus_id shares;
  // The most memory that the keys and values of all sessions may take together; 0: as long as the
  // machine, or the control group that the process is in, has some left.
  uint64_t kv_bytes;
  // 1: the weights are read into memory of this process before the program is made, and the file is
  // not needed after that. Mapped, as they are at 0, a file that is truncated ends the process
  // where a step reads what is gone; several processes share its memory; and it is read when
  // needed.
  uint32_t resident;
  uint32_t reserved;
} cactus_program_options;

typedef struct cactus_program_info {
  uint32_t size;
  uint32_t threads;
  uint32_t max_rows;
  uint32_t vocab_size;
  uint32_t context_length;
  uint32_t page_positions;  // positions of one KV page
  uint64_t weight_bytes;
  uint64_t arena_bytes;
  uint64_t page_bytes;  // memory of one page of one session, if no layer has a window
  char isa[16];
  uint32_t features;      // floats of a row that the caller gives; 0: none
  uint32_t output_width;  // floats of a row of output: logits, or states where vocab_size is 0
  uint64_t memory_page_bytes;
  uint64_t kv_bytes;  // that the keys and values of all sessions take now
  uint64_t kv_limit;  // kv_bytes of the options
  uint32_t axes;      // numbers of a row's position, where the caller gives them; 0: none
  uint32_t reserved;
} cactus_program_info;

typedef struct cactus_token_logprob {
  int32_t token;
  float logprob;  // natural log of the token's probability, before any option
} cactus_token_logprob;

// Some tokens of one session in a step; or, in a program whose rows are features, those of its new
// memory, all at once. Where every token sees all others of its row, the row is a text (or a
// picture) of its own: the session stays as it is, as it does where rows of features are not
// remembered. Tokens of a program that takes features, too, may be negative: -1 - k is row k of the
// features.
typedef struct cactus_row {
  cactus_id session;
  const int32_t* tokens;
  uint32_t count;
  uint32_t outputs;           // CACTUS_OUTPUTS_*
  cactus_id sampler;          // 0: greedy
  const float* features;      // [n_features][features of the program]; null where there are none
  uint32_t n_top;             // how many of the likeliest tokens are wanted at each output
  uint32_t n_features;        // count, where rows are no tokens
  cactus_token_logprob* top;  // [outputs of this row][n_top], the likeliest first; null where none
  // Not null: whether this row is wanted still; see cactus_program_step. Another thread may make it
  // non-zero at any time.
  const int32_t* stop;
  const int32_t* positions;  // [count][axes of the program], for its rotations; null: the session's
} cactus_row;

typedef struct cactus_output {
  int32_t token;
  float logprob;  // natural log of the token's probability, before any option
  float entropy;  // of the full distribution, in nats
} cactus_output;

// What changes the choice of a token, in this order: logit bias; repetition penalty (divides a
// positive logit and multiplies another one, of every token in its window); presence and frequency
// penalty (subtracted, of every token of the answer); the mask; temperature; top_k; top_p, of the
// mass that top_k leaves; min_p. Where tokens are equal, the lower id counts as the likelier.
typedef struct cactus_sampler_options {
  uint32_t size;
  float temperature;         // 0: greedy
  uint32_t top_k;            // 0: off
  float top_p;               // 1: off
  float min_p;               // 0: off
  float repetition_penalty;  // 1: off
  float presence_penalty;    // 0: off
  float frequency_penalty;   // 0: off
  uint64_t seed;
  const int32_t* bias_tokens;
  const float* bias_values;
  uint32_t bias_count;
  uint32_t repetition_window;  // last tokens that repetition_penalty sees, prompt included; 0: all
} cactus_sampler_options;

// What this machine can do at most with some threads and a tier's instructions: medians of short
// runs of loops that do nothing else. A multiply-add counts as two operations.
typedef struct cactus_machine_peaks {
  uint32_t size;
  uint32_t threads;
  uint64_t buffer_bytes;    // what was read again and again
  double bytes_per_second;  // reading memory
  double int8_per_second;   // operations of int8 dots
  double float_per_second;  // operations of f32 multiply-adds
  char isa[16];
} cactus_machine_peaks;

// clang-format off: one declaration a line
CACTUS_API uint32_t cactus_abi_version(void);
CACTUS_API const char* cactus_last_error(void);
// Measures, for about a second, in which steps of more than one thread wait. threads and isa as in
// cactus_program_options; buffer_bytes 0 stands for 512 MiB.
CACTUS_API cactus_status cactus_machine_peaks_get(int32_t threads, const char* isa, uint64_t buffer_bytes, cactus_machine_peaks* peaks);
// Bit i is set where tier i can run here. The tiers of an architecture are numbered from 0, the
// plainest first; the name of a number past the last is null.
CACTUS_API uint32_t cactus_isa_available(void);
CACTUS_API const char* cactus_isa_name(uint32_t tier);
// out[n] = the product of the n-th of `count` f16 vectors with the query; width is a multiple of 16.
// threads and isa as in cactus_program_options. The same bits with any number of threads.
CACTUS_API cactus_status cactus_dot_f16(const uint16_t* vectors, uint64_t count, uint32_t width, const float* query, float* out, int32_t threads, const char* isa);

CACTUS_API cactus_status cactus_program_create(const cactus_program_options* options, cactus_id* program);
CACTUS_API cactus_status cactus_program_info_get(cactus_id program, cactus_program_info* info);
// Runs the rows in order; writes one output for each row of logits. values, if not null, gets the
// logits, or the states of a program without a vocabulary: [n_outputs][output_width].
// Flags are looked at after every operation. Once another thread has made stop non-zero, or the
// stop of every row, the step ends for all of its rows with CACTUS_ERROR_CANCELLED. A row whose
// flag is set while others go on is computed to the end like them: its session grows and its
// outputs are written, and whoever stopped it drops them.
// A failed step leaves every session as it was, but for two cases: after NONFINITE, CANCELLED or a
// sampler's error one with recurrent state can be shorter; and after these or MEMORY one of
// features can have neither memory nor tokens.
// status, if not null, gets the result, too: for a caller that can be interrupted, by an exception
// of its language, between the end of the call and the use of what it returned. It is written last.
CACTUS_API cactus_status cactus_program_step(cactus_id program, const cactus_row* rows, uint32_t n_rows, cactus_output* outputs, uint32_t n_outputs, float* values, const int32_t* stop, cactus_status* status);
// Up to n_steps steps in a row, each of which is given the tokens that the one before has chosen:
// the same as that many calls. Rows have tokens alone, and CACTUS_OUTPUTS_LAST; outputs are
// [n_steps][n_rows], and a row's top is [n_steps][n_top]. `made` gets the number of steps: fewer
// where a row has chosen one of `ends`, where the stop of a row is set, and where a step after the
// first has failed. That is no error: it is met again where the caller goes on, but sessions may
// then be shorter, as after a failed step. The last tokens chosen are in no session yet.
CACTUS_API cactus_status cactus_program_generate(cactus_id program, const cactus_row* rows, uint32_t n_rows, const int32_t* ends, uint32_t n_ends, cactus_output* outputs, uint32_t n_steps, uint32_t* made, cactus_status* status);
// The values that the last step left in a plan's buffer, for tests: [rows][width] floats.
CACTUS_API cactus_status cactus_program_read(cactus_id program, uint32_t buffer, float* out, uint64_t count);
// Seconds spent in each step of the plan since profiling was switched on; n_steps entries.
CACTUS_API cactus_status cactus_program_profile(cactus_id program, int32_t enable, double* seconds, uint32_t n_steps);
CACTUS_API cactus_status cactus_program_destroy(cactus_id program);

CACTUS_API cactus_status cactus_session_create(cactus_id program, cactus_id* session);
CACTUS_API cactus_status cactus_session_length(cactus_id session, uint32_t* length);
// Positions that tokens of this session attend to besides their own: the rows of its features.
CACTUS_API cactus_status cactus_session_memory(cactus_id session, uint32_t* length);
// Forgets the tokens from `length` on. A session may land earlier, as *reached says: one with
// recurrent state that goes back further than 32 tokens at a multiple of 256; one whose layers see
// a window only, and that goes back further than 1,024 tokens, at 0.
CACTUS_API cactus_status cactus_session_truncate(cactus_id session, uint32_t length, uint32_t* reached);
// A second session with the same past. Pages are shared until one of them writes, and copied as far
// as they are filled.
CACTUS_API cactus_status cactus_session_fork(cactus_id session, cactus_id* copy);
// Makes the session's past that of another session of the same program.
CACTUS_API cactus_status cactus_session_restore(cactus_id session, cactus_id from);
CACTUS_API cactus_status cactus_session_destroy(cactus_id session);

CACTUS_API cactus_status cactus_sampler_create(const cactus_sampler_options* options, cactus_id* sampler);
// Which tokens the next step may choose: a bit mask for each output of its row, [n_masks][n_words];
// copied. Token t is bit t % 32 of word t / 32, and what lies behind the words is not allowed. Null
// allows all. A step that succeeds ends the masks, one that fails keeps them.
CACTUS_API cactus_status cactus_sampler_mask(cactus_id sampler, const uint32_t* words, uint32_t n_words, uint32_t n_masks);
// Tokens before the answer, in order, for the repetition penalty.
CACTUS_API cactus_status cactus_sampler_prompt(cactus_id sampler, const int32_t* tokens, uint32_t n_tokens);
// Tokens of the answer that were not sampled, for all penalties. Sampled tokens count by themselves.
CACTUS_API cactus_status cactus_sampler_accept(cactus_id sampler, const int32_t* tokens, uint32_t n_tokens);
// Goes on as after `n_tokens` sampled tokens: those behind were of guesses that turned out wrong.
// For a sampler without penalties; one with penalties is an error.
CACTUS_API cactus_status cactus_sampler_rewind(cactus_id sampler, uint64_t n_tokens);
CACTUS_API cactus_status cactus_sampler_destroy(cactus_id sampler);
// clang-format on

#ifdef __cplusplus
}
#endif

#endif  // CACTUS_H
