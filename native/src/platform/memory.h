// Memory from the operating system, and how much of it there is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cactus {

// Bytes that can be taken without swapping or being killed: of the machine, and of the control
// groups that this process is in. UINT64_MAX where the system does not tell.
uint64_t available_memory();

// Zeros of this process alone, from the system and not from malloc, which may keep what is freed;
// in large pages, if wanted, where the system has them. Null where there is no memory.
void* map_memory(size_t bytes, bool large_pages = false) noexcept;
// From now on they can only be read.
void protect_memory(void* memory, size_t bytes) noexcept;
// Of map_memory or File::map.
void unmap_memory(const void* memory, size_t bytes) noexcept;

}  // namespace cactus
