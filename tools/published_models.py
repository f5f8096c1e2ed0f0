"""The published config.json of the models that Cactus is measured and documented with.

Only what the configurations of a family differ in stands with each model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A model as its makers publish it; ``parameters`` counts a tied output matrix once.

    ``others`` are the ids of models with the same sizes.
    """

    hub_id: str
    parameters: int
    config: dict[str, Any]
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The lower-case last part of the id: how the tools call it."""
        return self.hub_id.rpartition("/")[2].lower()


def _sizes(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int
) -> dict[str, Any]:
    """The keys that every family spells alike."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "initializer_range": 0.02,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def _lfm2(
    hidden: int, inner: int, layers: int, heads: int, attending: list[int], *, adjust: bool = True
) -> dict[str, Any]:
    """LFM2; ``inner`` is adjusted (two thirds, rounded up to 256) but for the largest model."""
    config = _sizes(hidden, inner, layers, heads, 8, 65_536, 128_000)
    del config["intermediate_size"]
    return config | {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "block_auto_adjust_ff_dim": adjust,
        "block_dim": hidden,
        "block_ff_dim": inner,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "block_norm_eps": 1e-5,
        "block_use_swiglu": True,
        "conv_L_cache": 3,
        "conv_bias": False,
        "conv_dim": hidden,
        "conv_dim_out": hidden,
        "full_attn_idxs": attending,
        "norm_eps": 1e-5,
        "num_heads": heads,
        "rope_theta": 1e6,
        "theta": 1e6,
        "tie_embedding": True,
        "use_pos_enc": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 7,
    }


def _qwen(kind: str, architecture: str, context: int, **sizes: Any) -> dict[str, Any]:
    """What Qwen2.5 and Qwen3 have in common."""
    return _sizes(vocabulary=151_936, context=context, **sizes) | {
        "architectures": [architecture],
        "model_type": kind,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
    }


def _qwen2(hidden: int, inner: int, layers: int, heads: int, window_layers: int) -> dict[str, Any]:
    """Qwen2.5: biases of queries, keys and values, which no key of the configuration tells."""
    sizes = {"hidden": hidden, "inner": inner, "layers": layers, "heads": heads, "kv_heads": 2}
    window = {"sliding_window": 32_768, "max_window_layers": window_layers}
    return _qwen("qwen2", "Qwen2ForCausalLM", 32_768, **sizes) | window


def _qwen3(hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """Qwen3: heads of 128 whatever the hidden size."""
    sizes = {"hidden": hidden, "inner": inner, "layers": layers, "heads": heads, "kv_heads": 8}
    return _qwen("qwen3", "Qwen3ForCausalLM", 40_960, **sizes) | {
        "attention_bias": False,
        "head_dim": 128,
        "max_window_layers": layers,
        "rope_scaling": None,
        "sliding_window": None,
    }


def _gemma3(hidden: int, inner: int, layers: int) -> dict[str, Any]:
    """Gemma 3 for text: every sixth layer attends to everything, the others to a window."""
    kinds = ["full_attention" if n % 6 == 5 else "sliding_attention" for n in range(layers)]
    return _sizes(hidden, inner, layers, 4, 1, 262_144, 32_768) | {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "_sliding_window_pattern": 6,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": kinds,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "rope_local_base_freq": 10_000.0,
        "rope_scaling": None,
        "rope_theta": 1e6,
        "sliding_window": 512,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
    }


def _llama(sizes: dict[str, Any], theta: float, **others: Any) -> dict[str, Any]:
    """Llama and what shares its shape."""
    own = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "mlp_bias": False,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": theta,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return sizes | own | others


_LLAMA_3_2 = {
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "bos_token_id": 128_000,
    "eos_token_id": [128_001, 128_008, 128_009],
}

_SMOLLM3 = {
    "architectures": ["SmolLM3ForCausalLM"],
    "model_type": "smollm3",
    "layer_types": ["full_attention"] * 36,
    "max_window_layers": 28,
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0] * 9,
    "rms_norm_eps": 1e-6,
    "sliding_window": None,
    "use_sliding_window": False,
    "pad_token_id": 128_004,
    "bos_token_id": 128_000,
    "eos_token_id": 128_012,
}

_GRANITE = {
    "architectures": ["GraniteForCausalLM"],
    "model_type": "granite",
    "attention_multiplier": 0.015625,
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "residual_multiplier": 0.22,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}

# What it divides the turns of 48 pairs by, beyond the first 4,096 positions.
_PHI_4_LONG = (1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817,
               2.187582649, 2.446418898, 2.735880826, 3.059592084, 3.421605075, 3.826451687,
               4.279200023, 4.785517845, 5.351743533, 5.984965424, 6.693110555, 7.485043894,
               8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252,
               16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884,
               32.03, 32.1, 32.13, 32.23, 32.6, 32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97,
               33.28, 33.49, 33.5, 44.16, 47.77)  # fmt: skip

_PHI_4 = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "rope_scaling": {
        "long_factor": list(_PHI_4_LONG),
        "short_factor": [1.0] * 48,
        "type": "longrope",
    },
    "sliding_window": 262_144,
    "pad_token_id": 199_999,
    "bos_token_id": 199_999,
    "eos_token_id": 199_999,
}

_SIXTEEN = [2, 5, 8, 10, 12, 14]
_THIRTY = [2, 5, 9, 13, 17, 21, 24, 27]


