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


def _smolvlm(kind: str, text: str, factor: int, vision: dict[str, Any]) -> dict[str, Any]:
    """SmolVLM ("idefics3") and SmolVLM2 ("smolvlm"): a head of its own beside the embedding."""
    inner = find(text).config | {"vocab_size": 49_280, "tie_word_embeddings": False}
    inner |= {"bos_token_id": 1, "eos_token_id": 49_279, "pad_token_id": 2}
    names = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}
    return {
        "architectures": [f"{names[kind]}ForConditionalGeneration"],
        "model_type": kind,
        "image_token_id": 49_190,
        "scale_factor": factor,
        "text_config": inner,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vision_config": vision | {"model_type": f"{kind}_vision"},
        **{key: inner[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }


def _siglip(
    hidden: int, inner: int, layers: int, heads: int, image: int, patch: int
) -> dict[str, Any]:
    """SigLIP on square images."""
    return {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": hidden,
        "image_size": image,
        "intermediate_size": inner,
        "layer_norm_eps": 1e-6,
        "num_attention_heads": heads,
        "num_channels": 3,
        "num_hidden_layers": layers,
        "patch_size": patch,
    }


def _gemma3(hidden: int, inner: int, layers: int) -> dict[str, Any]:
    """Gemma 3 with images; its text_config says only what the class does not."""
    text = {
        "head_dim": 256,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "max_position_embeddings": 131_072,
        "model_type": "gemma3_text",
        "num_attention_heads": 8,
        "num_hidden_layers": layers,
        "num_key_value_heads": 4,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
        "vocab_size": 262_208,
    }
    ids = {"bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0}
    vision = _siglip(*_SO400M, 896, 14) | {"model_type": "siglip_vision_model"}
    return ids | {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "boi_token_index": 255_999,
        "eoi_token_index": 256_000,
        "image_token_index": 262_144,
        "mm_tokens_per_image": 256,
        "text_config": text | ids,
        "torch_dtype": "bfloat16",
        "vision_config": vision | {"vision_use_head": False},
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
    Published(
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        256_484_928,
        _smolvlm("idefics3", "smollm2-135m-instruct", 4, _siglip(*_BASE, 512, 16)),
    ),
    Published(
        "HuggingFaceTB/SmolVLM-500M-Instruct",
        507_482_304,
        _smolvlm("idefics3", "smollm2-360m-instruct", 4, _siglip(*_BASE, 512, 16)),
    ),
    Published(
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        256_484_928,
        _smolvlm("smolvlm", "smollm2-135m-instruct", 4, _siglip(*_BASE, 512, 16)),
    ),
    Published(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        507_482_304,
        _smolvlm("smolvlm", "smollm2-360m-instruct", 4, _siglip(*_BASE, 512, 16)),
    ),
    Published(
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        2_246_784_880,
        _smolvlm("smolvlm", "smollm2-1.7b-instruct", 3, _siglip(*_SO400M, 384, 14)),
    ),
    Published("google/gemma-3-4b-it", 4_300_079_472, _gemma3(2560, 10_240, 34)),
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
    "gemma3": {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_pan_and_scan": None,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Gemma3ImageProcessor",
        "image_seq_length": 256,
        "image_std": [0.5, 0.5, 0.5],
        "pan_and_scan_max_num_crops": None,
        "pan_and_scan_min_crop_size": None,
        "pan_and_scan_min_ratio_to_activate": None,
        "processor_class": "Gemma3Processor",
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": 896, "width": 896},
    },
}
"""preprocessor_config.json by ``model_type``, but for the size of tiles."""

_SMOLVLM = {
    "do_convert_rgb": True,
    "do_image_splitting": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 1,
    "rescale_factor": 1 / 255,
}
for _kind, _name in (("idefics3", "Idefics3"), ("smolvlm", "SmolVLM")):
    _classes = {"image_processor_type": f"{_name}ImageProcessor"}
    PROCESSORS[_kind] = _SMOLVLM | _classes | {"processor_class": f"{_name}Processor"}


def processor(config: dict[str, Any]) -> dict[str, Any]:
    """preprocessor_config.json of a model; of SmolVLM with its tower's tiles."""
    found = PROCESSORS[config["model_type"]]
    if config["model_type"] not in ("idefics3", "smolvlm"):
        return found
    side = config["vision_config"]["image_size"]
    return found | {"max_image_size": {"longest_edge": side}, "size": {"longest_edge": 4 * side}}


def tokens(config: dict[str, Any]) -> dict[int, str]:
    """The special tokens of images by their ids, as they lie around that of a feature."""
    image = config.get("image_token_id")
    if config["model_type"] == "lfm2_vl":
        places = [(row, column) for row in range(1, 11) for column in range(1, 11)]
        names = [f"<|img_row_{row}_col_{column}|>" for row, column in places]
        last = ["<|img_thumbnail|>", "<|image_start|>", "<|image_end|>"]
        return dict(enumerate(["<image>", *names, *last], image))
    if config["model_type"] in ("idefics3", "smolvlm"):
        places = [(row, column) for row in range(1, 7) for column in range(1, 7)]
        names = [f"<row_{row}_col_{column}>" for row, column in places]
        words = ["<global-img>", *names, "<fake_token_around_image>", "<image>"]
        found = dict(enumerate(words, image - len(words) + 1))
        return found | {config["eos_token_id"]: "<end_of_utterance>"}
    if config["model_type"] == "gemma3":
        words = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
        keys = ("boi_token_index", "eoi_token_index", "image_token_index")
        return {config[key]: word for key, word in zip(keys, words, strict=True)}
    return {}


NAMED_TOKENS = {
    "lfm2_vl": {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
    },
    "gemma3": {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
}
"""What tokenizer_config.json calls some of them."""


def chat_template(end: str, image: str = "<image>") -> str:
    """Turns that end with `end`, and an image's place where a message has one."""
    return (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ '{image}' }}}}"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
        f"{{{{ '{end}\\n' }}}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


CHAT_TEMPLATES = {
    "gemma3": chat_template("<|im_end|>", "<start_of_image>"),
    "lfm2_vl": chat_template("<|im_end|>"),
    "idefics3": chat_template("<end_of_utterance>"),
    "smolvlm": chat_template("<end_of_utterance>"),
}

_LIQUID = (
    ("model.", "model.language_model."),
    ("vision_tower.", "model.vision_tower.vision_model."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
)
_SMOL = (
    ("model.", "model.text_model."),
    ("vision_tower.", "model.vision_model."),
    ("multi_modal_projector.", "model.connector."),
)
_GEMMA = (
    ("model.", "language_model.model."),
    ("vision_tower.", "vision_tower.vision_model."),
)
_PREFIXES = {"gemma3": _GEMMA, "lfm2_vl": _LIQUID, "idefics3": _SMOL, "smolvlm": _SMOL}


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
    return [_published(kind, each) for each in found]


def _published(kind: str, weight: Weight) -> Weight:
    name = weight.name
    if name.endswith("mm_input_projection.weight"):  # which Gemma stores the other way round
        own = name.removesuffix(".weight") + "_weight"
        return weight._replace(name=own, shape=weight.shape[::-1])
    for ours, theirs in _PREFIXES[kind]:
        if name.startswith(ours):
            return weight._replace(name=theirs + name.removeprefix(ours))
    return weight


def tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The same architecture in a size for tests: two layers of width 64, 1,024 tokens."""
    import published_models

    text = published_models.tiny(config["text_config"])
    text |= {"vocab_size": 1024, "max_position_embeddings": 4096}
    keys = ("image_token_id", "image_token_index", "boi_token_index", "eoi_token_index")
    ids = {key: config[key] % 1013 for key in keys if key in config}
    vision = config["vision_config"] | {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    small = config | {"text_config": text, "vision_config": vision} | ids
    if "projector_hidden_size" in small:
        small["projector_hidden_size"] = 96
    return small | {key: text[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
