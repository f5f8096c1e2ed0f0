// Products of many f16 vectors with one query: what a search without an index of its own reads.
//
// A vector's sum goes 16 lanes at a time and over the lanes in the end, whatever is computed beside
// it, so that it has the same bits in any split. Four vectors share each load of the query.

namespace cactus::CACTUS_TIER {

template <int N>
static inline void dot_f16_rows(const uint16_t* vectors, size_t width, const float* query,
                                float* out) {
  F32x16 sum[N];
  CACTUS_UNROLL
  for (int r = 0; r < N; r++) sum[r] = zero();
  for (size_t i = 0; i < width; i += 16) {
    const F32x16 q = load(query + i);
    CACTUS_UNROLL
    for (int r = 0; r < N; r++) sum[r] = fma(load_f16(vectors + r * width + i), q, sum[r]);
  }
  CACTUS_UNROLL
  for (int r = 0; r < N; r++) out[r] = reduce_add(sum[r]);
}

static void dot_f16(const uint16_t* vectors, size_t count, size_t width, const float* query,
                    float* out) {
  size_t n = 0;
  for (; n + 4 <= count; n += 4) dot_f16_rows<4>(vectors + n * width, width, query, out + n);
  for (; n < count; n++) dot_f16_rows<1>(vectors + n * width, width, query, out + n);
}

}  // namespace cactus::CACTUS_TIER
