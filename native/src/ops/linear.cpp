// out = W x (+ residual) (+ bias), the weights' rows concatenated: threads take runs of 16-row
// tiles, of all rows of the batch or of a part of them.
#include <algorithm>

#include "ops/ops.h"

namespace cactus {

namespace {

// Weights of a block stay in the second-level cache while the rows of a part of the batch pass over
// them, and these rows stay there, too, while all blocks pass.
constexpr size_t kBlockBytes = 256 * 1024, kRowsBytes = 1024 * 1024;
// Pieces of work for each thread, so that none waits long for one that has a piece more.
constexpr uint32_t kShares = 4;

uint32_t tiles_of(const Weight& w) { return padded(w.rows) / kTileRows; }

// The kernel for weights of a quantised type.
template <class Kernel>
Kernel of_type(const ByType<Kernel>& kernels, DType dtype) {
  switch (dtype) {
    case DType::kQ4: return kernels.q4;
    case DType::kQ4_0: return kernels.q4_0;
    case DType::kQ4Nl: return kernels.q4_nl;
    case DType::kQ4_64: return kernels.q4_64;
    case DType::kQ8_64: return kernels.q8_64;
    default: return kernels.q8;
  }
}

// Whether the kernels want rows split before they meet this weight.
bool wants_split(const Weight& w, const KernelTable& kernels) {
  return kernels.split_bytes != 0 && (w.dtype == DType::kF16 || w.dtype == DType::kBf16);
}

// Bytes of a row.
size_t split_bytes(const Weight& w, const KernelTable& kernels) {
  return size_t{(w.cols + kGroup - 1) / kGroup} * static_cast<size_t>(kernels.split_bytes);
}

// This thread's share of the input's rows, for a weight and others of as many columns.
void split_rows(const LinearStep& step, const Weight& w, const Context& c) {
  const KernelTable& k = c.kernels();
  const uint32_t rows = c.rows(c.buffer(step.out)), most = static_cast<uint32_t>(k.panel_rows);
  uint8_t* panels = reinterpret_cast<uint8_t*>(c.row_scratch());
  c.share(rows, 1, [&](uint32_t first, uint32_t last) {
    for (uint32_t row = first; row < last; row++) {
      const uint32_t begin = row / most * most;
      const PanelRow to{panels + begin * split_bytes(w, k),
                        static_cast<int>(std::min(most, rows - begin)),
                        static_cast<int>(row - begin), 0};
      k.split_row(c.row(step.in, row), static_cast<int>(w.cols), &to);
    }
  });
}

// The product of one weight with the step's input.
struct Product {
  const Context& c;
  const Weight& w;
  const Buffer& in;
  uint32_t in_rows;  // of the whole buffer
  uint32_t in_col;
  float* out;             // first column of this weight's rows
  const float* residual;  // the same, or null
  const float* bias;      // of this weight's rows, or null
  size_t out_stride;
  const uint8_t* split = nullptr;  // the rows as the kernels want them for this weight, or null
  std::optional<Activated> activated = {};
  uint32_t first_column = 0;  // of this weight's rows in the step's output

  // Columns of tiles [first, last) for rows [row, row + count), count <= max_rows.
  void run(uint32_t first, uint32_t last, uint32_t row, uint32_t count) const {
    if (const MultiplyTiles multiply = of_tiles()) {
      return run_at_once(multiply, first, last, row, count);
    }
    run_tiles(first, last, row, count);
    if (bias == nullptr) return;
    const int width = static_cast<int>((last - first) * kTileRows);
    for (uint32_t m = row; m < row + count; m++) {
      float* y = out + m * out_stride + static_cast<size_t>(first) * kTileRows;
      c.kernels().add(y, bias + first * kTileRows, width, y);
    }
  }

  // The kernel that takes several tiles, or null.
  MultiplyTiles of_tiles() const {
    const KernelTable& k = c.kernels();
    if (split != nullptr) return w.dtype == DType::kF16 ? k.split_f16 : k.split_bf16;
    if (!w.quantized || in.levels != 1) return nullptr;
    return of_type(k.one_level, w.dtype);
  }

