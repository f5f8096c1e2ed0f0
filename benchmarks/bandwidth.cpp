// Read bandwidth of this machine: every thread sums its own slice of one buffer, again and again.
//
//   bandwidth THREADS MEGABYTES SECONDS HUGE(0|1)   ->  one line: best and median GB/s of all passes
//
// The loop does what decoding does to the weights, and nothing else: it touches each byte once, in order. A pass is timed from
// the common start to the last thread's end, so a thread that lags counts.
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Vector = uint64_t __attribute__((vector_size(64)));
using Clock = std::chrono::steady_clock;

// Four independent streams with one accumulator each: a single stream waits for the hardware
// prefetcher at every page boundary.
uint64_t read_all(const Vector* data, size_t count) {
    const size_t quarter = count / 4;
    Vector sum[4] = {};
    for (size_t i = 0; i < quarter; ++i)
        for (size_t s = 0; s < 4; ++s) sum[s] += data[s * quarter + i];
    const Vector all = sum[0] + sum[1] + sum[2] + sum[3];
    uint64_t total = 0;
    for (int lane = 0; lane < 8; ++lane) total += all[lane];
    return total;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: bandwidth THREADS MEGABYTES SECONDS HUGE(0|1)\n");
        return 2;
    }
    const int threads = std::max(1, std::atoi(argv[1]));
    const size_t bytes = static_cast<size_t>(std::max(1, std::atoi(argv[2]))) << 20;
    const double seconds = std::atof(argv[3]);
    const bool huge = std::atoi(argv[4]) != 0;

    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        std::fprintf(stderr, "bandwidth: no memory for a buffer of %zu bytes\n", bytes);
        return 1;
    }
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#endif
    std::memset(memory, 1, bytes);  // gives every page memory of its own; untouched pages are all one zero page

    const size_t slice = bytes / sizeof(Vector) / static_cast<size_t>(threads);
    std::vector<double> rates;
    std::vector<uint64_t> totals(static_cast<size_t>(threads));
    bool stop = false;  // written by thread 0 between the two barriers only
    Clock::time_point start;
    const Clock::time_point deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                          std::chrono::duration<double>(seconds));
    std::barrier gate(threads);
    auto work = [&](size_t index) {
        const Vector* data = static_cast<const Vector*>(memory) + index * slice;
        while (true) {
            if (index == 0) start = Clock::now();
            gate.arrive_and_wait();
            totals[index] += read_all(data, slice);
            gate.arrive_and_wait();
            if (index == 0) {
                const std::chrono::duration<double> took = Clock::now() - start;
                const size_t read = slice / 4 * 4 * sizeof(Vector) * static_cast<size_t>(threads);
                rates.push_back(static_cast<double>(read) / took.count() * 1e-9);
                stop = rates.size() >= 3 && Clock::now() > deadline;
            }
            gate.arrive_and_wait();
            if (stop) return;
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(work, static_cast<size_t>(i));
    work(0);
    for (std::thread& other : others) other.join();

    uint64_t total = 0;  // printed, so that no compiler may drop the reads
    for (const uint64_t value : totals) total += value;
    std::sort(rates.begin(), rates.end());
    std::printf("{\"best\": %.3f, \"median\": %.3f, \"passes\": %zu, \"checksum\": %llu}\n",
                rates.back(), rates[rates.size() / 2], rates.size(), static_cast<unsigned long long>(total));
    return 0;
}