def _smollm2(hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return _sizes(hidden, inner, layers, heads, kv_heads, 49_152, 8192) | {"pad_token_id": 2}


PUBLISHED = (
    Published(
        "LiquidAI/LFM2-350M",
        354_483_968,
        _lfm2(1024, 6656, 16, 16, _SIXTEEN),
        ("LiquidAI/LFM2.5-350M",),
    ),
    Published("LiquidAI/LFM2-700M", 742_489_344, _lfm2(1536, 10_240, 16, 24, _SIXTEEN)),
    Published(
        "LiquidAI/LFM2-1.2B",
        1_170_340_608,
        _lfm2(2048, 12_288, 16, 32, _SIXTEEN),
        (
            "LiquidAI/LFM2-1.2B-RAG",
            "LiquidAI/LFM2-1.2B-Tool",
            "LiquidAI/LFM2.5-1.2B-Instruct",
            "LiquidAI/LFM2.5-1.2B-Thinking",
        ),
    ),
    Published(
        "LiquidAI/LFM2-2.6B", 2_569_272_320, _lfm2(2048, 10_752, 30, 32, _THIRTY, adjust=False)
    ),
    Published("Qwen/Qwen3-0.6B", 596_049_920, _qwen3(1024, 3072, 28, 16)),
    Published("Qwen/Qwen3-1.7B", 1_720_574_976, _qwen3(2048, 6144, 28, 16)),
    Published("Qwen/Qwen3-4B", 4_022_468_096, _qwen3(2560, 9728, 36, 32)),
    Published(
        "Qwen/Qwen3-4B-Instruct-2507",
        4_022_468_096,
        _qwen3(2560, 9728, 36, 32) | {"max_position_embeddings": 262_144, "rope_theta": 5e6},
    ),
    Published("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, _qwen2(896, 4864, 24, 14, 21)),
    Published(
        "Qwen/Qwen2.5-1.5B-Instruct",
        1_543_714_304,
        _qwen2(1536, 8960, 28, 12, 21),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct",),
    ),
    Published("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688, _qwen2(2048, 11_008, 36, 16, 70)),
    Published(
        "google/gemma-3-270m-it",
        268_098_176,
        _gemma3(640, 2048, 18),
        ("google/functiongemma-270m-it",),
    ),
    Published("google/gemma-3-1b-it", 999_885_952, _gemma3(1152, 6912, 26)),
    Published(
        "meta-llama/Llama-3.2-1B-Instruct",
        1_235_814_400,
        _llama(_sizes(2048, 8192, 16, 32, 8, 128_256, 131_072), 5e5, head_dim=64, **_LLAMA_3_2),
    ),
    Published(
        "meta-llama/Llama-3.2-3B-Instruct",
        3_212_749_824,
        _llama(_sizes(3072, 8192, 28, 24, 8, 128_256, 131_072), 5e5, head_dim=128, **_LLAMA_3_2),
    ),
    Published(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        134_515_008,
        _llama(_smollm2(576, 1536, 30, 9, 3), 100_000.0),
    ),
    Published(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        361_821_120,
        _llama(_smollm2(960, 2560, 32, 15, 5), 100_000.0),
    ),
    Published(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        1_711_376_384,
        _llama(_smollm2(2048, 8192, 24, 32, 32), 130_000.0),
    ),
    Published(
        "HuggingFaceTB/SmolLM3-3B",
        3_075_098_624,
        _llama(_sizes(2048, 11_008, 36, 16, 4, 128_256, 65_536), 5e6, **_SMOLLM3),
    ),
    Published(
        "ibm-granite/granite-3.3-2b-instruct",
        2_533_539_840,
        _llama(_sizes(2048, 8192, 40, 32, 8, 49_159, 131_072), 1e7, **_GRANITE),
    ),
    Published(
        "microsoft/Phi-4-mini-instruct",
        3_836_021_760,
        _llama(_sizes(3072, 8192, 32, 24, 8, 200_064, 131_072), 1e4, **_PHI_4),
    ),
)


def find(name: str, models: tuple[Published, ...] = PUBLISHED) -> Published:
    """The model of that hub id or name, upper or lower case; ValueError that lists what is known.

    A beginning will do where it means one model: "smollm2-135m".
    """
    wanted = name.lower()
    exact = [model for model in models if wanted in (model.hub_id.lower(), model.name)]
    found = exact or [model for model in models if model.name.startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(model.name for model in models)
        raise ValueError(f"model {name!r} is not known, or not clear; known: {known}")
    return found[0]


def tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The same architecture in a size for tests: two layers of width 64, 384 tokens."""
    small = dict(config)
    small |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "vocab_size": 384, "max_position_embeddings": 512}
    inner = "block_ff_dim" if "block_ff_dim" in small else "intermediate_size"
    small[inner] = 96
    if inner == "block_ff_dim":
        small |= {"full_attn_idxs": [1], "block_multiple_of": 32}
    if "head_dim" in small:
        small["head_dim"] = 32
    if small["model_type"] == "phi3":
        pairs = 12  # three quarters of a head of 32
        small["rope_scaling"] = {
            key: value[:pairs] if isinstance(value, list) else value
            for key, value in small["rope_scaling"].items()
        }
    for key in ("layer_types", "no_rope_layers"):
        if key in small:
            small[key] = small[key][-2:]
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if key in small:
            ids = small[key] if isinstance(small[key], list) else [small[key]]
            near = [token % 320 for token in ids]
            small[key] = near if isinstance(small[key], list) else near[0]
    return small
