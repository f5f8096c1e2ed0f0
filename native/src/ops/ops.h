// The op functions: how a step's work is shared between the threads. The arithmetic is in cpu/.
#pragma once

#include "program.h"

namespace cactus {

void op_embed(const StepRecord& step, const Context& c);
void op_linear(const StepRecord& step, const Context& c);
void op_add(const StepRecord& step, const Context& c);
void op_mul(const StepRecord& step, const Context& c);
void op_silu(const StepRecord& step, const Context& c);
void op_rms_norm(const StepRecord& step, const Context& c);
void op_head_norm(const StepRecord& step, const Context& c);
void op_rope(const StepRecord& step, const Context& c);
void op_attention(const StepRecord& step, const Context& c);
void op_qkv_attention(const StepRecord& step, const Context& c);
void op_causal_conv1d(const StepRecord& step, const Context& c);
void op_store_memory(const StepRecord& step, const Context& c);
void op_memory_scores(const StepRecord& step, const Context& c);
void op_features(const StepRecord& step, const Context& c);
void op_im2col(const StepRecord& step, const Context& c);
void op_gelu_erf(const StepRecord& step, const Context& c);
void op_layer_norm(const StepRecord& step, const Context& c);
void op_add_position(const StepRecord& step, const Context& c);
void op_short_conv(const StepRecord& step, const Context& c);
void op_output_rows(const StepRecord& step, const Context& c);
void op_quantize(const StepRecord& step, const Context& c);
void op_swiglu(const StepRecord& step, const Context& c);
void op_gelu(const StepRecord& step, const Context& c);
void op_geglu(const StepRecord& step, const Context& c);
void op_scale(const StepRecord& step, const Context& c);

// Quantises `values` into row `row` of a quantised buffer.
void quantize_into(const Context& c, const Buffer& out, uint32_t row, const float* values);

}  // namespace cactus
