// A mixture of experts: each row is multiplied with the matrices of the few experts that its logits
// choose, and what they say is summed by their weights.
//
// The rows of an expert are gathered before they are quantised, so that each expert's matrices meet
// all of its rows at once. Threads share experts and tiles by their work. A row has the same bits
// whatever rows are gathered with it.
#include <algorithm>
#include <cstring>

#include "ops/ops.h"

namespace cactus {

namespace {

// Rows of the batch that are routed at a time: what they need lies in the row scratch.
constexpr uint32_t kBlockRows = 512;

uint32_t rounded_up(uint32_t count, uint32_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// A row that one of its experts takes.
struct Assignment {
  uint32_t row, expert;
  uint32_t place;  // among the rows of its expert
  float weight;
};

// Where things lie in the scratch; all are known before a step.
struct Layout {
  uint32_t assignments, rows;  // at most; rows where each expert begins a panel of its own
  uint32_t up_rows, inner, hidden;
  size_t counts, chosen, in, up, middle, down, bytes;

  Layout(const ExpertsStep& step, const Plan& plan, const KernelTable& kernels, uint32_t block)
      : assignments(block * step.top_k),
        rows(assignments + step.experts * static_cast<uint32_t>(kernels.panel_rows)),
        up_rows(plan.weights[step.w1].rows / step.experts),
        inner(plan.weights[step.w2].cols),
        hidden(plan.weights[step.w1].cols) {
    const auto row_bytes = [&](uint32_t width, uint32_t group) {
      if (group == 0) return size_t{width} * sizeof(float);
      return size_t{width} / kGroup * static_cast<size_t>(kernels.panel_bytes[step.levels - 1]);
    };
    const auto take = [&](size_t count) {
      const size_t at = bytes;
      bytes += (count + 63) / 64 * 64;
      return at;
    };
    bytes = 0;
    counts = take((size_t{step.experts} + 1) * 2 * sizeof(uint32_t));
    chosen = take(assignments * sizeof(Assignment));
    in = take(rows * row_bytes(hidden, step.groups[0]));
    up = take(size_t{rows} * up_rows * sizeof(float));
    middle = take(rows * row_bytes(inner, step.groups[1]));
    down = take(size_t{rows} * hidden * sizeof(float));
  }
};

class Experts {
 public:
  Experts(const ExpertsStep& step, const Context& c)
      : step_(step),
        c_(c),
        block_(std::min(c.program.max_rows(), kBlockRows)),
        at_(step, c.program.plan(), c.kernels(), block_),
        memory_(reinterpret_cast<uint8_t*>(c.row_scratch())),
        // By expert: how many rows it has, and the first of them.
        counts_(reinterpret_cast<uint32_t*>(memory_ + at_.counts)),
        firsts_(counts_ + step.experts),
        chosen_(reinterpret_cast<Assignment*>(memory_ + at_.chosen)) {}

  void run() {
    const uint32_t rows = c_.rows(c_.buffer(step_.out));
    for (uint32_t first = 0; first < rows; first += block_) {
      count_ = std::min(block_, rows - first);
      share(count_, [&](uint32_t n) { route(first + n, chosen_ + n * step_.top_k); });
      c_.barrier();
      if (c_.thread == 0) place();
      c_.barrier();
      share(count_ * step_.top_k, [&](uint32_t n) { gather(chosen_[n]); });
      c_.barrier();
      multiply(step_.w1, in(), up());
      c_.barrier();
      share(count_ * step_.top_k, [&](uint32_t n) { activate(chosen_[n]); });
      c_.barrier();
      multiply(step_.w2, middle(), down());
      c_.barrier();
      share(count_, [&](uint32_t n) { sum(first + n, chosen_ + n * step_.top_k); });
      if (first + block_ < rows) c_.barrier();
    }
  }

 private:
  template <class Work>
  void share(uint32_t count, const Work& work) const {
    c_.share(count, 1, [&](uint32_t first, uint32_t last) {
      for (uint32_t n = first; n < last; n++) work(n);
    });
  }

  // Chooses the experts of a row, the likeliest first, the lower number where two are equal.
  void route(uint32_t row, Assignment* out) const {
    const uint32_t experts = step_.experts;
    float* scores = c_.scratch();
    const float* logits = c_.row(step_.logits, row);
    const float sum = probabilities(logits, scores);
    const float* preference = step_.preference ? c_.floats(*step_.preference) : nullptr;
    const auto value = [&](uint32_t e) {
      return preference ? scores[e] + preference[e] : scores[e];
    };
    float total = 0;
    for (uint32_t k = 0; k < step_.top_k; k++) {
      uint32_t best = UINT32_MAX;
      for (uint32_t e = 0; e < experts; e++) {
        const bool taken =
            std::any_of(out, out + k, [&](const Assignment& a) { return a.expert == e; });
        if (!taken && (best == UINT32_MAX || value(e) > value(best))) best = e;
      }
      out[k] = {row, best, 0, scores[best] / sum};
      total += out[k].weight;
    }
    const float factor = step_.normalize ? step_.scale / (total + step_.eps) : step_.scale;
    for (uint32_t k = 0; k < step_.top_k; k++) out[k].weight *= factor;
  }

  // Softmax or sigmoid of the logits; they must still be divided by what this returns.
  float probabilities(const float* logits, float* out) const {
    const int experts = static_cast<int>(step_.experts);
    if (!step_.sigmoid) {
      const float top = *std::max_element(logits, logits + experts);
      return c_.kernels().logit_weights(logits, experts, top, 1.0f, out);
    }
    for (int e = 0; e < experts; e++) out[e] = -logits[e];
    c_.kernels().logit_weights(out, experts, 0.0f, 1.0f, out);
    for (int e = 0; e < experts; e++) out[e] = 1.0f / (1.0f + out[e]);
    return 1.0f;
  }

  // Numbers the rows of each expert; each expert begins a panel of its own.
  void place() {
    std::fill_n(counts_, step_.experts, 0);
    for (uint32_t n = 0; n < count_ * step_.top_k; n++) {
      chosen_[n].place = counts_[chosen_[n].expert]++;
    }
    uint32_t first = 0;
    for (uint32_t e = 0; e < step_.experts; e++) {
      firsts_[e] = first;
      first += rounded_up(counts_[e], static_cast<uint32_t>(c_.kernels().panel_rows));
    }
  }

  // Rows of `width` in the scratch: floats, or integers where the next product takes them.
  Buffer rows_at(size_t at, uint32_t width, uint32_t group) const {
    Buffer buffer{};
    buffer.group = group;
    buffer.levels = group == 0 ? 0 : step_.levels;
    buffer.width = buffer.stride = width;
    buffer.values = reinterpret_cast<float*>(memory_ + at);
    buffer.panels = memory_ + at;
    return buffer;
  }
  Buffer in() const { return rows_at(at_.in, at_.hidden, step_.groups[0]); }
  Buffer up() const { return rows_at(at_.up, at_.up_rows, 0); }
  Buffer middle() const { return rows_at(at_.middle, at_.inner, step_.groups[1]); }
  Buffer down() const { return rows_at(at_.down, at_.hidden, 0); }

  // The rows of one expert.
  Buffer of_expert(Buffer rows, uint32_t expert) const {
    const size_t first = firsts_[expert];
    if (rows.group == 0) {
      rows.values += first * rows.stride;
    } else {
      const size_t bytes = static_cast<size_t>(c_.kernels().panel_bytes[rows.levels - 1]);
      rows.panels += first * (rows.stride / kGroup) * bytes;
    }
    return rows;
  }
  float* row_of(const Buffer& rows, const Assignment& a) const {
    return rows.values + (size_t{firsts_[a.expert]} + a.place) * rows.stride;
  }

  // Writes a row for the next product.
  void put(const Buffer& rows, const Assignment& a, const float* x) const {
    if (rows.group == 0) {
      std::copy_n(x, rows.width, row_of(rows, a));
      return;
    }
    const Buffer own = of_expert(rows, a.expert);
    const PanelRow to = c_.program.panel_row(own, counts_[a.expert], a.place, 0);
    c_.kernels().quantize_row(x, static_cast<int>(own.width), static_cast<int>(own.group), &to);
  }

  void gather(const Assignment& a) const { put(in(), a, c_.row(step_.in, a.row)); }

  void activate(const Assignment& a) const {
    const float* x = row_of(up(), a);
    float* y = c_.scratch();
    const int inner = static_cast<int>(at_.inner);
    if (step_.gated) {
      c_.kernels().swiglu(x, x + inner, inner, y);
    } else {
      c_.kernels().gelu_erf(x, inner, y);
    }
    put(middle(), a, y);
  }

  // out = W_e in for the rows of every expert e; the tiles are shared by how many rows they meet.
  void multiply(uint32_t weight, const Buffer& in, const Buffer& out) const {
    const uint32_t tiles = c_.weight(weight).rows / step_.experts / kTileRows;
    c_.share(count_ * step_.top_k * tiles, kTilesAtOnce, [&](uint32_t first, uint32_t last) {
      multiply(weight, in, out, CostShare({first, last}));
    });
  }

  void multiply(uint32_t weight, const Buffer& in, const Buffer& out, CostShare share) const {
    Weight w = c_.weight(weight);
    w.rows /= step_.experts;
    const uint32_t tiles = w.rows / kTileRows;
    for (uint32_t e = 0; e < step_.experts; e++, w.data += tiles * w.tile_bytes) {
      if (counts_[e] == 0) continue;
      const Range own = share.next(tiles, counts_[e]);
      if (own.count() == 0) continue;
      multiply_tiles(c_, w, own.first, own.last, of_expert(in, e), counts_[e], of_expert(out, e));
    }
  }

  void sum(uint32_t row, const Assignment* chosen) const {
    const Buffer& out = c_.buffer(step_.out);
    const int width = static_cast<int>(at_.hidden);
    float *y = out.values + size_t{row} * out.stride, *part = c_.scratch();
    for (uint32_t k = 0; k < step_.top_k; k++) {
      c_.kernels().scale(row_of(down(), chosen[k]), chosen[k].weight, width, k == 0 ? y : part);
      if (k != 0) c_.kernels().add(y, part, width, y);
    }
    if (step_.bias) c_.kernels().add(y, c_.floats(*step_.bias), width, y);
  }

  const ExpertsStep& step_;
  const Context& c_;
  const uint32_t block_;
  const Layout at_;
  uint8_t* const memory_;
  uint32_t *const counts_, *const firsts_;
  Assignment* const chosen_;
  uint32_t count_ = 0;  // rows of the block
};

}  // namespace

void run(const ExpertsStep& step, const Context& c) { Experts(step, c).run(); }

size_t experts_bytes(const Plan& plan, const KernelTable& kernels, uint32_t rows) {
  size_t bytes = 0;
  for (const Step& step : plan.steps) {
    const auto* experts = std::get_if<ExpertsStep>(&step.operation);
    if (experts == nullptr) continue;
    bytes = std::max(bytes, Layout(*experts, plan, kernels, std::min(rows, kBlockRows)).bytes);
  }
  return bytes;
}

}  // namespace cactus
