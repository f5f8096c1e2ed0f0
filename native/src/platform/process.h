// This process: its forks, and the cores and threads that it has.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

namespace cactus {

// Number of fork() calls that led to this process, counted since the library was loaded. Threads do
// not survive a fork, so what was made under another number cannot be used here.
uint32_t fork_generation();

// A fork must not copy a lock that another thread holds: the child could never take it. From now on
// a fork takes this one before, and gives it back after, in parent and child. Locks that are taken
// one inside another are registered from the outer to the inner one, and live as long as the
// process.
void hold_during_fork(std::mutex& mutex);

// Processors that this process may run on, 1 or more.
int available_cores();

// Sleeps until another thread has changed `value` from `old` and then called wake_one or wake_all.
void sleep_while(const std::atomic<uint32_t>& value, uint32_t old);
void wake_one(std::atomic<uint32_t>& value);
void wake_all(std::atomic<uint32_t>& value);

// As tools that list threads show it; at most 15 characters.
void name_this_thread(const char* name);

}  // namespace cactus
