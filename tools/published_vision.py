"""The published config.json and processors of models that see, and their tensors' names."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from published_models import Published, find

from cactus.models.base import Weight, parse_config


def _siglip2(hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    """SigLIP2 for any grid of patches of 16 by 16 pixels."""
    return {
        "attention_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "layer_norm_eps": 1e-6,
        "model_type": "siglip2_vision_model",
        "num_attention_heads": heads,
        "num_channels": 3,
        "num_hidden_layers": layers,
        "num_patches": 256,
        "patch_size": 16,
        "torch_dtype": "bfloat16",
        "vision_use_head": False,
    }


def _lfm2_vl(text: str, vision: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["Lfm2VlForConditionalGeneration"],
        "model_type": "lfm2_vl",
        "downsample_factor": 2,
        "image_token_id": 396,
        "projector_bias": True,
        "projector_hidden_act": "gelu",
        "projector_hidden_size": 2560,
        "projector_use_layernorm": True,
        "text_config": find(text).config,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vision_config": vision,
        **{key: find(text).config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }


_BASE, _SO400M = (768, 3072, 12, 12), (1152, 4304, 27, 16)

VISION = (
    Published(
        "LiquidAI/LFM2-VL-450M",
        450_822_656,
        _lfm2_vl("lfm2-350m", _siglip2(*_BASE)),
        ("LiquidAI/LFM2.5-VL-450M",),
    ),
    Published(
        "LiquidAI/LFM2-VL-1.6B",
        1_584_804_000,
        _lfm2_vl("lfm2-1.2b", _siglip2(*_SO400M) | {"num_hidden_layers": 26}),
    ),
    Published(
        "LiquidAI/LFM2.5-VL-1.6B",
        1_596_625_904,
        _lfm2_vl("lfm2-1.2b", _siglip2(*_SO400M))
        | {"projector_hidden_size": 2048, "projector_use_layernorm": False},
    ),
    Published("LiquidAI/LFM2-VL-3B", 2_998_975_216, _lfm2_vl("lfm2-2.6b", _siglip2(*_SO400M))),
)

PROCESSORS: dict[str, dict[str, Any]] = {
    "lfm2_vl": {
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "downsample_factor": 2,
        "encoder_patch_size": 16,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Lfm2VlImageProcessorFast",
        "image_std": [0.5, 0.5, 0.5],
        "max_image_tokens": 256,
        "max_num_patches": 1024,
        "max_pixels_tolerance": 2.0,
        "max_tiles": 10,
        "min_image_tokens": 64,
        "min_tiles": 2,
        "processor_class": "Lfm2VlProcessor",
        "resample": 2,
        "rescale_factor": 1 / 255,
        "tile_size": 512,
        "use_thumbnail": True,
    },
}
"""preprocessor_config.json by ``model_type``."""

_LFM2_TOKENS = {
    396: "<image>",
    **{
        397 + 10 * row + column: f"<|img_row_{row + 1}_col_{column + 1}|>"
        for row in range(10)
        for column in range(10)
    },
    497: "<|img_thumbnail|>",
    498: "<|image_start|>",
    499: "<|image_end|>",
}

TOKENS = {"lfm2_vl": _LFM2_TOKENS}
"""The special tokens of images by their ids, by ``model_type``."""

NAMED_TOKENS = {
    "lfm2_vl": {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
    }
}
"""What tokenizer_config.json calls some of them."""

CHAT_TEMPLATES = {
    "lfm2_vl": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<image>' }}"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
        "{{ '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}

_PREFIXES = (
    ("model.", "model.language_model."),
    ("vision_tower.", "model.vision_tower.vision_model."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
)


def weights(config: dict[str, Any]) -> list[Weight]:
    """Every tensor of a published checkpoint, by its names and in its shapes."""
    kind = config["model_type"]
    module = importlib.import_module(f"cactus.models.{kind}")
    parsed: Any = parse_config(config)
    vision = parsed.vision
    # The checkpoint's own sizes, without the zeros that a conversion adds.
    bare = replace(
        vision,
        head_dim=vision.true_head_dim,
        intermediate_size=vision.true_intermediate_size,
        patch_width=vision.pixels,
    )
    model = module.build(replace(parsed, vision=bare))
    model.bind()
    found = [Weight(p.name, p.shape, p.kind, p.offset, p.taps) for p in model.parameters()]
    if bare.positions is not None:
        rows, cols = bare.positions
        name = "vision_tower.embeddings.position_embedding.weight"
        found.append(Weight(name, (rows * cols, bare.hidden_size), "matrix", 0.0, 1))
    return [each._replace(name=_published(each.name)) for each in found]


def _published(name: str) -> str:
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The same architecture in a size for tests: two layers of width 64, 1,024 tokens."""
    import published_models

    text = published_models.tiny(config["text_config"])
    text |= {"vocab_size": 1024, "max_position_embeddings": 4096}
    vision = config["vision_config"] | {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    small = config | {"text_config": text, "vision_config": vision, "projector_hidden_size": 96}
    return small | {key: text[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
