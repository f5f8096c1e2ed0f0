// Short convolutions: threads take channels, rows go in order, sequence by sequence.
#include <algorithm>
#include <cstring>

#include "ops/ops.h"

namespace cactus {

namespace {

struct Inputs {
  const float* b;
  const float* x;
  const float* c;
  size_t stride;
};

// Keeps the last columns before the end of every span that this step fills, for Session::truncate.
void save_tails(const ConvStep& step, const Sequence& s, const Inputs& in, uint32_t taps,
                uint32_t width, uint32_t first, uint32_t last, int ring) {
  const uint32_t end = s.start + s.count;
  for (uint32_t boundary = (s.start / kSpan + 1) * kSpan; boundary <= end; boundary += kSpan) {
    float* tail = s.session->tail(boundary / kSpan - 1, step.slot);
    for (uint32_t j = 0; j + 1 < taps; j++) {
      const uint32_t position = boundary - (taps - 1) + j;
      float* column = tail + size_t{j} * width + first;
      if (position < s.start) {
        const float* past = s.session->ring(step.slot) +
                            size_t{position % static_cast<uint32_t>(ring)} * width + first;
        std::memcpy(column, past, (last - first) * sizeof(float));
      } else {
        const size_t row = (position - s.start) * in.stride + first;
        for (uint32_t i = 0; i < last - first; i++) {
          column[i] = in.b ? in.x[row + i] * in.b[row + i] : in.x[row + i];
        }
      }
    }
  }
}

// Channels [first, last) of a sequence.
void convolve(const ConvStep& step, const Context& c, const Sequence& s, float* target,
              uint32_t first, uint32_t last) {
  const Buffer& out = c.buffer(step.out);
  const size_t stride = c.buffer(step.in.buffer).stride;
  const Weight& w = c.weight(step.weight);
  const uint32_t width = out.width, taps = w.cols;
  const float* base = c.row(step.in, s.first_row);
  const Inputs inputs = step.gated ? Inputs{base, base + 2 * size_t{width}, base + width, stride}
                                   : Inputs{nullptr, base, nullptr, stride};
  const int ring = static_cast<int>(taps) - 1 + Session::kRollback;
  save_tails(step, s, inputs, taps, width, first, last, ring);
  ConvArgs args;
  args.b = inputs.b;
  args.x = inputs.x;
  args.c = inputs.c;
  args.stride = inputs.stride;
  args.w = c.floats(step.weight);
  args.taps = static_cast<int>(taps);
  args.out = target + size_t{s.first_row} * out.stride;
  args.out_stride = out.stride;
  args.rows = static_cast<int>(s.count);
  args.first = static_cast<int>(first);
  args.last = static_cast<int>(last);
  args.history = s.session->ring(step.slot);
  args.ring = ring;
  args.width = static_cast<int>(width);
  args.position = s.start;
  c.kernels().conv(&args);
}

}  // namespace

void run(const ConvStep& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  // A quantised output needs whole rows: they are gathered in the f32 scratch buffer of the step.
  float* target = out.group ? c.row_scratch() : out.values;
  c.share(out.width / 16, 1, [&](uint32_t first, uint32_t last) {
    for (const Sequence& s : c.batch().sequences) {
      convolve(step, c, s, target, 16 * first, 16 * last);
    }
  });
  if (out.group == 0) return;
  c.barrier();
  c.share(c.batch().rows(), 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t row = first; row < last; row++) {
      quantize_into(c, out, row, target + size_t{row} * out.stride);
    }
  });
}

}  // namespace cactus
