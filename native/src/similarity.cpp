#include "similarity.h"

#include <algorithm>
#include <atomic>

#include "platform/floats.h"
#include "threads.h"

namespace cactus {

namespace {
// Bytes of vectors that a thread takes at a time: so few that all end together, so many that taking
// them costs nothing.
constexpr size_t kShareBytes = 256 << 10;
// Bytes that pay for a thread more.
constexpr size_t kThreadBytes = 32 << 20;
}  // namespace

void dot_vectors(const KernelTable& kernels, int threads, const uint16_t* vectors, size_t count,
                 size_t width, const float* query, float* out) {
  const size_t share = std::max<size_t>(4, kShareBytes / (width * sizeof(uint16_t)) / 4 * 4);
  const size_t shares = (count + share - 1) / share;
  const size_t useful = 1 + count * width * sizeof(uint16_t) / kThreadBytes;
  const int wanted = static_cast<int>(std::min<size_t>(static_cast<size_t>(threads), useful));
  std::atomic<size_t> next{0};
  const auto work = [&](int) {
    const StandardFloats floats;
    for (size_t n = next++; n < shares; n = next++) {
      const size_t first = n * share;
      kernels.dot_f16(vectors + first * width, std::min(share, count - first), width, query,
                      out + first);
    }
  };
  if (wanted <= 1) return work(0);
  const std::shared_ptr<Team> team = Team::shared(wanted);
  Crew(*team, wanted).run(work);
}

}  // namespace cactus
