#include "ops/ops.h"

#include "error.h"

namespace cactus {

OpFunction find_op(Op op) {
  switch (op) {
    case Op::kEmbed: return op_embed;
    case Op::kLinear: return op_linear;
    case Op::kAdd: return op_add;
    case Op::kMul: return op_mul;
    case Op::kSilu: return op_silu;
    case Op::kRmsNorm: return op_rms_norm;
    case Op::kHeadNorm: return op_head_norm;
    case Op::kRope: return op_rope;
    case Op::kAttention: return op_attention;
    case Op::kCausalConv1d: return op_causal_conv1d;
    case Op::kOutputRows: return op_output_rows;
    case Op::kQuantize: return op_quantize;
    case Op::kSwiglu: return op_swiglu;
    case Op::kQkvAttention: return op_qkv_attention;
    case Op::kShortConv: return op_short_conv;
    case Op::kGelu: return op_gelu;
    case Op::kGeglu: return op_geglu;
    case Op::kScale: return op_scale;
    case Op::kFeatures: return op_features;
    case Op::kIm2col: return op_im2col;
    case Op::kGeluErf: return op_gelu_erf;
    case Op::kLayerNorm: return op_layer_norm;
    case Op::kAddPosition: return op_add_position;
    case Op::kStoreMemory: return op_store_memory;
    case Op::kMemoryAttention: return op_attention;
    case Op::kMemoryScores: return op_memory_scores;
  }
  throw Error(CACTUS_ERROR_PLAN, "plan: unknown operation");
}

}  // namespace cactus
