// Rows of a matrix as floats: the embeddings of tokens.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/ops.h"

namespace cactus {

namespace {

// Without a branch, so that a loop over many becomes vector instructions.
float half_value(uint16_t h) {
  const uint32_t magnitude = h & 0x7FFFu, sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + (magnitude < 0x7C00u ? 112u << 23 : 224u << 23);
  const float small = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  const uint32_t bits = magnitude < 0x0400u ? std::bit_cast<uint32_t>(small) : normal;
  return std::bit_cast<float>(bits | sign);
}

float half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return half_value(h);
}

// Elements of 16 bits, which lie a tile's rows apart, each made a float.
template <class Value>
void read_words(const uint8_t* from, uint32_t cols, Value value, float* out) {
  constexpr uint32_t kPart = 64;
  uint16_t words[kPart];
  for (uint32_t k = 0; k < cols; k += kPart) {
    const uint32_t count = std::min(kPart, cols - k);
    for (uint32_t i = 0; i < count; i++, from += 2 * kTileRows) std::memcpy(words + i, from, 2);
    for (uint32_t i = 0; i < count; i++) out[k + i] = value(words[i]);
  }
}

template <uint32_t kColumns>
void read_q8(const uint8_t* block, uint32_t r, float* out) {
  uint8_t codes[kColumns];
  for (uint32_t c = 0; c < kColumns; c += 4) std::memcpy(codes + c, block + 16 * c + 4 * r, 4);
  const float scale = half_at(block + 16 * kColumns + 2 * r);
  for (uint32_t c = 0; c < kColumns; c++) out[c] = scale * static_cast<float>(codes[c] - 128);
}

// Codes of 4 bits: of 8 columns the first 4 are the low halves of the bytes.
template <uint32_t kColumns>
void read_nibbles(const uint8_t* block, uint32_t r, uint8_t* codes) {
  for (uint32_t c = 0; c < kColumns; c += 8) {
    const uint8_t* bytes = block + 8 * c + 4 * r;
    for (uint32_t i = 0; i < 4; i++) {
      codes[c + i] = bytes[i] & 15;
      codes[c + 4 + i] = bytes[i] >> 4;
    }
  }
}

void read_q4_nl(const uint8_t* block, uint32_t r, float* out) {
  uint8_t codes[kGroup];
  read_nibbles<kGroup>(block, r, codes);
  const float scale = half_at(block + 256 + 2 * r);
  for (uint32_t c = 0; c < kGroup; c++) {
    out[c] = scale * static_cast<float>(kLevels[codes[c]] - 128);
  }
}

void read_q4_0(const uint8_t* block, uint32_t r, float* out) {
  uint8_t codes[kGroup];
  read_nibbles<kGroup>(block, r, codes);
  const float scale = half_at(block + 256 + 2 * r);
  for (uint32_t c = 0; c < kGroup; c++) out[c] = scale * static_cast<float>(codes[c] - 8);
}

template <uint32_t kColumns>
void read_q4(const uint8_t* block, uint32_t r, float* out) {
  uint8_t codes[kColumns];
  read_nibbles<kColumns>(block, r, codes);
  const uint8_t* factors = block + 8 * kColumns + 2 * r;
  const float scale = half_at(factors), minimum = half_at(factors + 32);
  for (uint32_t c = 0; c < kColumns; c++) {
    // Two roundings, whatever the compiler may fuse elsewhere.
    const float product = scale * static_cast<float>(codes[c]);
    out[c] = product + minimum;
  }
}

using ReadBlock = void (*)(const uint8_t* block, uint32_t r, float* out);

void read_blocks(const Weight& w, const uint8_t* block, uint32_t r, ReadBlock read,
                 uint32_t columns, int bytes, float* out) {
  for (uint32_t k = 0; k < w.cols; k += columns, block += bytes) read(block, r, out + k);
}

const uint8_t* tile_of(const Weight& w, uint32_t row) {
  return w.data + row / kTileRows * w.tile_bytes;
}

// Row `row` of a tiled weight as floats.
void read_weight_row(const Weight& w, uint32_t row, float* out) {
  const uint8_t* tile = tile_of(w, row);
  const uint32_t r = row % kTileRows;
  switch (w.dtype) {
    case DType::kF32:
      for (uint32_t k = 0; k < w.cols; k++) {
        std::memcpy(out + k, tile + (size_t{k} * kTileRows + r) * 4, 4);
      }
      break;
    case DType::kF16: read_words(tile + 2 * r, w.cols, half_value, out); break;
    case DType::kBf16:
      read_words(
          tile + 2 * r, w.cols,
          [](uint16_t high) { return std::bit_cast<float>(static_cast<uint32_t>(high) << 16); },
          out);
      break;
    case DType::kQ8: read_blocks(w, tile, r, read_q8<kGroup>, kGroup, kQ8Block, out); break;
    case DType::kQ8_64: read_blocks(w, tile, r, read_q8<64>, 64, kQ8_64Block, out); break;
    case DType::kQ4_0: read_blocks(w, tile, r, read_q4_0, kGroup, kQ4_0Block, out); break;
    case DType::kQ4Nl: read_blocks(w, tile, r, read_q4_nl, kGroup, kQ4NlBlock, out); break;
    case DType::kQ4: read_blocks(w, tile, r, read_q4<kGroup>, kGroup, kQ4Block, out); break;
    case DType::kQ4_64: read_blocks(w, tile, r, read_q4<64>, 64, kQ4_64Block, out); break;
  }
}

}  // namespace

void run(const EmbedStep& step, const Context& c) {
  const Weight& table = c.weight(step.weight);
  const std::vector<int32_t>& tokens = c.batch().tokens;
  // A row lies scattered over its tile, 12 KB for 384 columns of 16 bits: the memory of the third
  // row from here is fetched meanwhile, which halves the time.
  const auto fetch = [&](size_t row) {
    if (row >= tokens.size() || tokens[row] < 0) return;
    const uint8_t* tile = tile_of(table, static_cast<uint32_t>(tokens[row]));
    for (size_t at = 0; at < table.tile_bytes; at += kCacheLine)
      __builtin_prefetch(tile + at, 0, 2);
  };
  for_rows(c, step.out, [&](uint32_t row, float* out) {
    fetch(size_t{row} + 3);
    // A row of features, which come later.
    if (tokens[row] < 0) {
      std::fill_n(out, table.cols, 0.0f);
      return;
    }
    read_weight_row(table, static_cast<uint32_t>(tokens[row]), out);
  });
}

}  // namespace cactus
