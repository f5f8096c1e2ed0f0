#include <windows.h>

#include <algorithm>

#include "platform/memory.h"

namespace cactus {

uint64_t available_memory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (GlobalMemoryStatusEx(&status) == 0) return UINT64_MAX;
  // The second is what this process may still commit, which a limit of its job makes smaller.
  return std::min<uint64_t>(status.ullAvailPhys, status.ullAvailPageFile);
}

// Large pages need a right that ordinary users do not have.
void* map_memory(size_t bytes, bool) noexcept {
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void protect_memory(void* memory, size_t bytes) noexcept {
  DWORD before;
  VirtualProtect(memory, bytes, PAGE_READONLY, &before);
}

void unmap_memory(const void* memory, size_t) noexcept {
  void* address = const_cast<void*>(memory);
  if (UnmapViewOfFile(address) == 0) VirtualFree(address, 0, MEM_RELEASE);
}

}  // namespace cactus
