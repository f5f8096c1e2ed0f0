// All but products of 16-bit weights and the attention of texts is the avx512 tier's, in a
// namespace of its own.
#define CACTUS_TIER avx512_bf16_base
#include "cpu/kernels.h"
// The vocabulary of this tier first, then the bodies that are written in it.
#include "cpu/simd_bf16.h"
// clang-format off
#include "cpu/panel_bytes.inl"
#include "cpu/linear.inl"
#include "cpu/elementwise.inl"
#include "cpu/attention.inl"
#include "cpu/attention_f16.inl"
#include "cpu/int8_store.inl"
#include "cpu/attention_int8.inl"
#include "cpu/attention_text.inl"
#include "cpu/conv.inl"
#include "cpu/logits.inl"
#include "cpu/similarity.inl"
#include "cpu/peaks.inl"
#undef CACTUS_TIER
#define CACTUS_TIER avx512_bf16
#define CACTUS_BASE avx512_bf16_base
#define CACTUS_PAIR_UNITS 12  // of two tiles: three quarters of the first-level cache, or half
#include "cpu/bf16_pairs.inl"
#include "cpu/avx512_bf16.inl"
#include "cpu/bf16_attention.inl"
#include "cpu/table.inl"
