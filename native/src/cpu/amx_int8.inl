// Attention of many queries over a span of pages of int8 on AMX: the numbers of attention_int8.inl,
// whose keys and values are laid out as the unit reads them. Its sums are whole, so the bits are
// the same; what is done with them is what the vector kernels do, in the same order.

namespace cactus::CACTUS_TIER {

constexpr int kCodedQueries = 16;
constexpr int kFewCoded = 4;  // these the vector kernels do faster

// Sums of both levels of 16 queries with two tiles of bytes side by side.
struct alignas(64) PairSums {
  int32_t sums[2][kCode16Levels][16][16];
};

// Calls load() for each of `count` pairs of tiles, which loads the levels of the queries into the
// registers kLevels and the tiles into kBytes; stores the sums.
constexpr int kLevels = 4, kBytes = 6;
template <class Load>
static inline void multiply_pair(int count, PairSums& to, const Load& load_pair) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int i = 0; i < count; i++) {
    load_pair(i);
    tile_dot_bytes<0, kLevels, kBytes>();
    tile_dot_bytes<1, kLevels + 1, kBytes>();
    tile_dot_bytes<2, kLevels, kBytes + 1>();
    tile_dot_bytes<3, kLevels + 1, kBytes + 1>();
  }
  tile_store<0>(to.sums[0][0], 64);
  tile_store<1>(to.sums[0][1], 64);
  tile_store<2>(to.sums[1][0], 64);
  tile_store<3>(to.sums[1][1], 64);
}

// What the offset of bytes adds to a product with codes of this sum; it may wrap, as products do.
static inline int32_t offset_of(int32_t sum) { return wrapped(kQ8Offset, sum); }

// What a query's codes times the numbers of a page sum up to.
static inline F32x16 joined(const PairSums& pair, int tile, int q, int32_t offset) {
  const I32x16 high = load_i32(pair.sums[tile][0][q]), low = load_i32(pair.sums[tile][1][q]);
  return to_f32(isub(iadd(shift_left<8>(high), low), iset1(offset)));
}

namespace {

// Up to 16 queries and a span. The vector units work on what the matrix unit has done before; what
// they do for each query ends in a number that the next step waits for, so it does it for all.
class SpanAttention {
 public:
  explicit SpanAttention(const AttendArgs& a)
      : a_(a),
        blocks_(blocks_of(a)),
        first_page_(blocks_.begin / kPageBlocks),
        last_page_((blocks_.end + kPageBlocks - 1) / kPageBlocks),
        x_(reinterpret_cast<const CodedQuery*>(a.q)),
        width_(static_cast<size_t>(a.head_dim)) {
    for (int q = 0; q < a.count; q++) {
      query_offsets_[q] = offset_of(256 * x_[q].sums[0] + x_[q].sums[1]);
      store(largest_[q], set1(-__builtin_inff()));
    }
  }

  void run() {
    const int first = blocks_.begin / 2, last = (blocks_.end + 1) / 2;
    for (int pair = first; pair < last; pair++) {
      multiply_keys(pair, sums_[pair % 2]);
      if (pair > first) scale_scores(pair - 1, sums_[(pair - 1) % 2]);
    }
    scale_scores(last - 1, sums_[(last - 1) % 2]);
    for (int q = 0; q < a_.count; q++) a_.m[q] = reduce_max(load(largest_[q]));
    for (int q = 0; q < a_.count; q++) weigh(q);
    for (int q = 0; q < a_.count; q++) code(q);
    const int pairs = (a_.head_dim + 31) / 32;
    for (int pair = 0; pair < pairs; pair++) {
      multiply_values(pair, sums_[pair % 2]);
      if (pair > 0) scale_sums(pair - 1, sums_[(pair - 1) % 2]);
    }
    scale_sums(pairs - 1, sums_[(pairs - 1) % 2]);
  }

 private:
  const uint8_t* keys_of(int pair) const {
    return block_of<uint8_t>(a_.span.pages[2 * pair / kPageBlocks].k, 2 * pair, a_.head_dim);
  }

  // A sixteenth of them, of each page.
  void prefetch_values(int q) const {
    for (const KvPage& page : a_.span.pages) {
      const uint8_t* values =
          static_cast<const uint8_t*>(page.v) + static_cast<size_t>(q) * 4 * width_;
      for (int i = 0; i < 4 * a_.head_dim; i += 64) prefetch(values + i);
    }
  }

