// The op functions: how a step's work is shared between the threads. The arithmetic is in cpu/.
#pragma once

#include "program.h"

namespace cactus {

void run(const EmbedStep& step, const Context& c);
void run(const LinearStep& step, const Context& c);
void run(const AddStep& step, const Context& c);
void run(const MulStep& step, const Context& c);
void run(const SiluStep& step, const Context& c);
void run(const RmsNormStep& step, const Context& c);
void run(const HeadNormStep& step, const Context& c);
void run(const RopeStep& step, const Context& c);
void run(const AttentionStep& step, const Context& c);
void run(const ConvStep& step, const Context& c);
void run(const OutputRowsStep& step, const Context& c);
void run(const QuantizeStep& step, const Context& c);
void run(const SwigluStep& step, const Context& c);
void run(const GeluStep& step, const Context& c);
void run(const GegluStep& step, const Context& c);
void run(const ScaleStep& step, const Context& c);
void run(const FeaturesStep& step, const Context& c);
void run(const Im2colStep& step, const Context& c);
void run(const GeluErfStep& step, const Context& c);
void run(const LayerNormStep& step, const Context& c);
void run(const AddPositionStep& step, const Context& c);
void run(const StoreMemoryStep& step, const Context& c);
void run(const MemoryScoresStep& step, const Context& c);
void run(const BidirectionalStep& step, const Context& c);
void run(const GegluErfStep& step, const Context& c);
void run(const AddSegmentStep& step, const Context& c);
void run(const ExpertsStep& step, const Context& c);
void run(const ReplaceFeaturesStep& step, const Context& c);
void run(const AddFeaturesStep& step, const Context& c);
void run(const DoneStep& step, const Context& c);

// Tiles [first, last) of a weight times so many rows of `in`, into the columns of `out`.
void multiply_tiles(const Context& c, const Weight& w, uint32_t first, uint32_t last,
                    const Buffer& in, uint32_t rows, const Buffer& out);

// A range of work whose pieces cost differently. A piece belongs to the range in which it begins.
class CostShare {
 public:
  // This thread's part of `total`.
  CostShare(const Context& c, uint64_t total);
  explicit CostShare(const Range& costs) : begin_(costs.first), end_(costs.last) {}
  // Which of the next `count` pieces, which cost `each`, are in the range.
  Range next(uint32_t count, uint64_t each);

 private:
  uint64_t begin_, end_, at_ = 0;
};

// Quantises `values` into row `row` of a quantised buffer.
void quantize_into(const Context& c, const Buffer& out, uint32_t row, const float* values);

// Calls compute(row, out) for this thread's rows, in no order of their own. A quantised output is
// computed into scratch first.
template <class Compute>
void for_rows(const Context& c, uint32_t buffer, const Compute& compute) {
  const Buffer& out = c.buffer(buffer);
  c.share(c.rows(out), 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t row = first; row < last; row++) {
      float* target = out.group ? c.scratch() : out.values + static_cast<size_t>(row) * out.stride;
      compute(row, target);
      if (out.group != 0) quantize_into(c, out, row, target);
    }
  });
}

}  // namespace cactus
