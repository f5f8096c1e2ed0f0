// What works on vectors is the avx512 tier's, and what is exact the amx tier's, each in a namespace
// of its own.
#define CACTUS_TIER amx_bf16_vectors
#define CACTUS_PANEL_PADDING 4
#include "cpu/kernels.h"
// The vocabulary of this tier first, then the bodies that are written in it.
#include "cpu/simd_amx.h"
#include "cpu/simd_avx512.h"
// clang-format off
#include "cpu/panel_bytes.inl"
#include "cpu/linear.inl"
#include "cpu/elementwise.inl"
#include "cpu/attention.inl"
#include "cpu/attention_f16.inl"
#include "cpu/int8_store.inl"
#include "cpu/attention_int8.inl"
#include "cpu/conv.inl"
#include "cpu/logits.inl"
#include "cpu/similarity.inl"
#include "cpu/peaks.inl"
#undef CACTUS_TIER
#define CACTUS_TIER amx_bf16_exact
#define CACTUS_VECTORS amx_bf16_vectors
#define CACTUS_CALL_ROWS 512
#define CACTUS_FEW_ROWS 0
#include "cpu/amx_tiles.h"
#include "cpu/amx.inl"
#undef CACTUS_TIER
#define CACTUS_TIER amx_bf16
#define CACTUS_BASE amx_bf16_exact
#define CACTUS_PAIR_UNITS 12  // of two tiles: half of the first-level cache
#include "cpu/bf16_pairs.inl"
#include "cpu/amx_bf16.inl"
#include "cpu/bf16_attention.inl"
#include "cpu/table.inl"
