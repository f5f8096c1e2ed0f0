"""Checkpoints of models that see, by the names and shapes of our models.

Their parts have had other prefixes in each version of the libraries that saved them. What of the
tower has no whole groups or heads gets zeros, and what Python works with becomes a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cactus.models.abilities import ABILITIES
from cactus.models.vision import VisionConfig, vision_config
from cactus.weights.sources.dual import take_tables
from cactus.weights.sources.rearranged import (
    by_pixel,
    padded_heads,
    padded_places,
    rearranged,
    summed,
    transposed,
)
from cactus.weights.sources.source import SourceTensor

_NAMES = (
    (r"^(?:model\.)?visual\.merger\.(?:ln_q|norm)\.", "vision_tower.post_layernorm."),
    (r"^(?:model\.)?visual\.merger\.(?:mlp\.0|linear_fc1)\.", "multi_modal_projector.linear_1."),
    (r"^(?:model\.)?visual\.merger\.(?:mlp\.2|linear_fc2)\.", "multi_modal_projector.linear_2."),
    (r"^(?:model\.)?visual\.deepstack_merger_list\.(\d+)\.linear_fc", r"deepstack.\1.linear_"),
    (r"^(?:model\.)?visual\.deepstack_merger_list\.", "deepstack."),
    (r"^(?:model\.)?visual\.patch_embed\.proj\.", "vision_tower.embeddings.patch_embedding."),
    (r"^(?:model\.)?visual\.pos_embed\.", "vision_tower.embeddings.position_embedding."),
    (r"^(?:model\.)?visual\.(blocks\.\d+\.mlp\.)(?:linear_)?", r"vision_tower.\1"),
    (r"^(?:model\.)?visual\.", "vision_tower."),
    (r"^(?:model\.)?language_model\.lm_head\.", "lm_head."),
    (r"^(?:model\.)?(?:language_model|text_model)\.(?:model\.)?", "model."),
    (r"^(?:model\.)?(?:vision_tower|vision_model)\.(?:vision_model\.)?", "vision_tower."),
    (r"^(?:model\.)?(?:multi_modal_projector|connector)\.", "multi_modal_projector."),
)
"""Expressions that are replaced in a checkpoint's names, the first that fits."""


def sees(config: Mapping[str, Any]) -> bool:
    """Whether a config is of a model that sees."""
    able = ABILITIES.get(str(config.get("model_type")), ())
    return "see" in able or "embed_image" in able


def is_dual(config: Mapping[str, Any]) -> bool:
    """Whether a config is of a model that makes vectors of texts and images alike."""
    able = ABILITIES.get(str(config.get("model_type")), ())
    return "embed_image" in able and "see" not in able


def canonical(
    config: Mapping[str, Any], sources: Sequence[SourceTensor]
) -> tuple[list[SourceTensor], list[SourceTensor]]:
    """The tensors of a model that sees, and its tables. Raises as `load_architecture` does."""
    vision = vision_config(config)
    assert vision is not None
    tensors: dict[str, SourceTensor] = {}
    for source in sources:
        name = source.name
        for pattern, text in _NAMES:
            name, count = re.subn(pattern, text, name)
            if count:
                break
        tensors[name] = replace(source, name=name)
    tables = take_tables(tensors, vision)
    return [_fitted(tensor, vision) for tensor in tensors.values()], tables


def _fitted(tensor: SourceTensor, c: VisionConfig) -> SourceTensor:
    """A tensor of the tower with the zeros that it needs; a projection with its rows as rows."""
    if tensor.name == "multi_modal_projector.mm_input_projection_weight":
        turned = replace(tensor, name="multi_modal_projector.mm_input_projection.weight")
        return transposed(turned)
    if not tensor.name.startswith("vision_tower."):
        return tensor
    place, _, last = tensor.name.rpartition(".")
    part, matrix = place.rpartition(".")[2], last == "weight"
    heads = padded_heads(c.heads, c.true_head_dim, c.head_dim)
    inner = padded_places(c.true_intermediate_size, c.intermediate_size)
    if part == "patch_embedding" and matrix:
        if len(tensor.shape) == 5:
            tensor = summed(tensor, tensor.shape[2])
        order = padded_places(c.pixels, c.patch_width)
        if len(tensor.shape) == 4:
            order[: c.pixels] = by_pixel(3, c.patch_size)
        return rearranged(tensor, cols=order)
    if part == "qkv" and c.head_dim != c.true_head_dim:
        heads = padded_heads(3 * c.heads, c.true_head_dim, c.head_dim)
        return rearranged(tensor, heads) if matrix else rearranged(tensor, cols=heads)
    if part in ("q_proj", "k_proj", "v_proj") and c.head_dim != c.true_head_dim:
        return rearranged(tensor, heads) if matrix else rearranged(tensor, cols=heads)
    if part in ("out_proj", "proj") and matrix and c.head_dim != c.true_head_dim:
        return rearranged(tensor, cols=heads)
    if c.intermediate_size != c.true_intermediate_size:
        if part in ("fc1", "gate_proj", "up_proj"):
            return rearranged(tensor, inner) if matrix else rearranged(tensor, cols=inner)
        if part in ("fc2", "down_proj") and matrix:
            return rearranged(tensor, cols=inner)
    return tensor
