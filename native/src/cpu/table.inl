// The tier's table, after every body.

namespace cactus {

static_assert(CACTUS_TIER::kQueries <= kMaxQueries && CACTUS_TIER::kCodedQueries <= kMaxQueries);

#define CACTUS_NAME_OF(tier) #tier
#define CACTUS_NAME(tier) CACTUS_NAME_OF(tier)
#define CACTUS_TABLE_OF(tier) kernels_##tier
#define CACTUS_TABLE(tier) CACTUS_TABLE_OF(tier)

const KernelTable CACTUS_TABLE(CACTUS_TIER) = {
    .name = CACTUS_NAME(CACTUS_TIER),
    .panel_rows = CACTUS_TIER::kPanelRows,
    .few_rows = CACTUS_TIER::kFewRows,
    .max_rows = CACTUS_TIER::kCallRows,
    .own_rows = CACTUS_TIER::kOwnRows,
    .max_queries = CACTUS_TIER::kQueries,
    .coded_queries = CACTUS_TIER::kCodedQueries,
    .panel_bytes = {CACTUS_TIER::kPanelBytes<1>, CACTUS_TIER::kPanelBytes<2>},
    .begin = CACTUS_TIER::begin,
    .end = CACTUS_TIER::end,
    .linear = {.q4 = CACTUS_TIER::linear_q4,
               .q8 = CACTUS_TIER::linear_q8,
               .q4_0 = CACTUS_TIER::linear_q4_0,
               .q4_64 = CACTUS_TIER::linear_q4_64,
               .q8_64 = CACTUS_TIER::linear_q8_64},
    .linear_f32 = CACTUS_TIER::linear_f32,
    .linear_f16 = CACTUS_TIER::linear_f16,
    .linear_bf16 = CACTUS_TIER::linear_bf16,
    .split_bytes = CACTUS_TIER::kSplitBytes,
    .split_row = CACTUS_TIER::split_row,
    .split_f16 = CACTUS_TIER::split_f16,
    .split_bf16 = CACTUS_TIER::split_bf16,
    .one_level = {.q4 = CACTUS_TIER::one_level_q4,
                  .q8 = CACTUS_TIER::one_level_q8,
                  .q4_0 = CACTUS_TIER::one_level_q4_0,
                  .q4_64 = CACTUS_TIER::one_level_q4_64,
                  .q8_64 = CACTUS_TIER::one_level_q8_64},
    .quantize_row = CACTUS_TIER::quantize_row,
    .panel_value = CACTUS_TIER::panel_value,
    .rms_norm = CACTUS_TIER::rms_norm,
    .layer_norm = CACTUS_TIER::layer_norm,
    .add = CACTUS_TIER::add_rows,
    .mul = CACTUS_TIER::mul_rows,
    .silu = CACTUS_TIER::silu,
    .gelu_erf = CACTUS_TIER::gelu_erf,
    .swiglu = CACTUS_TIER::swiglu,
    .gelu = CACTUS_TIER::gelu,
    .geglu = CACTUS_TIER::geglu,
    .geglu_erf = CACTUS_TIER::geglu_erf,
    .scale = CACTUS_TIER::scale,
    .rope = CACTUS_TIER::rope,
    .kv_store = CACTUS_TIER::kv_store,
    .code_query = CACTUS_TIER::code_query,
    .attend_span = CACTUS_TIER::attend_span,
    .score_span = CACTUS_TIER::score_span,
    .attend_merge = CACTUS_TIER::attend_merge,
    .text_key_bytes = CACTUS_TIER::text_key_bytes,
    .text_scratch = CACTUS_TIER::text_scratch,
    .store_text = CACTUS_TIER::store_text,
    .attend_text = CACTUS_TIER::attend_text,
    .conv = CACTUS_TIER::conv,
    .logit_stats = CACTUS_TIER::logit_stats,
    .logit_weights = CACTUS_TIER::logit_weights,
    .logit_gather = CACTUS_TIER::logit_gather,
    .dot_f16 = CACTUS_TIER::dot_f16,
    .dot_round = kPeakBytes / 64 * CACTUS_TIER::kDotLanes * CACTUS_TIER::kDotChains,
    .fma_round = kPeakBytes / 4 * CACTUS_TIER::kFmaChains,
    .peak_read = CACTUS_TIER::peak_read,
    .peak_dot = CACTUS_TIER::peak_dot,
    .peak_fma = CACTUS_TIER::peak_fma,
};

}  // namespace cactus
