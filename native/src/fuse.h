// Steps that a tier's kernels do in one.
#pragma once

#include "cpu/kernels.h"
#include "plan.h"

namespace cactus {

// A product whose only use is an activation that is quantised stores that itself, where the kernels
// can: so its rows need not go to memory and back in f32. The plan keeps its number of steps.
Plan fused(Plan plan, const KernelTable& kernels);

}  // namespace cactus
