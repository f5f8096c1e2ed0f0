#include "platform/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace cactus {

namespace {

// The number after `key` in a file of lines "key number ..."; false where there is none.
bool find_number(const std::string& path, const std::string& key, uint64_t* number) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    if (words >> word && word == key) return static_cast<bool>(words >> *number);
  }
  return false;
}

// A file that is one number; false also where it is the word "max".
bool read_number(const std::string& path, uint64_t* number) {
  std::ifstream file(path);
  return static_cast<bool>(file >> *number);
}

// What a group may still take. Its usage counts the files that it has read, which the kernel drops
// when memory is needed; half of them, as MemAvailable does, because those in use come back.
uint64_t available_in(const std::string& folder, bool second_version) {
  uint64_t limit = 0, used = 0, files = 0, part = 0;
  if (!read_number(folder + (second_version ? "/memory.max" : "/memory.limit_in_bytes"), &limit) ||
      !read_number(folder + (second_version ? "/memory.current" : "/memory.usage_in_bytes"),
                   &used)) {
    return UINT64_MAX;
  }
  const std::string prefix = second_version ? "" : "total_";
  for (const char* kind : {"inactive_file", "active_file"}) {
    if (find_number(folder + "/memory.stat", prefix + kind, &part)) files += part;
  }
  used -= std::min(used, files / 2);
  return limit - std::min(limit, used);
}

}  // namespace

uint64_t available_memory() {
  uint64_t available = UINT64_MAX, kibibytes = 0;
  if (find_number("/proc/meminfo", "MemAvailable:", &kibibytes)) available = kibibytes << 10;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // number:controllers:path; no controllers in version 2, which has one tree for all of them.
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    const bool second_version = second == first + 1;
    bool of_memory = second_version;
    for (std::string name; std::getline(controllers, name, ',');) of_memory |= name == "memory";
    if (!of_memory) continue;
    const std::string root = second_version ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    std::string path = line.substr(second + 1);
    while (true) {
      available = std::min(available, available_in(root + path, second_version));
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return available;
}

void* map_memory(size_t bytes, [[maybe_unused]] bool large_pages) noexcept {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (large_pages) madvise(memory, bytes, MADV_HUGEPAGE);  // advice only
#endif
  return memory;
}

void protect_memory(void* memory, size_t bytes) noexcept { mprotect(memory, bytes, PROT_READ); }

void unmap_memory(const void* memory, size_t bytes) noexcept {
  munmap(const_cast<void*>(memory), bytes);
}

}  // namespace cactus
