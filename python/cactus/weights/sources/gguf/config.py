"""What a GGUF file says of its model, checked and as a Hugging Face checkpoint would say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.weights.sources.gguf.facts import Facts, show
from cactus.weights.sources.gguf.families import FAMILIES, MappedTensor
from cactus.weights.sources.gguf.families.base import MAX_NAME, unmerged
from cactus.weights.sources.gguf.file import GGUFFile

MAX_TEMPLATE = 1 << 18


@dataclass(frozen=True)
class GGUFModel:
    """A GGUF model that keeps its word: config.json, generation_config.json, and the tensors."""

    config: dict[str, Any]
    generation: dict[str, Any]
    chat_template: str | None
    tensors: tuple[MappedTensor, ...]


def read_model(gguf: GGUFFile) -> GGUFModel:
    """The checked config and tensor list of a GGUF file.

    Raises `UnsupportedModel` for an architecture or feature that is not read, and
    `ModelFormatError` for metadata or tensors that contradict each other.
    """
    architecture = gguf.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelFormatError(
            f"general.architecture is {show(architecture)}, expected one of {_known()}"
        )
    kind = gguf.metadata.get("general.type", "model")
    if kind != "model":
        more = "; give the file of its language model" if kind == "mmproj" else ""
        raise UnsupportedModel(f"general.type is {show(kind)}, expected a whole model{more}")
    if architecture not in FAMILIES:
        raise UnsupportedModel(
            f"architecture {short(architecture)} is not supported in GGUF; supported: {_known()}"
        )
    facts = Facts(gguf.metadata, architecture)
    for name in ("tokenizer.ggml.model", "tokenizer.ggml.pre"):
        facts.text(name, MAX_NAME)
    described = FAMILIES[architecture](facts, gguf)
    generation = _token_ids(facts, described.config) | _sampling(facts)
    tensors = unmerged(gguf, described.tensors)
    check_tensors(gguf, tensors, described.consumed)
    return GGUFModel(
        described.config,
        generation,
        facts.text("tokenizer.chat_template", MAX_TEMPLATE),
        tuple(tensors),
    )


def _known() -> str:
    return ", ".join(sorted(FAMILIES))


def check_tensors(gguf: GGUFFile, tensors: list[MappedTensor], consumed: tuple[str, ...]) -> None:
    """Every expected tensor is there in its shape, and no other: without it results are wrong."""
    for tensor in tensors:
        found, wanted = gguf.tensors.get(tensor.source), tensor.source_shape
        if found is None:
            raise ModelFormatError(
                f"tensor {tensor.source!r} is missing, expected with shape {list(wanted)}"
            )
        if found.shape != wanted:
            raise ModelFormatError(
                f"tensor {tensor.source!r} has shape {list(found.shape)}, "
                f"but the metadata asks for {list(wanted)}"
            )
    expected = {tensor.source for tensor in tensors} | set(consumed)
    unknown = [name for name in gguf.tensors if name not in expected]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UnsupportedModel(
            f"tensors {', '.join(map(repr, unknown[:3]))}{more} belong to no part of a "
            f"{gguf.metadata['general.architecture']} model that is known here; without them the "
            "model would answer something else"
        )


def _sampling(facts: Facts) -> dict[str, Any]:
    """What the file says of sampling, in the words of generation_config.json."""
    found: dict[str, Any] = {}
    for key, name, high in (
        ("temp", "temperature", 100.0),
        ("top_p", "top_p", 1.0),
        ("min_p", "min_p", 1.0),
        ("penalty_repeat", "repetition_penalty", 100.0),
    ):
        if facts.get(f"general.sampling.{key}") is not None:
            found[name] = facts.number(f"general.sampling.{key}", 0, high)
    if facts.get("general.sampling.top_k") is not None:
        found["top_k"] = facts.integer("general.sampling.top_k", 0, 2**31 - 1)
    return found


def _token_ids(facts: Facts, config: dict[str, Any]) -> dict[str, Any]:
    """Put bos, eos and pad ids into `config`; returns generation_config.json."""
    last = config["vocab_size"] - 1
    ids: dict[str, int] = {}
    for name in ("bos", "eos", "eot", "eom", "padding"):
        key = f"tokenizer.ggml.{name}_token_id"
        if facts.get(key) is not None:
            ids[name] = facts.integer(key, 0, last)
    ends = list(dict.fromkeys(ids[name] for name in ("eos", "eot", "eom") if name in ids))
    generation: dict[str, Any] = {}
    for key, value in (
        ("bos_token_id", ids.get("bos")),
        ("eos_token_id", ends if len(ends) > 1 else (ends[0] if ends else None)),
        ("pad_token_id", ids.get("padding")),
    ):
        config[key] = value
        if value is not None:
            generation[key] = value
    return generation