  const uint8_t* panels(uint32_t row) const {
    if (split != nullptr) return split + row * split_bytes(w, c.kernels());
    return w.quantized ? c.program.panel_row(in, in_rows, row, 0).panel : nullptr;
  }

  void run_at_once(MultiplyTiles multiply, uint32_t first, uint32_t last, uint32_t row,
                   uint32_t count) const {
    const size_t column = static_cast<size_t>(first) * kTileRows, at = row * out_stride + column;
    TilesProduct product{w.data + first * w.tile_bytes,
                         static_cast<int>(last - first),
                         static_cast<int>(w.cols),
                         panels(row),
                         static_cast<int>(count),
                         out + at,
                         out_stride,
                         bias ? bias + column : nullptr,
                         residual ? residual + at : nullptr};
    if (activated) {
      const Buffer& to = c.buffer(activated->out);
      product.activation = activated->by;
      product.activated = c.panel_row(to, row, 0).panel;
      product.activated_width = static_cast<int>(to.width);
      product.column = static_cast<int>(first_column + column);
    }
    multiply(&product);
  }

  void run_tiles(uint32_t first, uint32_t last, uint32_t row, uint32_t count) const {
    const int cols = static_cast<int>(w.cols), rows = static_cast<int>(count);
    const size_t at = row * out_stride + static_cast<size_t>(first) * kTileRows;
    const uint8_t* data = w.data + first * w.tile_bytes;
    float* to = out + at;
    const float* add = residual ? residual + at : nullptr;
    if (w.quantized) {
      const PanelRows x{panels(row), rows, static_cast<int>(in.levels)};
      return of_type(c.kernels().linear, w.dtype)(data, static_cast<int>(last - first), cols, x, to,
                                                  out_stride, add);
    }
    const float* x = in.values + static_cast<size_t>(row) * in.stride + in_col;
    for (uint32_t tile = first; tile < last; tile++, data += w.tile_bytes, to += kTileRows) {
      floats()(data, cols, x, in.stride, rows, to, out_stride, add);
      if (add != nullptr) add += kTileRows;
    }
  }

  LinearFloats floats() const {
    const KernelTable& k = c.kernels();
    if (w.dtype == DType::kF32) return k.linear_f32;
    return w.dtype == DType::kF16 ? k.linear_f16 : k.linear_bf16;
  }

  // Bytes of a row as the kernels read it.
  size_t row_bytes() const {
    const KernelTable& k = c.kernels();
    if (split != nullptr) return split_bytes(w, k);
    if (!w.quantized) return size_t{w.cols} * sizeof(float);
    return size_t{w.cols} / kGroup * static_cast<size_t>(k.panel_bytes[in.levels - 1]);
  }

  // The same for rows [row, end), in parts of nearly the same size.
  void run_blocks(uint32_t first, uint32_t last, uint32_t row, uint32_t end) const {
    const uint32_t panel = static_cast<uint32_t>(c.kernels().panel_rows);
    const uint32_t most = std::max(1u, static_cast<uint32_t>(kRowsBytes / row_bytes()) / panel);
    const uint32_t panels = (end - row + panel - 1) / panel, parts = (panels + most - 1) / most;
    for (uint32_t part = 0; part < parts; part++) {
      run_part(first, last, row + panels * part / parts * panel,
               std::min(end, row + panels * (part + 1) / parts * panel));
    }
  }

