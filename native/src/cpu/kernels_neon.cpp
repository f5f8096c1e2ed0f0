#define CACTUS_TIER neon
#include "cpu/kernels.h"
// The vocabulary of this tier first, then the bodies that are written in it.
#include "cpu/simd_neon.h"
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
#include "cpu/peaks.inl"
#include "cpu/similarity.inl"
#include "cpu/table.inl"
