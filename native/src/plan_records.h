// A plan as it lies in its blob, which python/cactus/graph/plan.py writes: a header and the records
// of weights, buffers, slots and steps, and floats behind them; little-endian, no padding.
#pragma once

#include <cstdint>

namespace cactus {

enum class Op : uint32_t {
  kEmbed = 1,
  kLinear = 2,
  kAdd = 3,
  kMul = 4,
  kSilu = 5,
  kRmsNorm = 6,
  kHeadNorm = 7,
  kRope = 8,
  kAttention = 9,
  kCausalConv1d = 10,
  kOutputRows = 11,
  kQuantize = 12,
  kSwiglu = 13,
  kQkvAttention = 14,
  kShortConv = 15,
  kGelu = 16,
  kGeglu = 17,
  kScale = 18,
  kFeatures = 32,
  kIm2col = 33,
  kGeluErf = 34,
  kLayerNorm = 35,
  kAddPosition = 36,
  kStoreMemory = 37,
  kMemoryAttention = 38,
  kMemoryScores = 39,
  kBidirectionalAttention = 40,
  kGegluErf = 41,
  kAddSegment = 42,
  kExperts = 43,
  kReplaceFeatures = 44,
  kAddFeatures = 45,
};

enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kBf16 = 2,
  kQ8 = 3,
  kQ4 = 4,
  kQ4_64 = 5,
  kQ4_0 = 6,
  kQ8_64 = 7,
  kQ4Nl = 8
};

struct PlanHeader {
  char magic[8];  // "CACTPLN1"
  uint32_t weights, buffers, slots, steps, constants;
  uint32_t vocab_size, context_length;  // vocab_size 0: states are returned, no logits
  uint32_t output;    // the buffer of the logits; or, without a vocabulary, of the states to return
  uint32_t features;  // floats of a row that come from the caller; 0: none
  uint32_t reserved[5];
};
static_assert(sizeof(PlanHeader) == 64);

struct WeightRecord {
  uint32_t dtype, rows, cols;
  uint32_t tiled;  // 1: tiles of 16 rows; 0: [rows][cols] in f32
  uint64_t offset, bytes;
};
static_assert(sizeof(WeightRecord) == 32);

struct BufferRecord {
  uint32_t group;   // 0: f32, 32 or 64: integers with a scale per so many columns
  uint32_t width;   // values of one row
  uint32_t rows;    // 1: has a row per requested logit row, else per token; 2: kept to be read
  uint32_t levels;  // 0: f32, 1: 8 bits, 2: 12 bits
  bool per_output() const { return rows == 1; }
};
static_assert(sizeof(BufferRecord) == 16);

// kMemory: keys and values of a sequence that tokens attend to as a whole: what an encoder heard.
enum class SlotKind : uint32_t { kKv = 0, kConv = 1, kMemory = 2 };

struct SlotRecord {
  uint32_t kind;
  uint32_t a, b;       // kv, memory: heads, head_dim; conv: width, taps
  uint32_t quantized;  // kv, memory: 1: int8 with a scale per head and position, 0: f16
};
static_assert(sizeof(SlotRecord) == 16);

struct StepRecord {
  uint32_t op;
  int32_t in[3];       // buffers, -1: none
  uint32_t in_col[3];  // first column of a view
  int32_t out;
  int32_t weight[4];
  uint32_t weights;
  int32_t slot;
  int32_t i[6];                  // op's integers: heads, kv_heads, head_dim, taps, window ...
  float f[4];                    // op's floats: eps, scale ...
  uint32_t constant, constants;  // rotary frequencies
  // Linear: what is added to each weight's rows, -1: nothing; experts: to the sum, to the choice.
  int32_t bias[4];
  // Where constants say which axis of a row's given position each frequency turns by; -1: the
  // position in the session.
  int32_t axes;
  uint32_t reserved;
};
static_assert(sizeof(StepRecord) == 128);

}  // namespace cactus
