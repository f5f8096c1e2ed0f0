"""Checkpoints of text encoders by the names of our models, without the parts that are not run.

They come with and without the prefix of a larger model, and with heads of the tasks that they were
trained on. What is known to be unused is left out by its name; anything else that the model does
not have is refused by `Architecture.check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cactus.inputs.fields import Fields
from cactus.weights.format.tiles import U8
from cactus.weights.sources.source import SourceTensor, rows_of

Tensors = dict[str, SourceTensor]

_BERT = (
    (r"^(?:bert|roberta)\.", ""),
    (r"\bLayerNorm\.gamma$", "LayerNorm.weight"),  # the first checkpoints' words
    (r"\bLayerNorm\.beta$", "LayerNorm.bias"),
)
_NAMES: dict[str, Sequence[tuple[str, str]]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "model2vec": ((r"^embeddings$", "embed_tokens.weight"),),
    "modernbert": ((r"^model\.", ""),),
    "nomic_bert": (
        (r"^(?:bert|nomic_bert|model)\.", ""),
        (r"^encoder\.(?=layers\.)", ""),
        (r"^emb_ln\.", "embeddings.LayerNorm."),
        (r"\.attn\.Wqkv\.", ".self_attn.qkv_proj."),
        (r"\.attn\.out_proj\.", ".self_attn.o_proj."),
        (r"\.mlp\.fc11\.", ".mlp.up_proj."),
        (r"\.mlp\.fc12\.", ".mlp.gate_proj."),
        (r"\.norm1\.", ".post_attention_layernorm."),
        (r"\.norm2\.", ".post_mlp_layernorm."),
    ),
}
"""By `model_type`: expressions that are replaced in a checkpoint's names, one after the other."""

_UNUSED = re.compile(r"^(?:cls|lm_head|decoder)\.|(?:^|\.)(?:position_ids|token_type_ids)$")
"""Heads that guess words, and numbers that are counted."""


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether a config is of an encoder of texts."""
    return config.get("model_type") in _NAMES


def canonical(config: Mapping[str, Any], tensors: Sequence[SourceTensor]) -> Tensors:
    """The tensors of an encoder, by their names in our model of its ``model_type``."""
    named: Tensors = {}
    gated = any(".mlp.fc11." in tensor.name for tensor in tensors)
    for tensor in tensors:
        name = tensor.name
        for pattern, text in _NAMES[config["model_type"]]:
            name = re.sub(pattern, text, name)
        if gated:
            name = name.replace(".mlp.fc2.", ".mlp.down_proj.")
        if _UNUSED.search(name):
            continue
        if name.endswith(".experts.mlp.w2"):
            named[name] = _turned(replace(tensor, name=name), config)
            continue
        if ".qkv_proj." in name:  # merged in the checkpoint
            size = tensor.shape[0] // 3
            for number, part in enumerate("qkv"):
                each = name.replace(".qkv_proj.", f".{part}_proj.")
                named[each] = rows_of(tensor, each, number * size, size)
        else:
            named[name] = replace(tensor, name=name)
    return named


def _turned(tensor: SourceTensor, config: Mapping[str, Any]) -> SourceTensor:
    """The second matrices of experts, [experts * inner, hidden], each turned round.

    Raises `ModelFormatError` for a config that does not say how many there are.
    """
    experts = Fields(config).integer("num_experts", 1, 1 << 10)
    rows, hidden = tensor.shape if len(tensor.shape) == 2 else (0, 0)
    inner = rows // experts
    width = tensor.nbytes // max(1, rows * hidden)

    def turned_rows(start: int, stop: int) -> U8:
        parts = []
        while start < stop:
            expert, first = divmod(start, hidden)
            last = min(hidden, first + stop - start)
            raw = tensor.rows(expert * inner, (expert + 1) * inner)
            values = raw.reshape(inner, hidden, width)[:, first:last].swapaxes(0, 1)
            parts.append(np.ascontiguousarray(values).reshape(last - first, -1))
            start += last - first
        return np.concatenate(parts)

    return replace(tensor, shape=(experts * hidden, inner), rows=turned_rows)
