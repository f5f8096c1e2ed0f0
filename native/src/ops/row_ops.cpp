// Ops that work row by row: norms, activations, rotary embedding, quantisation.
#include <algorithm>

#include "ops/ops.h"

namespace cactus {

namespace {

// The same with the row of the step's input: compute(row, x, out).
template <class Compute>
void for_input_rows(const Context& c, const RowStep& step, const Compute& compute) {
  for_rows(c, step.out, [&](uint32_t row, float* y) { compute(row, c.row(step.in, row), y); });
}

int width_of(const Context& c, const RowStep& step) {
  return static_cast<int>(c.buffer(step.out).width);
}
// With the columns that fill the last lanes.
int stride_of(const Context& c, uint32_t buffer) {
  return static_cast<int>(c.buffer(buffer).stride);
}

using Unary = void (*)(const float* x, int width, float* out);
using Pair = void (*)(const float* a, const float* b, int width, float* out);

void run_unary(const Context& c, const RowStep& step, Unary kernel, int width) {
  for_input_rows(c, step, [&](uint32_t, const float* x, float* y) { kernel(x, width, y); });
}

// Of two inputs side by side.
void run_halves(const Context& c, const RowStep& step, Pair kernel) {
  const int width = width_of(c, step);
  for_input_rows(c, step,
                 [&](uint32_t, const float* x, float* y) { kernel(x, x + width, width, y); });
}

void run_pair(const Context& c, const PairStep& step, Pair kernel) {
  const int width = stride_of(c, step.out);
  for_rows(c, step.out, [&](uint32_t row, float* y) {
    kernel(c.row(step.a, row), c.row(step.b, row), width, y);
  });
}

}  // namespace

void quantize_into(const Context& c, const Buffer& out, uint32_t row, const float* values) {
  const PanelRow to = c.panel_row(out, row, 0);
  c.kernels().quantize_row(values, static_cast<int>(out.width), static_cast<int>(out.group), &to);
}

void run(const FeaturesStep& step, const Context& c) {
  const uint32_t width = c.buffer(step.out).width;
  for_rows(c, step.out,
           [&](uint32_t row, float* out) { std::copy_n(c.features(row, step.start), width, out); });
}

void run(const ReplaceFeaturesStep& step, const Context& c) {
  const int width = width_of(c, step);
  for_input_rows(c, step, [&](uint32_t row, const float* x, float* y) {
    const float* features = c.features(row, step.start);
    const float* from = features != nullptr ? features : x;
    if (from != y) std::copy_n(from, width, y);
  });
}

void run(const AddFeaturesStep& step, const Context& c) {
  const int width = width_of(c, step);
  for_input_rows(c, step, [&](uint32_t row, const float* x, float* y) {
    if (const float* features = c.features(row, step.start)) {
      c.kernels().add(x, features, width, y);
    } else if (x != y) {
      std::copy_n(x, width, y);
    }
  });
}

// Windows of a convolution with 3 taps over frames, one or two of which lie in a row (one input
// each); beyond the ends of the sequence are zeros.
void run(const Im2colStep& step, const Context& c) {
  const uint32_t frames = static_cast<uint32_t>(step.frames.size());
  for_rows(c, step.out, [&](uint32_t row, float* out) {
    const Sequence& s = c.batch().sequences[c.batch().sequence[row]];
    const int64_t last = int64_t{s.count} * frames, before = step.taps / 2;
    for (uint32_t window = 0; window < frames; window += step.stride) {
      const int64_t begin = int64_t{row - s.first_row} * frames + window - before;
      for (int64_t frame = begin; frame < begin + step.taps; frame++, out += step.channels) {
        if (frame < 0 || frame >= last) {
          std::fill_n(out, step.channels, 0.0f);
          continue;
        }
        const size_t place = static_cast<size_t>(frame);
        const uint32_t from = s.first_row + static_cast<uint32_t>(place / frames);
        std::copy_n(c.row(step.frames[place % frames], from), step.channels, out);
      }
    }
  });
}

void run(const LayerNormStep& step, const Context& c) {
  const float *w = c.floats(step.weight), *bias = step.bias ? c.floats(*step.bias) : nullptr;
  const int width = width_of(c, step);
  for_input_rows(c, step, [&](uint32_t, const float* x, float* y) {
    c.kernels().layer_norm(x, w, bias, step.eps, width, y);
  });
}

void run(const AddPositionStep& step, const Context& c) {
  const float* table = c.floats(step.weight);
  const int width = width_of(c, step);
  for_input_rows(c, step, [&](uint32_t row, const float* x, float* y) {
    const size_t position = size_t{c.batch().positions[row]} + step.offset;
    c.kernels().add(x, table + position * static_cast<size_t>(width), width, y);
  });
}

// A token belongs to the segment that begins behind so many separators; those after the last row of
// the weight are counted to it.
void run(const AddSegmentStep& step, const Context& c) {
  const float* table = c.floats(step.weight);
  const int width = width_of(c, step);
  const uint32_t last = c.weight(step.weight).rows - 1;
  const std::vector<int32_t>& tokens = c.batch().tokens;
  uint32_t before = 0, segment = 0, sequence = UINT32_MAX;
  for_input_rows(c, step, [&](uint32_t row, const float* x, float* y) {
    if (c.batch().sequence[row] != sequence || row < before) {
      sequence = c.batch().sequence[row];
      before = c.batch().sequences[sequence].first_row;
      segment = 0;
    }
    for (; before < row; before++) segment += tokens[before] == step.separator;
    const size_t at = size_t{std::min(segment, last)} * static_cast<size_t>(width);
    c.kernels().add(x, table + at, width, y);
  });
}

void run(const RmsNormStep& step, const Context& c) {
  const float* w = c.floats(step.weight);
  const int width = width_of(c, step), stride = stride_of(c, step.out);
  for_input_rows(c, step, [&](uint32_t, const float* x, float* y) {
    c.kernels().rms_norm(x, w, step.eps, width, stride, y);
  });
}

void run(const HeadNormStep& step, const Context& c) {
  const float* w = c.floats(step.weight);
  const int head_dim = static_cast<int>(step.head_dim), width = width_of(c, step);
  for_input_rows(c, step, [&](uint32_t, const float* x, float* y) {
    for (int h = 0; h < width; h += head_dim) {
      c.kernels().rms_norm(x + h, w, step.eps, head_dim, head_dim, y + h);
    }
  });
}

void run(const RopeStep& step, const Context& c) {
  const int head_dim = static_cast<int>(step.head_dim), width = width_of(c, step);
  const int half = c.rotary_count(step.rotary);
  for_input_rows(c, step, [&](uint32_t row, const float* x, float* y) {
    const auto [cos, sin] = c.rotary(step.rotary, row);
    for (int h = 0; h < width; h += head_dim) {
      c.kernels().rope(x + h, cos, sin, half, head_dim, y + h);
    }
  });
}

void run(const ScaleStep& step, const Context& c) {
  const int width = stride_of(c, step.out);
  for_input_rows(c, step, [&](uint32_t, const float* x, float* y) {
    c.kernels().scale(x, step.factor, width, y);
  });
}

void run(const AddStep& step, const Context& c) { run_pair(c, step, c.kernels().add); }
void run(const MulStep& step, const Context& c) { run_pair(c, step, c.kernels().mul); }
void run(const SiluStep& step, const Context& c) {
  run_unary(c, step, c.kernels().silu, stride_of(c, step.out));
}
void run(const GeluStep& step, const Context& c) {
  run_unary(c, step, c.kernels().gelu, stride_of(c, step.out));
}
void run(const GeluErfStep& step, const Context& c) {
  run_unary(c, step, c.kernels().gelu_erf, width_of(c, step));
}
void run(const SwigluStep& step, const Context& c) { run_halves(c, step, c.kernels().swiglu); }
void run(const GegluStep& step, const Context& c) { run_halves(c, step, c.kernels().geglu); }
void run(const GegluErfStep& step, const Context& c) { run_halves(c, step, c.kernels().geglu_erf); }

void run(const QuantizeStep& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  c.share(c.rows(out), 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t row = first; row < last; row++) quantize_into(c, out, row, c.row(step.in, row));
  });
}

void run(const OutputRowsStep& step, const Context& c) {
  const int stride = stride_of(c, step.out);
  for_rows(c, step.out, [&](uint32_t row, float* y) {
    std::copy_n(c.row(step.in, c.batch().outputs[row]), stride, y);
  });
}

}  // namespace cactus
