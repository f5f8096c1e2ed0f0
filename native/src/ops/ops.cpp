#include "ops/ops.h"

#include <algorithm>

namespace cactus {

void run_step(const Step& step, const Context& context) {
  std::visit([&](const auto& operation) { run(operation, context); }, step.operation);
}

void run(const DoneStep&, const Context&) {}

CostShare::CostShare(const Context& c, uint64_t total) {
  const uint64_t threads = static_cast<uint64_t>(c.threads());
  begin_ = total * static_cast<uint64_t>(c.thread) / threads;
  end_ = total * static_cast<uint64_t>(c.thread + 1) / threads;
}

Range CostShare::next(uint32_t count, uint64_t each) {
  const auto piece_at = [&](uint64_t bound) {
    const uint64_t piece = bound <= at_ ? 0 : (bound - at_ + each - 1) / each;
    return static_cast<uint32_t>(std::min<uint64_t>(piece, count));
  };
  const Range own{piece_at(begin_), piece_at(end_)};
  at_ += count * each;
  return own;
}

}  // namespace cactus
