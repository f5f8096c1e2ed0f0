// The kernel table: everything that a CPU tier must offer. One table per tier, chosen when a
// program is created; the bodies are the .inl files beside this header, compiled once per tier.
//
// This header is seen by code that is compiled for other instruction sets, so it holds plain data
// and function pointers only: an inline function here could be emitted with AVX-512 instructions
// and kept by the linker for every caller.
#pragma once

#include <cstddef>
#include <cstdint>

// Loops over a tile's rows must disappear early, or GCC leaves the accumulators in memory.
#define CACTUS_UNROLL _Pragma("GCC unroll 16")

namespace cactus {

constexpr int kTileRows = 16;  // rows of a weight tile = lanes of every kernel
constexpr int kGroup = 32;     // columns of a unit of a panel; these or twice as many share a scale
constexpr int kQ4Block = 320;  // bytes: 4 x 64 of codes, 16 f16 scales, 16 f16 minima
constexpr int kQ8Block = 544;  // bytes: 8 x 64 of codes, 16 f16 scales
constexpr int kQ4_0Block = 288;   // bytes: as q4 without minima, which are -8 scales
constexpr int kQ4NlBlock = 288;   // bytes: as q4_0
constexpr int kQ4_64Block = 576;  // bytes, of 64 columns: 8 x 64 of codes, 16 f16 scales, 16 minima
constexpr int kQ8_64Block = 1056;  // bytes, of 64 columns: 16 x 64 of codes, 16 f16 scales
// What the codes of q4_nl stand for, as q8 stores it: with an offset of 128.
alignas(16) constexpr uint8_t kLevels[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                             129, 141, 153, 166, 181, 197, 217, 241};
constexpr int kPage = 64;   // positions of a KV page
constexpr int kSpan = 256;  // positions that attention finishes and then merges
constexpr int kSpanPages = kSpan / kPage;
constexpr int kMaxHeadDim = 512;
constexpr int kPeakBytes = 4096;                // operands of the loops that measure peaks
constexpr int kQueryStride = kMaxHeadDim + 16;  // floats between queries; no power of two
constexpr int kMaxQueries = 16;    // query rows that one attention tile handles together, at most
constexpr int kNear = 8;           // queries that a key's bytes are rounded for, at most
constexpr int kTextKeys = 32;      // positions of a text that are stored together
constexpr int kTextBlock = 32;     // queries of a text that a row shares its blocks with
constexpr int kTextQueries = 256;  // that attend to a text together, at most
constexpr int kTilesAtOnce = 2;    // tiles that matrix units work on together
constexpr int kMaxLevels = 2;      // int8 levels of an activation
constexpr int kQ8Steps = 127;      // largest magnitude of an activation in 8 bits, in its steps
constexpr int kQ12Steps = 1904;    // 119 * 16: the same in 12 bits

// x * y as vectors multiply: a panel that nothing has filled, as in a damaged plan, has any sums.
static inline int32_t wrapped(int32_t x, int32_t y) {
  return static_cast<int32_t>(static_cast<uint32_t>(x) * static_cast<uint32_t>(y));
}

// Activations are integers with a scale per group of 32 or 64, in one or two levels of int8. Of
// each 8 columns the first four are paired with the last four, because a byte of q4 weights holds
// such a pair: as one number it is w_first + 16 * w_last, and one product with `lo` serves both.
//   8 bits:   x_first = hi_first,              x_last = hi_last   (in units of `scale`)
//   12 bits:  x_first = 256 * hi_first + lo,   x_last = 256 * hi_last + 16 * lo
// In 12 bits a column has steps of 16 units, and lo is chosen to suit both. Codes are -127..127.
// They lie in panels of up to panel_rows rows, as the matrix kernels read them. 32 columns of M
// rows are
//   int8 codes[4][M][12]   per 8 columns, per row: hi_first[4], hi_last[4], lo[4]; without lo
//                          [4][M][8]; or, for 12 bits where dots are of 16 bits, int16[4][M][8]:
//                          x of the columns 0, 2, 4, 6, 1, 3, 5, 7; or, for matrix units, int8
//                          [M][32] of 8 bits, and [M][2][32] of 12: x as 256 * first + second;
//                          or, of 8 bits, bf16[M][32] of what they would be made of, and nothing
//                          more
//   float scale[M]         of a unit
//   float sum[M]           sum of the group's values (what a weight's minimum is multiplied with)
//   int32 isum[M]          sum of these 32 columns in units
// and the next 32 columns follow. The halves of a group of 64 have the same scale and sum; for
// matrix units they lie together, as int8[M][64] or [M][2][64] with one scale and sum, in as many
// bytes.

struct PanelRow {
  uint8_t* panel;
  int rows;  // M
  int row;
  int levels;
};

// One KV page of one key/value head. Where the scales are null it is f16: k is
// [4 blocks][head_dim][16 positions], v is [64 positions][head_dim]. Else it is bytes, codes of
// -127..127 with an offset of 128, as q8 weights are, with a scale for each of the 64 positions: k
// is [4 blocks][head_dim / 4][16 positions][4], v is [16][head_dim][4 positions]. What was never
// stored is of no meaning, and may be NaN. Keys of bytes are mixed: a Walsh-Hadamard transform of
// theirs, as it is of the queries that meet them.
struct KvPage {
  void* k;
  void* v;
  float* k_scales;
  float* v_scales;
};

// The pages of 256 positions.
struct KvSpan {
  KvPage pages[kSpanPages];
};

// Queries of one key/value head that read the same span.
struct AttendArgs {
  const float* q;          // [count][kQueryStride], scaled, and for bytes made by code_query
  int start[kMaxQueries];  // the query sees positions [start, limit) of this span, 0..256;
  int limit[kMaxQueries];  // where there are none, its m, l and o mean nothing
  int count;               // 1..max_queries, or coded_queries
  int head_dim;
  KvSpan span;
  KvSpan next;    // what the thread reads after this one; any that is there will do
  float* scores;  // scratch [kMaxQueries][kSpan]
  float* m;       // out [count]: largest score
  float* l;       // out [count]: sum of exp(score - m)
  float* o;       // out [count][head_dim]: sum of exp(score - m) * v
};

// How the running result of a query takes that of a span: not at all, in place of its own, or
// folded into it.
enum class Merge : uint8_t { kNone, kTaken, kBoth };
struct MergeArgs {
  Merge merge[kMaxQueries];
  int count;
  int head_dim;
  float *m, *l, *o;  // as in AttendArgs; m and l have room for kMaxQueries
  const float *span_m, *span_l, *span_o;
};

// Up to kTextKeys positions of one key/value head of a text.
struct TextKeys {
  const float* k[kTextKeys];
  const float* v[kTextKeys];
  const float* common;  // what is subtracted from all keys of the text; what is not finite is not
  int count;
  int head_dim;
  uint8_t* to;  // TextKernels::key_bytes(head_dim)
};

// Queries of one key/value head of a text.
struct TextQueries {
  const float* q[kTextQueries];
  float* out[kTextQueries];  // may be those of q
  int start[kTextQueries];   // the query sees positions [start, limit) of the text, at least one;
  int limit[kTextQueries];   // neither falls from one to the next
  int count;                 // 1..kTextQueries
  int head_dim;
  float scale;
  int first;            // position that is stored first, a multiple of kTextKeys
  const uint8_t* keys;  // of all that they see, in order
  const float* v;       // of position 0
  size_t v_stride;      // floats
  uint8_t* scratch;     // TextKernels::scratch(head_dim)
};

// Attention over a whole text. The bits of a row may depend on which queries are in the same
// kTextBlock of those that are given together.
struct TextKernels {
  uint32_t block;  // queries are best given in multiples of so many
  size_t (*key_bytes)(int head_dim);
  size_t (*scratch)(int head_dim);
  void (*store)(const TextKeys* keys);
  void (*attend)(const TextQueries* queries);
};

struct ConvArgs {
  const float* b;  // gate before the convolution, or null
  const float* x;  // [rows], the input
  const float* c;  // gate after the convolution, or null
  size_t stride;   // floats between rows of b, x and c
  const float* w;  // [width][taps]
  int taps;
  float* out;
  size_t out_stride;
  int rows;
  int first, last;  // channels [first, last), multiples of 16
  // History: input columns by position modulo `ring`, [ring][width].
  float* history;
  int ring;
  int width;
  int64_t position;  // of the first row
};

constexpr int kLogitSlice = 512;  // logits whose sums are computed by themselves

// Of one slice of a row. `finite` is false where it holds NaN or infinity; the sums mean nothing
// then, and with NaN max and argmax neither.
struct LogitSlice {
  float max;
  int argmax;      // within the slice, the first on ties
  float sum;       // of exp(logit - max)
  float weighted;  // sum of exp(logit - max) * (logit - max)
  int finite;
};

// What is made of each number of a product before it is stored.
enum class Activation { kNone, kGelu, kGeluErf };

// out[m][0..16 tiles) = W x (+ bias) (+ residual): tiles of W, which follow one another, against
// the panels of `rows` rows.
struct TilesProduct {
  const uint8_t* tile;
  int tiles, cols;
  const uint8_t* panels;
  int rows;
  float* out;
  size_t out_stride;
  const float* bias;      // of these tiles, or null
  const float* residual;  // as out, or null
  // Only of one_level: panels of one level that take the activation of the sums, instead of out;
  // their rows have activated_width columns, and the first tile's begin at `column`.
  Activation activation = Activation::kNone;
  uint8_t* activated = nullptr;
  int activated_width = 0, column = 0;
};
using MultiplyTiles = void (*)(const TilesProduct* product);

// A kernel for each type of quantised weights.
template <class Kernel>
struct ByType {
  Kernel q4, q8, q4_0, q4_nl, q4_64, q8_64;
};

// Rows of activations: a panel of them in so many levels, and those that follow it; in the groups
// of the weights that they meet.
struct PanelRows {
  const uint8_t* panels;
  int rows;
  int levels;
};

// out[m][0..16 tiles) = W x (+ residual) of quantised weights: tiles of 16 rows of W, which follow
// one another.
using LinearTiles = void (*)(const uint8_t* tile, int tiles, int cols, const PanelRows& x,
                             float* out, size_t out_stride, const float* residual);

// The same of one tile of weights of floats, which meet rows of floats.
using LinearFloats = void (*)(const uint8_t* tile, int cols, const float* x, size_t stride,
                              int rows, float* out, size_t out_stride, const float* residual);

struct KernelTable {
  const char* name;
  int panel_rows;     // rows of a panel, M at most
  int few_rows;       // where there are more but not panel_rows, the panel is laid out for these
  int max_rows;       // rows that a call of `linear` may be given: those of one panel or several
  int own_rows;       // with so many rows each, threads multiply their own rows; 0: never
  int max_queries;    // queries that an attend_span call may be given
  int coded_queries;  // the same where they meet pages of bytes
  int panel_bytes[kMaxLevels];  // by levels - 1: of one row's 32 columns, with scale and sums

