// Ops that work row by row: embedding, norms, activations, rotary embedding, quantisation.
#include <algorithm>
#include <cstring>

#include "ops/ops.h"

namespace cactus {

namespace {

float half_value(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, sizeof h);
  const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  const float sign = (h & 0x8000u) != 0 ? -1.0f : 1.0f;
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-24f;
  uint32_t bits = ((exponent == 31 ? 255u : exponent + 112u) << 23) | (mantissa << 13);
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return sign * f;
}

// Row `row` of a tiled weight as floats.
void read_weight_row(const Weight& w, uint32_t row, float* out) {
  const uint8_t* tile = w.data + row / kTileRows * w.tile_bytes;
  const uint32_t r = row % kTileRows;
  for (uint32_t k = 0; k < w.cols; k++) {
    const uint32_t group = k / kGroup, c = k % kGroup;
    const size_t element = static_cast<size_t>(k) * kTileRows + r;
    switch (w.dtype) {
      case DType::kF32: std::memcpy(out + k, tile + element * 4, 4); break;
      case DType::kF16: out[k] = half_value(tile + element * 2); break;
      case DType::kBf16: {
        uint16_t high;
        std::memcpy(&high, tile + element * 2, 2);
        const uint32_t bits = static_cast<uint32_t>(high) << 16;
        std::memcpy(out + k, &bits, 4);
        break;
      }
      case DType::kQ8: {
        const uint8_t* block = tile + static_cast<size_t>(group) * kQ8Block;
        const int code = block[64 * (c / 4) + r * 4 + c % 4] - 128;
        out[k] = half_value(block + 512 + 2 * r) * static_cast<float>(code);
        break;
      }
      case DType::kQ4_0: {
        const uint8_t* block = tile + static_cast<size_t>(group) * kQ4_0Block;
        const uint8_t byte = block[64 * (c / 8) + r * 4 + c % 4];
        const int code = c % 8 < 4 ? byte & 15 : byte >> 4;
        out[k] = half_value(block + 256 + 2 * r) * static_cast<float>(code - 8);
        break;
      }
      case DType::kQ4:
      case DType::kQ4_64: {
        const size_t wide = w.dtype == DType::kQ4 ? 1 : 2;
        const uint8_t* block = tile + k / (kGroup * wide) * (256 * wide + 64);
        const uint8_t* factors = block + 256 * wide + 2 * r;
        const uint8_t byte = block[64 * (k % (kGroup * wide) / 8) + r * 4 + c % 4];
        const int code = c % 8 < 4 ? byte & 15 : byte >> 4;
        // Two roundings, whatever the compiler may fuse elsewhere.
        const float product = half_value(factors) * static_cast<float>(code);
        out[k] = product + half_value(factors + 32);
        break;
      }
    }
  }
}

// Row `row` of an f32 input, at the step's first column.
const float* input_row(const StepRecord& step, const Context& c, int n, uint32_t row) {
  const Buffer& b = c.buffer(step.in[n]);
  return b.values + static_cast<size_t>(row) * b.stride + step.in_col[n];
}

// Calls compute(row, out) for this thread's rows. A quantised output is computed into scratch
// first.
template <class Compute>
void for_rows(const StepRecord& step, const Context& c, const Compute& compute) {
  const Buffer& out = c.buffer(step.out);
  uint32_t first, last;
  c.share(c.rows(out), &first, &last);
  for (uint32_t row = first; row < last; row++) {
    float* target = out.group ? c.scratch() : out.values + static_cast<size_t>(row) * out.stride;
    compute(row, target);
    if (out.group != 0) quantize_into(c, out, row, target);
  }
}

}  // namespace

void quantize_into(const Context& c, const Buffer& out, uint32_t row, const float* values) {
  const PanelRow to = c.panel_row(out, row, 0);
  c.kernels().quantize_row(values, static_cast<int>(out.width), static_cast<int>(out.group), &to);
}

void op_embed(const StepRecord& step, const Context& c) {
  const Weight& table = c.weight(step.weight[0]);
  for_rows(step, c, [&](uint32_t row, float* out) {
    read_weight_row(table, static_cast<uint32_t>(c.batch().tokens[row]), out);
  });
}

void op_features(const StepRecord& step, const Context& c) {
  const uint32_t width = c.buffer(step.out).width;
  for_rows(step, c, [&](uint32_t row, float* out) {
    const Sequence& s = c.batch().sequences[c.batch().sequence[row]];
    std::copy_n(s.features + size_t{row - s.first_row} * width, width, out);
  });
}

