#include "peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "error.h"
#include "platform/memory.h"
#include "threads.h"

namespace cactus {

namespace {

constexpr int kRuns = 9;
constexpr double kShortest = 4e-3;  // seconds of one run: long for the clock, short for a scheduler

// Memory of our own in large pages, where the system has them; freed at the end.
class Memory {
 public:
  explicit Memory(uint64_t bytes) : size_(bytes) {
    data_ = static_cast<float*>(map_memory(size_, true));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Memory() { unmap_memory(data_, size_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  float* data() const { return data_; }

 private:
  float* data_;
  uint64_t size_;
};

// Runs work(thread) on all threads from a common start to the last one's end; median seconds.
double median_seconds(Crew& crew, int runs, const std::function<void(int)>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int n = 0; n < runs; n++) {
    Clock::time_point begin, end;
    crew.run([&](int thread) {
      crew.meet(thread);
      if (thread == 0) begin = Clock::now();
      work(thread);
      crew.meet(thread);
      if (thread == 0) end = Clock::now();
    });
    seconds.push_back(std::chrono::duration<double>(end - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return seconds[static_cast<size_t>(runs / 2)];
}

// Multiply-adds per second of a loop over operands that lie in the first-level cache.
template <class T>
double operations(Crew& crew, float (*loop)(const T*, int), int round, const T* from,
                  std::atomic<float>& sink) {
  int rounds = 1;
  const auto work = [&](int) { sink.store(loop(from, rounds), std::memory_order_relaxed); };
  while (rounds < 1 << 24 && median_seconds(crew, 1, work) < kShortest) rounds *= 2;
  return 2.0 * round * rounds * crew.size() / median_seconds(crew, kRuns, work);
}

}  // namespace

cactus_machine_peaks measure_peaks(const KernelTable& kernels, int threads, uint64_t buffer_bytes) {
  const uint64_t n = static_cast<uint64_t>(threads);
  const uint64_t slice = buffer_bytes / n / 256 * 256;  // four streams of whole vectors
  check(slice != 0 && buffer_bytes <= uint64_t{1} << 40, CACTUS_ERROR_ARGUMENT,
        "buffer_bytes is " + std::to_string(buffer_bytes) + ", expected 256 a thread to 2^40");
  const std::shared_ptr<Team> team = Team::shared(threads);
  Crew crew(*team, threads);
  const Memory memory(slice * n);
  std::atomic<float> sink{0};
  const auto part = [&](int thread) {
    return memory.data() + static_cast<uint64_t>(thread) * slice / sizeof(float);
  };
  // Each thread writes what it will read: on a machine of several sockets that is where it lies.
  crew.run([&](int thread) { std::fill_n(part(thread), slice / sizeof(float), 0.5f); });
  const double seconds = median_seconds(crew, kRuns, [&](int thread) {
    sink.store(kernels.peak_read(part(thread), slice / sizeof(float)), std::memory_order_relaxed);
  });

  alignas(64) uint8_t codes[kPeakBytes];
  for (size_t i = 0; i < kPeakBytes; i++) codes[i] = static_cast<uint8_t>(i % 13);
  alignas(64) float values[kPeakBytes / sizeof(float)];  // no products that are subnormal
  std::fill(std::begin(values), std::end(values), 0.5f);
  cactus_machine_peaks peaks{};
  peaks.threads = static_cast<uint32_t>(threads);
  peaks.buffer_bytes = slice * n;
  peaks.bytes_per_second = static_cast<double>(slice * n) / seconds;
  peaks.int8_per_second = operations(crew, kernels.peak_dot, kernels.dot_round, codes, sink);
  peaks.float_per_second = operations(crew, kernels.peak_fma, kernels.fma_round, values, sink);
  std::strncpy(peaks.isa, kernels.name, sizeof peaks.isa - 1);
  return peaks;
}

}  // namespace cactus
