// The steps of a plan, each decoded once into what its op takes. Buffers, weights, slots, rotary
// sets and shapes of tiles are indices into the plan's tables.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "cpu/kernels.h"

namespace cactus {

// The columns of a buffer from `column` on.
struct View {
  uint32_t buffer;
  uint32_t column;
};

// Frequencies constants[first, first + count); cos and sin are multiplied with `scale`. Each turns
// by the position, or by the axis of the given one that constants[axes, axes + count) name.
struct RotarySet {
  uint32_t first, count;
  float scale;
  std::optional<uint32_t> axes;
  auto operator<=>(const RotarySet&) const = default;
};

// What decides how attention cuts the queries of a step into tiles.
struct TileShape {
  uint32_t kv_heads;
  uint32_t group;   // query heads of a key/value head
  uint32_t window;  // how many positions a query sees, its own included; 0: all
  bool memory;      // every query sees the whole memory
  bool blocks;      // rows of features see those that follow them in a step, too
  bool coded;       // keys and values are bytes
  auto operator<=>(const TileShape&) const = default;
};

// out = op(in), row by row; the buffers of most ops.
struct RowStep {
  View in;
  uint32_t out;
};
struct SiluStep : RowStep {};
struct GeluStep : RowStep {};
struct GeluErfStep : RowStep {};
struct SwigluStep : RowStep {};  // of gate and up, side by side
struct GegluStep : RowStep {};   // the same
struct GegluErfStep : RowStep {};
struct QuantizeStep : RowStep {};
struct OutputRowsStep : RowStep {};
struct ScaleStep : RowStep {
  float factor;
};
struct RmsNormStep : RowStep {
  uint32_t weight;
  float eps;
};
struct HeadNormStep : RowStep {
  uint32_t weight;
  float eps;
  uint32_t head_dim;
};
struct LayerNormStep : RowStep {
  uint32_t weight;
  std::optional<uint32_t> bias;
  float eps;
};
struct RopeStep : RowStep {
  uint32_t head_dim, rotary;
};
struct AddPositionStep : RowStep {
  uint32_t weight, offset;  // of the row for position 0
};
struct AddSegmentStep : RowStep {
  uint32_t weight;
  int32_t separator;  // the token that ends a segment of a text
};
struct ConvStep : RowStep {
  uint32_t weight, slot;
  bool gated;  // in: gate before, gate after and x, side by side
};

struct PairStep {
  View a, b;
  uint32_t out;
};
struct AddStep : PairStep {};
struct MulStep : PairStep {};

struct EmbedStep {
  uint32_t weight, out;
};
// Columns of the features from `start` on.
struct FeaturesStep {
  uint32_t start, out;
};
// The same, of the rows among tokens that have features.
struct ReplaceFeaturesStep : RowStep {
  uint32_t start;
};
struct AddFeaturesStep : RowStep {
  uint32_t start;
};

// A row holds as many frames as there are inputs.
struct Im2colStep {
  std::vector<View> frames;
  uint32_t taps, stride, channels, out;
};

struct Matrix {
  uint32_t weight;
  std::optional<uint32_t> bias;
};
// What the rows of a product become instead of its output, and in which buffer.
struct Activated {
  Activation by;
  uint32_t out;
};
struct LinearStep {
  View in;
  std::optional<uint32_t> residual;  // a buffer
  std::vector<Matrix> matrices;      // their rows are concatenated
  uint32_t out;
  std::optional<Activated> activated = {};
};
// One whose work is done by the step before it.
struct DoneStep {};

// Each row by `top_k` of the experts, whose matrices lie one behind the other in w1 and in w2.
struct ExpertsStep {
  View in, logits;
  uint32_t w1, w2;
  std::optional<uint32_t> bias;        // of the sum
  std::optional<uint32_t> preference;  // is added to probabilities where experts are chosen
  uint32_t experts, top_k;
  bool sigmoid;    // probabilities of the logits, else softmax
  bool normalize;  // weights by their sum + eps
  bool gated;      // swiglu between the products, else gelu_erf
  float scale, eps;
  uint32_t groups[2], levels;  // of what the products take, as in buffers
  uint32_t out;
};

struct KeysAndValues {
  View k, v;
};
struct HeadNorms {
  uint32_t q, k;  // weights
  float eps;
};
// What is common to all attention.
struct Heads {
  View q;
  std::optional<KeysAndValues> stored;  // before it attends
  std::optional<HeadNorms> norms;       // of queries and keys, before they are rotated
  std::optional<uint32_t> rotary;
  uint32_t kv_heads, group;  // query heads of a key/value head
  uint32_t head_dim;
  float scale;  // of the queries
  uint32_t out;
};
struct AttentionStep : Heads {
  TileShape shape;
  uint32_t tiles;  // the number of its shape
  uint32_t slot;
};
// Over all rows of the same text in this step; keys and values are not kept.
struct BidirectionalStep : Heads {
  uint32_t reach;  // positions that a query sees to each side; 0: all
  // Rows see only those that stand at the same place of this axis of the given positions.
  std::optional<uint32_t> within;
};
struct StoreMemoryStep {
  KeysAndValues stored;
  uint32_t kv_heads, head_dim, slot;
};
// The scores of one head.
struct MemoryScoresStep : RowStep {
  uint32_t head, head_dim;
  float scale;
  uint32_t slot;
};

using Operation =
    std::variant<EmbedStep, LinearStep, AddStep, MulStep, SiluStep, RmsNormStep, HeadNormStep,
                 RopeStep, AttentionStep, ConvStep, OutputRowsStep, QuantizeStep, SwigluStep,
                 GeluStep, GegluStep, ScaleStep, FeaturesStep, Im2colStep, GeluErfStep,
                 LayerNormStep, AddPositionStep, StoreMemoryStep, MemoryScoresStep,
                 BidirectionalStep, GegluErfStep, AddSegmentStep, ExpertsStep, ReplaceFeaturesStep,
                 AddFeaturesStep, DoneStep>;

struct Step {
  Operation operation;
  std::vector<uint32_t> reads;  // buffers
  std::optional<uint32_t> writes;
};

}  // namespace cactus