  // What each thread does before its first and after its last call of a step.
  void (*begin)();
  void (*end)();

  ByType<LinearTiles> linear;
  LinearFloats linear_f32;
  LinearFloats linear_f16;
  LinearFloats linear_bf16;

  // What multiplies 16-bit weights as bf16 wants rows split: split_row writes one into a panel,
  // split_bytes for 32 columns, and behind the last panel there is room for a whole one. Then
  // split_* multiply up to split_rows of them, which are whole panels. Where split_bytes is 0,
  // there are none.
  int split_bytes;
  int split_rows;
  void (*split_row)(const float* x, int cols, const PanelRow* to);
  MultiplyTiles split_f16;
  MultiplyTiles split_bf16;

  // Quantised weights and panels of one level, where `linear` does not take these; else null. These
  // can store activations.
  ByType<MultiplyTiles> one_level;

  // All widths are multiples of 16 floats (quantize_row: of the group).
  void (*quantize_row)(const float* x, int width, int group, const PanelRow* out);
  // The value of a column of the group that `at` points to.
  float (*panel_value)(const PanelRow* at, int group, int column);
  void (*rms_norm)(const float* x, const float* w, float eps, int width, int padded, float* out);
  // bias may be null: nothing is added.
  void (*layer_norm)(const float* x, const float* w, const float* bias, float eps, int width,
                     float* out);
  void (*add)(const float* a, const float* b, int width, float* out);
  void (*mul)(const float* a, const float* b, int width, float* out);
  void (*silu)(const float* x, int width, float* out);
  void (*gelu_erf)(const float* x, int width, float* out);
  void (*swiglu)(const float* gate, const float* up, int width, float* out);
  void (*gelu)(const float* x, int width, float* out);
  void (*geglu)(const float* gate, const float* up, int width, float* out);
  void (*geglu_erf)(const float* gate, const float* up, int width, float* out);
  void (*scale)(const float* x, float factor, int width, float* out);