// Windows of a convolution with 3 taps over frames, one or two of which lie in a row (one input
// each); beyond the ends of the sequence are zeros.
void op_im2col(const StepRecord& step, const Context& c) {
  const uint32_t taps = 3, stride = static_cast<uint32_t>(step.i[1]);
  const uint32_t frames = step.in[1] < 0 ? 1 : 2;
  const uint32_t channels = c.buffer(step.out).width * stride / (taps * frames);
  for_rows(step, c, [&](uint32_t row, float* out) {
    const Sequence& s = c.batch().sequences[c.batch().sequence[row]];
    const int64_t last = int64_t{s.count} * frames;
    for (uint32_t window = 0; window < frames; window += stride) {
      const int64_t middle = int64_t{row - s.first_row} * frames + window;
      for (int64_t frame = middle - 1; frame <= middle + 1; frame++, out += channels) {
        if (frame < 0 || frame >= last) {
          std::fill_n(out, channels, 0.0f);
          continue;
        }
        const uint32_t from = s.first_row + static_cast<uint32_t>(frame) / frames;
        std::copy_n(input_row(step, c, static_cast<int>(frame % frames), from), channels, out);
      }
    }
  });
}

void op_gelu_erf(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).width);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().gelu_erf(input_row(step, c, 0, row), width, y);
  });
}

void op_layer_norm(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).width);
  const float* w = reinterpret_cast<const float*>(c.weight(step.weight[0]).data);
  const float* bias = reinterpret_cast<const float*>(c.weight(step.weight[1]).data);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().layer_norm(input_row(step, c, 0, row), w, bias, step.f[0], width, y);
  });
}

void op_add_position(const StepRecord& step, const Context& c) {
  const size_t width = c.buffer(step.out).width;
  const float* table = reinterpret_cast<const float*>(c.weight(step.weight[0]).data);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().add(input_row(step, c, 0, row), table + c.batch().positions[row] * width,
                    static_cast<int>(width), y);
  });
}

void op_rms_norm(const StepRecord& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  const float* w = reinterpret_cast<const float*>(c.weight(step.weight[0]).data);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().rms_norm(input_row(step, c, 0, row), w, step.f[0], static_cast<int>(out.width),
                         static_cast<int>(out.stride), y);
  });
}

void op_head_norm(const StepRecord& step, const Context& c) {
  const int head_dim = step.i[2];
  const float* w = reinterpret_cast<const float*>(c.weight(step.weight[0]).data);
  const uint32_t width = c.buffer(step.out).width;
  for_rows(step, c, [&](uint32_t row, float* y) {
    const float* x = input_row(step, c, 0, row);
    for (uint32_t h = 0; h < width; h += static_cast<uint32_t>(head_dim)) {
      c.kernels().rms_norm(x + h, w, step.f[0], head_dim, head_dim, y + h);
    }
  });
}

void op_rope(const StepRecord& step, const Context& c) {
  const int head_dim = step.i[2];
  const int half = static_cast<int>(step.constants);
  const uint32_t width = c.buffer(step.out).width;
  for_rows(step, c, [&](uint32_t row, float* y) {
    const float* x = input_row(step, c, 0, row);
    const auto [cos, sin] = c.rotary(row);
    for (uint32_t h = 0; h < width; h += static_cast<uint32_t>(head_dim)) {
      c.kernels().rope(x + h, cos, sin, half, head_dim, y + h);
    }
  });
}

void op_add(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).stride);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().add(input_row(step, c, 0, row), input_row(step, c, 1, row), width, y);
  });
}

void op_mul(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).stride);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().mul(input_row(step, c, 0, row), input_row(step, c, 1, row), width, y);
  });
}

void op_silu(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).stride);
  for_rows(step, c,
           [&](uint32_t row, float* y) { c.kernels().silu(input_row(step, c, 0, row), width, y); });
}

void op_swiglu(const StepRecord& step, const Context& c) {
  const uint32_t width = c.buffer(step.out).width;
  for_rows(step, c, [&](uint32_t row, float* y) {
    const float* gate = input_row(step, c, 0, row);
    c.kernels().swiglu(gate, gate + width, static_cast<int>(width), y);
  });
}

void op_gelu(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).stride);
  for_rows(step, c,
           [&](uint32_t row, float* y) { c.kernels().gelu(input_row(step, c, 0, row), width, y); });
}

void op_geglu(const StepRecord& step, const Context& c) {
  const uint32_t width = c.buffer(step.out).width;
  for_rows(step, c, [&](uint32_t row, float* y) {
    const float* gate = input_row(step, c, 0, row);
    c.kernels().geglu(gate, gate + width, static_cast<int>(width), y);
  });
}

void op_scale(const StepRecord& step, const Context& c) {
  const int width = static_cast<int>(c.buffer(step.out).stride);
  for_rows(step, c, [&](uint32_t row, float* y) {
    c.kernels().scale(input_row(step, c, 0, row), step.f[0], width, y);
  });
}

void op_quantize(const StepRecord& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  uint32_t first, last;
  c.share(c.rows(out), &first, &last);
  for (uint32_t row = first; row < last; row++) {
    quantize_into(c, out, row, input_row(step, c, 0, row));
  }
}

void op_output_rows(const StepRecord& step, const Context& c) {
  const Buffer& out = c.buffer(step.out);
  uint32_t first, last;
  c.share(c.rows(out), &first, &last);
  for (uint32_t row = first; row < last; row++) {
    std::memcpy(out.values + static_cast<size_t>(row) * out.stride,
                input_row(step, c, 0, c.batch().outputs[row]), out.stride * sizeof(float));
  }
}

}  // namespace cactus
