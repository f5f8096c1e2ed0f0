#include "fuse.h"

#include <algorithm>

#include "read_steps.h"

namespace cactus {

namespace {

// The activation that a step computes, or null.
const RowStep* activation_of(const Step& step, Activation* kind) {
  if (const auto* gelu = std::get_if<GeluStep>(&step.operation)) {
    *kind = Activation::kGelu;
    return gelu;
  }
  if (const auto* gelu = std::get_if<GeluErfStep>(&step.operation)) {
    *kind = Activation::kGeluErf;
    return gelu;
  }
  return nullptr;
}

// Whether nobody but step n sees what is in the buffer then.
bool is_last_to_see(const Plan& plan, size_t n, uint32_t buffer) {
  if (plan.buffers[buffer].rows == 2 || plan.header.output == buffer) return false;
  for (size_t m = n + 1; m < plan.steps.size(); m++) {
    const Step& step = plan.steps[m];
    if (std::find(step.reads.begin(), step.reads.end(), buffer) != step.reads.end()) return false;
    if (step.writes == buffer) break;
  }
  return true;
}

bool is_one_level(const BufferRecord& buffer) { return buffer.group != 0 && buffer.levels == 1; }

}  // namespace

Plan fused(Plan plan, const KernelTable& kernels) {
  if (kernels.one_level.q8 == nullptr) return plan;
  for (size_t n = 1; n < plan.steps.size(); n++) {
    auto* linear = std::get_if<LinearStep>(&plan.steps[n - 1].operation);
    Activation kind = Activation::kNone;
    const RowStep* activation = activation_of(plan.steps[n], &kind);
    if (linear == nullptr || activation == nullptr || linear->residual) continue;
    const bool quantized = std::all_of(
        linear->matrices.begin(), linear->matrices.end(),
        [&](const Matrix& matrix) { return is_quantized(plan.weights[matrix.weight]); });
    const BufferRecord& out = plan.buffers[activation->out];
    if (!quantized || !is_one_level(plan.buffers[linear->in.buffer]) || !is_one_level(out) ||
        activation->in.buffer != linear->out || activation->out == linear->in.buffer ||
        activation->in.column != 0 || plan.buffers[linear->out].width != out.width ||
        !is_last_to_see(plan, n, linear->out)) {
      continue;
    }
    linear->activated = Activated{kind, activation->out};
    plan.steps[n - 1].writes = activation->out;
    plan.steps[n] = Step{DoneStep{}, {}, {}};
  }
  return plan;
}

}  // namespace cactus
