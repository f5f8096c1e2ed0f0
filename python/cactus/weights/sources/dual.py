"""What is behind the transformers of a dual encoder's checkpoint: heads, tables and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cactus.errors import ModelFormatError
from cactus.inputs.files import find_bytes, find_json, parse_object
from cactus.models.vision import VisionConfig
from cactus.weights.format.tiles import U8
from cactus.weights.sources.embedder import base_settings
from cactus.weights.sources.source import TOKENIZER_LIMIT, Embedding, SourceTensor, rows_of

Tensors = dict[str, SourceTensor]

_TABLES = {"visual_projection.weight": "head.projection"}
_UNUSED = ("logit_scale", "logit_bias")
_POSITIONS = "vision_tower.embeddings.position_embedding.weight"
_CLASS = "vision_tower.embeddings.class_embedding"
_TEXT_HEADS = ("text_projection", "model.head")
_TOWER_HEAD = "vision_tower.head."


def take_tables(tensors: Tensors, c: VisionConfig) -> list[SourceTensor]:
    """What Python works with, taken out of a checkpoint's tensors."""
    for name in _UNUSED:
        tensors.pop(name, None)
    tables = []
    for name in [each for each in tensors if each.startswith(_TOWER_HEAD) or each in _TABLES]:
        tensor = tensors.pop(name)
        if c.head:  # others' heads are what their towers were trained with, and not used
            ours = _TABLES.get(name) or name.removeprefix("vision_tower.")
            tables.append(replace(tensor, name=ours))
    positions = tensors.pop(_POSITIONS, None)
    if positions is None:
        return tables
    if not c.class_token:
        return [*tables, replace(positions, name="position_embedding")]
    own = tensors.pop(_CLASS, None)
    if own is None or len(own.shape) != 1:
        raise ModelFormatError(f"tensor {_CLASS} [{c.hidden_size}] is missing")
    return [*tables, _class(own, positions), _behind_first(positions)]


def _class(own: SourceTensor, positions: SourceTensor) -> SourceTensor:
    """The embedding of the class with that of its position, the table's first."""
    width = own.shape[0]

    def rows(start: int, stop: int) -> U8:
        value = own.values(0, 1) + _row(positions)
        return np.ascontiguousarray(value, np.float32).view(np.uint8)

    return replace(own, name="class_embedding", kind="F32", shape=(1, width), rows=rows)


def _row(positions: SourceTensor) -> Any:
    return positions.values(0, min(positions.unit, positions.shape[0]))[:1]


def _behind_first(positions: SourceTensor) -> SourceTensor:
    return rows_of(positions, "position_embedding", 1, positions.shape[0] - 1)


def text_embedding(folder: Path, config: Mapping[str, Any], tensors: Tensors) -> Embedding:
    """How a text becomes a vector, and the head taken out of the tensors.

    A text's vector is that of its last token: of the sign at its end, or, with SigLIP, of the last
    of as many tokens as the model was trained with.
    """
    found = [name for name in _TEXT_HEADS if f"{name}.weight" in tensors]
    if not found:
        raise ModelFormatError(f"{folder}: tensor {_TEXT_HEADS[0]}.weight is missing")
    weight = replace(tensors.pop(f"{found[0]}.weight"), name="dense.0.weight")
    bias = tensors.pop(f"{found[0]}.bias", None)
    heads = [weight]
    if bias is not None:
        heads.append(replace(bias, name="dense.0.bias"))
    settings = base_settings(folder) | {
        "pooling": "last",
        "dimensions": weight.shape[0],
        "dense": [
            {
                "weight": "dense.0.weight",
                "bias": None if bias is None else "dense.0.bias",
                "activation": "identity",
                "norm": None,
            }
        ],
    }
    if config["model_type"] != "clip":
        length = config["text_config"].get("max_position_embeddings", 64)
        settings |= {
            "lower_case": True,
            "max_tokens": length,
            "pad": {"length": length, "token": _pad(folder, config)},
        }
    return Embedding(None, settings, tuple(heads))


def _pad(folder: Path, config: Mapping[str, Any]) -> int:
    """The id that texts are filled up with: the tokenizer's word, else the config's."""
    named = (find_json(folder / "tokenizer_config.json") or {}).get("pad_token")
    content = named.get("content") if isinstance(named, Mapping) else named
    where = folder / "tokenizer.json"
    data = find_bytes(where, TOKENIZER_LIMIT)
    added = parse_object(data, str(where)).get("added_tokens") if data is not None else None
    for each in added if isinstance(added, list) else []:
        known = isinstance(each, Mapping) and each.get("content") == content
        if known and type(each.get("id")) is int:
            return int(each["id"])
    given = config["text_config"].get("pad_token_id")
    return given if type(given) is int else 1
