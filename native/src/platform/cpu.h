// What only the operating system knows of the processor.
#pragma once

namespace cactus {

// Asks the system for the tile registers of a CPU that has AMX; whether it gives them.
bool may_use_amx();
// Instructions of arm64; false on others.
bool has_arm_dotprod();
bool has_arm_i8mm();

}  // namespace cactus