  // Rotary embedding of one head, half-split: out may be x. cos and sin have `half` values.
  void (*rope)(const float* x, const float* cos, const float* sin, int half, int head_dim,
               float* out);

  // Stores one key and value head at position `slot` (0..63) of a page. `near` are `count` queries,
  // 0..kNear, that those which will meet the key are like: bytes are rounded to suit them.
  void (*kv_store)(const float* k, const float* v, int head_dim, int slot, const KvPage* page,
                   const float* const* near, int count);
  // A scaled query, as it meets pages of bytes, in kQueryStride floats.
  void (*code_query)(const float* q, int head_dim, float* out);
  void (*attend_span)(const AttendArgs* args);
  // Only the scores, of the positions up to limit[0], whatever a query sees.
  void (*score_span)(const AttendArgs* args);
  void (*attend_merge)(const MergeArgs* args);

  TextKernels text;       // in bf16, or null
  TextKernels text_int8;  // in bytes, of rows that see all of a text; null as text may be

  void (*conv)(const ConvArgs* args);

  void (*logit_stats)(const float* logits, int count, LogitSlice* out);
  // out[i] = exp((logits[i] - top) / temperature); returns their sum.
  float (*logit_weights)(const float* logits, int count, float top, float temperature, float* out);
  // Appends what is `floor` or more, in order; returns how many. Tokens are numbered from `first`.
  // values and tokens have room for all.
  int (*logit_gather)(const float* logits, int count, float floor, int first, float* values,
                      int32_t* tokens);

  // out[n] = vectors[n] . query; width is a multiple of 16.
  void (*dot_f16)(const uint16_t* vectors, size_t count, size_t width, const float* query,
                  float* out);

  // What the machine can do at most. What they return only keeps the work from being left out.
  // peak_read reads `count` floats, a multiple of 64, once; the other two go `rounds` times over
  // kPeakBytes of operands, each time with dot_round or fma_round multiply-adds.
  int dot_round, fma_round;
  float (*peak_read)(const float* data, size_t count);
  float (*peak_dot)(const uint8_t* operands, int rounds);
  float (*peak_fma)(const float* operands, int rounds);
};

extern const KernelTable kernels_scalar;
#if defined(__x86_64__)
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avxvnni;
extern const KernelTable kernels_avx512;
extern const KernelTable kernels_avx512_bf16;
extern const KernelTable kernels_amx_bf16;
extern const KernelTable kernels_amx;
#elif defined(__aarch64__)
extern const KernelTable kernels_neon;
extern const KernelTable kernels_neon_i8mm;
#endif

}  // namespace cactus
