// What only the operating system knows of the processor.
#pragma once

namespace cactus {

// Instructions of arm64; false on others.
bool has_arm_dotprod();
bool has_arm_i8mm();

}  // namespace cactus
