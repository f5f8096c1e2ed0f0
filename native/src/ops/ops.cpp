#include "ops/ops.h"

namespace cactus {

void run_step(const Step& step, const Context& context) {
  std::visit([&](const auto& operation) { run(operation, context); }, step.operation);
}

}  // namespace cactus