  void run_part(uint32_t first, uint32_t last, uint32_t row, uint32_t end) const {
    const KernelTable& k = c.kernels();
    const uint32_t max_rows = static_cast<uint32_t>(split != nullptr ? k.split_rows : k.max_rows);
    const uint32_t pairs = static_cast<uint32_t>(kBlockBytes / w.tile_bytes) / kTilesAtOnce;
    const uint32_t block = std::max(1u, pairs) * kTilesAtOnce;
    for (uint32_t b = first; b < last; b += block) {
      for (uint32_t r = row; r < end; r += max_rows) {
        run(b, std::min(last, b + block), r, std::min(max_rows, end - r));
      }
    }
  }
};

// Tiles [first, last) of all the step's weights together, for rows [row, end).
void multiply(const LinearStep& step, const Context& c, uint32_t first, uint32_t last, uint32_t row,
              uint32_t end) {
  const Buffer& out = c.buffer(step.out);
  const float* residual = step.residual ? c.buffer(*step.residual).values : nullptr;
  uint32_t before = 0;
  for (const Matrix& matrix : step.matrices) {
    const Weight& w = c.weight(matrix.weight);
    const uint32_t count = tiles_of(w);
    const uint32_t begin = std::clamp(first, before, before + count) - before;
    const uint32_t stop = std::clamp(last, before, before + count) - before;
    const size_t column = static_cast<size_t>(before) * kTileRows;
    const bool wants = wants_split(w, c.kernels());
    const uint8_t* split = wants ? reinterpret_cast<uint8_t*>(c.row_scratch()) : nullptr;
    const Product product{c,
                          w,
                          c.buffer(step.in.buffer),
                          c.rows(c.buffer(step.in.buffer)),
                          step.in.column,
                          out.values + column,
                          residual ? residual + column : nullptr,
                          matrix.bias ? c.floats(*matrix.bias) : nullptr,
                          out.stride,
                          split,
                          step.activated,
                          static_cast<uint32_t>(column)};
    product.run_blocks(begin, stop, row, end);
    before += count;
  }
}

}  // namespace

void multiply_tiles(const Context& c, const Weight& w, uint32_t first, uint32_t last,
                    const Buffer& in, uint32_t rows, const Buffer& out) {
  const Product product{c, w, in, rows, 0, out.values, nullptr, nullptr, out.stride};
  product.run_blocks(first, last, 0, rows);
}

size_t split_scratch(const Weight& w, uint32_t rows, const KernelTable& kernels) {
  if (!wants_split(w, kernels)) return 0;
  // The last panel may be laid out, and is read, as if it had all rows.
  return (rows + static_cast<size_t>(kernels.panel_rows)) * split_bytes(w, kernels);
}

void run(const LinearStep& step, const Context& c) {
  const uint32_t rows = c.rows(c.buffer(step.out));
  const uint32_t panel_rows = static_cast<uint32_t>(c.kernels().panel_rows);
  const uint32_t panels = (rows + panel_rows - 1) / panel_rows;
  uint32_t tiles = 0;
  const Weight* split = nullptr;
  for (const Matrix& matrix : step.matrices) {
    const Weight& w = c.weight(matrix.weight);
    tiles += tiles_of(w);
    if (wants_split(w, c.kernels())) split = &w;
  }
  if (split != nullptr) {
    split_rows(step, *split, c);
    c.barrier();
  }
  const uint32_t threads = static_cast<uint32_t>(c.threads());
  const uint32_t own_rows = static_cast<uint32_t>(c.kernels().own_rows);
  uint32_t parts;
  if (own_rows != 0 && rows >= own_rows * threads) {
    // What a thread reads and writes is in its cache already, and stays there.
    parts = threads;
  } else {
    // Few tiles for many threads: the rows are split, too.
    parts = std::clamp((kShares * threads + tiles - 1) / tiles, 1u, std::max(1u, panels));
  }
  c.share(tiles * parts, kTilesAtOnce, [&](uint32_t first, uint32_t last) {
    for (uint32_t part = first / tiles; part * tiles < last; part++) {
      const uint32_t from = part * tiles;
      multiply(step, c, std::max(first, from) - from, std::min(last - from, tiles),
               panels * part / parts * panel_rows,
               std::min(rows, panels * (part + 1) / parts * panel_rows));
    }
  });
}

}  // namespace cactus