  // Bytes that are read behind the keys of a head meet codes that are zero.
  void multiply_keys(int pair, PairSums& to) const {
    const uint8_t* keys = keys_of(pair);
    const uint8_t* next = keys_of(pair + 1 < kSpan / 32 ? pair + 1 : pair);
    for (int i = 0; i < 32 * a_.head_dim; i += 64) prefetch(next + i);
    multiply_pair((a_.head_dim + 63) / 64, to, [&](int i) {
      tile_load<kLevels>(x_->codes[0] + 64 * i, sizeof(CodedQuery));
      tile_load<kLevels + 1>(x_->codes[1] + 64 * i, sizeof(CodedQuery));
      tile_load<kBytes>(keys + 1024 * i, 64);
      tile_load<kBytes + 1>(keys + 16 * width_ + 1024 * i, 64);
    });
  }

  void scale_scores(int pair, const PairSums& sums) {
    for (int tile = 0; tile < 2; tile++) {
      const int block = 2 * pair + tile;
      if (block < blocks_.begin || block >= blocks_.end) continue;
      const float* scales = a_.span.pages[block / kPageBlocks].k_scales;
      const F32x16 scale = load(scales + block % kPageBlocks * 16);
      for (int q = 0; q < a_.count; q++) {
        F32x16 score = mul(joined(sums, tile, q, query_offsets_[q]), mul(scale, set1(x_[q].scale)));
        score = seen_lanes(block, a_.start[q], a_.limit[q], score, set1(-__builtin_inff()));
        store(a_.scores + q * kSpan + block * 16, score);
        store(largest_[q], max(load(largest_[q]), score));
      }
    }
  }

  // Scores become weights; none in what is left of a page.
  void weigh(int q) {
    prefetch_values(q);
    float* scores = a_.scores + q * kSpan;
    const I32x16 magnitudes = weigh_int8(a_, q, blocks_);
    for (int block = first_page_ * kPageBlocks; block < blocks_.begin; block++) {
      store(scores + 16 * block, zero());
    }
    for (int block = blocks_.end; block < last_page_ * kPageBlocks; block++) {
      store(scores + 16 * block, zero());
    }
    scales_[q] = scale_of(magnitudes, kMostCoded);
  }

  void code(int q) {
    const float* weights = a_.scores + q * kSpan;
    const float inverse = scales_[q].inverse;
    I32x16 sum = izero();
    for (int t = first_page_ * kPage; t < last_page_ * kPage; t += kPage) {
      I32x16 codes[kPageBlocks];
      CACTUS_UNROLL
      for (int i = 0; i < kPageBlocks; i++) {
        codes[i] = codes_of(weights + t + 16 * i, inverse);
        sum = iadd(sum, codes[i]);
      }
      store_code16(codes, codes_[q][0] + t, codes_[q][1] + t);
    }
    weight_offsets_[q] = offset_of(reduce_add(sum));
  }

  void multiply_values(int pair, PairSums& to) const {
    const bool both = a_.head_dim > 32 * pair + 16;
    multiply_pair(last_page_ - first_page_, to, [&](int i) {
      const int page = first_page_ + i;
      const uint8_t* values = static_cast<const uint8_t*>(a_.span.pages[page].v) + 128 * pair;
      tile_load<kLevels>(codes_[0][0] + page * kPage, sizeof codes_[0]);
      tile_load<kLevels + 1>(codes_[0][1] + page * kPage, sizeof codes_[0]);
      tile_load<kBytes>(values, 4 * width_);
      tile_load<kBytes + 1>(both ? values + 64 : values, 4 * width_);
    });
  }

  void scale_sums(int pair, const PairSums& sums) const {
    for (int tile = 0; tile < 2; tile++) {
      const int d = 32 * pair + 16 * tile;
      if (d >= a_.head_dim) return;
      for (int q = 0; q < a_.count; q++) {
        store(a_.o + static_cast<size_t>(q) * width_ + d,
              mul(joined(sums, tile, q, weight_offsets_[q]), set1(scales_[q].scale)));
      }
    }
  }

  const AttendArgs& a_;
  const Blocks blocks_;
  const int first_page_, last_page_;
  const CodedQuery* const x_;
  const size_t width_;
  int32_t query_offsets_[16], weight_offsets_[16];
  CodeScale scales_[16];  // of the weights
  PairSums sums_[2];
  alignas(64) float largest_[16][16];
  alignas(64) int8_t codes_[16][kCode16Levels][kSpan];  // of the weights
};

}  // namespace

// Codes up to a whole tile.
static void code_query(const float* q, int head_dim, float* out) {
  CACTUS_VECTORS::code_query(q, head_dim, out);
  CodedQuery& coded = *reinterpret_cast<CodedQuery*>(out);
  for (int d = head_dim; d % 64 != 0; d += 16) {
    for (auto& level : coded.codes) store_i8(level + d, izero());
  }
}

static void attend_span(const AttendArgs* a) {
  const bool coded = a->span.pages[0].k_scales != nullptr;
  if (!coded || a->count <= kFewCoded) return CACTUS_VECTORS::attend_span(a);
  SpanAttention(*a).run();
}

}  // namespace cactus::CACTUS_TIER
