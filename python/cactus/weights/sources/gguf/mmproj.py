"""What llama.cpp's "mmproj" files say: the vision tower and the projector of a language model.

Such a file belongs to the file of a language model. Names, keys and what they imply are those of
its converter and of its program for images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.models.abilities import ABILITIES
from cactus.weights.sources.gguf.config import check_tensors
from cactus.weights.sources.gguf.facts import Facts, show
from cactus.weights.sources.gguf.families.base import (
    MAX_HEADS,
    MAX_LAYERS,
    MAX_WIDTH,
    MappedTensor,
    decimal,
    linear,
    vector,
)
from cactus.weights.sources.gguf.file import GGUFFile

_KEY = "clip.vision."


@dataclass(frozen=True)
class Eyes:
    """The keys of config.json that say how a model sees, preprocessor_config.json, and tensors."""

    config: dict[str, Any]
    processor: dict[str, Any]
    tensors: tuple[MappedTensor, ...]


@dataclass(frozen=True)
class _Kind:
    """A ``clip.projector_type``: the `text` models that it belongs to, and what it is of."""

    text: str
    read: Callable[[Facts, GGUFFile, dict[str, Any], Mapping[str, Any]], Eyes]


def read_mmproj(gguf: GGUFFile, text: Mapping[str, Any]) -> Eyes:
    """What a file adds to the language model whose config.json is `text`.

    Raises `UnsupportedModel` for an unknown kind and for a file that belongs to another model,
    `ModelFormatError` for what contradicts itself.
    """
    facts = Facts(gguf.metadata, "clip")
    if facts.get("general.architecture") != "clip" or not facts.get("clip.has_vision_encoder"):
        raise UnsupportedModel("this is not an mmproj file of a vision model")
    kind = facts.text("clip.projector_type", 64)
    if kind is None:
        kind = facts.text("clip.vision.projector_type", 64)
    known = _KINDS.get(kind or "")
    if known is None:
        raise UnsupportedModel(
            f"clip.projector_type is {show(kind)}, supported: {', '.join(sorted(_KINDS))}"
        )
    if text["model_type"] != known.text:
        raise UnsupportedModel(
            f"clip.projector_type {kind!r} belongs to a {known.text} model, "
            f"not to one of {text['model_type']}"
        )
    width, hidden = facts.integer(_KEY + "projection_dim", 1, MAX_WIDTH), text["hidden_size"]
    if width != hidden:
        raise UnsupportedModel(
            f"{_KEY}projection_dim is {width}, but the language model's width is {hidden}"
        )
    eyes = known.read(facts, gguf, _tower(facts), text)
    if eyes.config["model_type"] not in ABILITIES:
        raise UnsupportedModel(f"models of {eyes.config['model_type']} are not supported yet")
    check_tensors(gguf, list(eyes.tensors), ())
    return eyes


def _tower(facts: Facts) -> dict[str, Any]:
    """The keys of ``vision_config`` that all towers have."""
    if facts.get("clip.use_silu"):
        raise UnsupportedModel("clip.use_silu is true: such towers are not supported")
    patch = facts.integer(_KEY + "patch_size", 1, 256)
    return {
        "hidden_size": facts.integer(_KEY + "embedding_length", 16, MAX_WIDTH, multiple=16),
        "intermediate_size": facts.integer(_KEY + "feed_forward_length", 1, MAX_WIDTH),
        "num_hidden_layers": facts.integer(_KEY + "block_count", 1, MAX_LAYERS),
        "num_attention_heads": facts.integer(_KEY + "attention.head_count", 1, MAX_HEADS),
        "layer_norm_eps": decimal(facts.number(_KEY + "attention.layer_norm_epsilon", 0, 1)),
        # What it calls GELU is the approximation with tanh.
        "hidden_act": "gelu_pytorch_tanh" if facts.get("clip.use_gelu") else "quick_gelu",
        "image_size": facts.integer(_KEY + "image_size", patch, 1 << 14, multiple=patch),
        "patch_size": patch,
    }


def _tower_tensors(gguf: GGUFFile, c: Mapping[str, Any]) -> list[MappedTensor]:
    hidden, inner, patch = c["hidden_size"], c["intermediate_size"], c["patch_size"]
    place = "vision_tower.embeddings"
    kernel, grid = (hidden, 3, patch, patch), (c["image_size"] // patch) ** 2
    tensors = [
        MappedTensor("v.patch_embd.weight", f"{place}.patch_embedding.weight", kernel),
        MappedTensor("v.patch_embd.bias", f"{place}.patch_embedding.bias", (hidden,)),
        *linear("v.position_embd", f"{place}.position_embedding", grid, hidden),
        *_norm("v.post_ln", "vision_tower.post_layernorm", hidden),
    ]
    # The first converters called the two products of a feed-forward by each other's names.
    first = gguf.tensors.get("v.blk.0.ffn_up.weight")
    swapped = first is not None and hidden != inner and first.shape == (hidden, inner)
    up, down = ("ffn_down", "ffn_up") if swapped else ("ffn_up", "ffn_down")
    for index in range(c["num_hidden_layers"]):
        ours, theirs = f"vision_tower.encoder.layers.{index}", f"v.blk.{index}"
        tensors += _norm(f"{theirs}.ln1", f"{ours}.layer_norm1", hidden)
        tensors += _norm(f"{theirs}.ln2", f"{ours}.layer_norm2", hidden)
        for part in ("q", "k", "v", "out"):
            name = f"{ours}.self_attn.{part}_proj"
            tensors += linear(f"{theirs}.attn_{part}", name, hidden, hidden, bias=True)
        tensors += linear(f"{theirs}.{up}", f"{ours}.mlp.fc1", inner, hidden, bias=True)
        tensors += linear(f"{theirs}.{down}", f"{ours}.mlp.fc2", hidden, inner, bias=True)
    return tensors


def _norm(source: str, name: str, size: int) -> list[MappedTensor]:
    bias = MappedTensor(f"{source}.bias", f"{name}.bias", (size,))
    return [vector(source, name, size), bias]


def _scaling(facts: Facts) -> dict[str, Any]:
    """What preprocessor_config.json says of pixels."""
    found = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    return found | {
        name: [decimal(each) for each in facts.numbers(_KEY + name, 3)]
        for name in ("image_mean", "image_std")
    }


def _lfm2(facts: Facts, gguf: GGUFFile, tower: dict[str, Any], text: Mapping[str, Any]) -> Eyes:
    factor = facts.integer(_KEY + "projector.scale_factor", 1, 16, 2)
    width, hidden = tower["hidden_size"] * factor**2, text["hidden_size"]
    inner = _rows(gguf, "mm.1.weight")
    normed = "mm.input_norm.weight" in gguf.tensors
    place = "multi_modal_projector"
    tensors = _tower_tensors(gguf, tower)
    tensors += _norm("mm.input_norm", f"{place}.layer_norm", width) if normed else []
    tensors += linear("mm.1", f"{place}.linear_1", inner, width, bias=True)
    tensors += linear("mm.2", f"{place}.linear_2", hidden, inner, bias=True)
    grid = tower["image_size"] // tower["patch_size"]
    config = {
        "architectures": ["Lfm2VlForConditionalGeneration"],
        "model_type": "lfm2_vl",
        "downsample_factor": factor,
        "projector_hidden_size": inner,
        "projector_use_layernorm": normed,
        "vision_config": tower | {"model_type": "siglip2_vision_model", "num_patches": grid**2},
    }
    processor = _scaling(facts) | {
        "image_processor_type": "Lfm2VlImageProcessor",
        "downsample_factor": factor,
        "encoder_patch_size": tower["patch_size"],
    }
    return Eyes(config, processor, tuple(tensors))


def _idefics3(facts: Facts, gguf: GGUFFile, tower: dict[str, Any], text: Mapping[str, Any]) -> Eyes:
    factor = facts.integer(_KEY + "projector.scale_factor", 1, 16, 2)
    width = tower["hidden_size"] * factor**2
    name = "multi_modal_projector.modality_projection.proj"
    tensors = _tower_tensors(gguf, tower)
    tensors += linear("mm.model.fc", name, text["hidden_size"], width)
    size, longest = tower["image_size"], 4 * tower["image_size"]
    config = {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "scale_factor": factor,
        "vision_config": tower | {"model_type": "idefics3_vision"},
    }
    processor = _scaling(facts) | {
        "image_processor_type": "Idefics3ImageProcessor",
        "max_image_size": {"longest_edge": size},
        "size": {
            "longest_edge": facts.integer(_KEY + "preproc_image_size", size, 1 << 16, longest)
        },
    }
    return Eyes(config, processor, tuple(tensors))


def _gemma3(facts: Facts, gguf: GGUFFile, tower: dict[str, Any], text: Mapping[str, Any]) -> Eyes:
    width, hidden = tower["hidden_size"], text["hidden_size"]
    projection = "multi_modal_projector.mm_input_projection_weight"
    tensors = [
        *_tower_tensors(gguf, tower),
        MappedTensor("mm.input_projection.weight", projection, (width, hidden)),
        vector("mm.soft_emb_norm", "multi_modal_projector.mm_soft_emb_norm", width),
    ]
    size = tower["image_size"]
    # As llama.cpp has it where a file says nothing.
    factor = facts.integer(_KEY + "projector.scale_factor", 1, 64, 4)
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "mm_tokens_per_image": (size // tower["patch_size"] // factor) ** 2,
        "vision_config": tower | {"model_type": "siglip_vision_model"},
    }
    processor = _scaling(facts) | {
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": size, "width": size},
    }
    return Eyes(config, processor, tuple(tensors))


def _rows(gguf: GGUFFile, name: str) -> int:
    found = gguf.tensors.get(name)
    if found is None:
        raise ModelFormatError(f"tensor {name!r} is missing")
    return found.shape[0]


_KINDS = {
    "gemma3": _Kind("gemma3_text", _gemma3),
    "idefics3": _Kind("llama", _idefics3),
    "lfm2": _Kind("lfm2", _lfm2),
}

IMAGE_TOKENS = {"lfm2_vl": "<image>", "idefics3": "<image>", "gemma3": "<image_soft_token>"}
"""By ``model_type``: the word of the vocabulary that stands for an image feature."""
