// Where one product of bf16 is exact enough: text encoders.

namespace cactus::CACTUS_TIER {

using namespace amx_bf16_exact;

}  // namespace cactus::CACTUS_TIER
