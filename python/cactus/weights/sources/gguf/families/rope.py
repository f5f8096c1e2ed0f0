"""The stretching of rotary positions, as config.json spells it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.weights.format.tiles import F32
from cactus.weights.sources.gguf.facts import Facts
from cactus.weights.sources.gguf.families.base import MAX_CONTEXT, MAX_NAME, decimal
from cactus.weights.sources.gguf.file import GGUFFile

TABLE = "rope_freqs.weight"


def scaling(facts: Facts, gguf: GGUFFile, config: dict[str, Any]) -> dict[str, Any]:
    """The config keys that say how positions are stretched; none where they are not."""
    original = facts.integer("{arch}.rope.scaling.original_context_length", 1, MAX_CONTEXT, 8192)
    _check_usual(facts, "{arch}.rope.scaling.attn_factor", 1.0)
    if TABLE in gguf.tensors:
        return {"rope_scaling": _llama3(gguf, config, original)}
    # Files of the first converters have a factor under another name, and no type.
    kind = facts.text("{arch}.rope.scaling.type", MAX_NAME) or "linear"
    factor = facts.number("{arch}.rope.scaling.factor", 0.0, 1e6, 0.0)
    factor = factor or facts.number("{arch}.rope.scale_linear", 0.0, 1e6, 0.0) or 1.0
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {}
    if kind == "linear":
        return {"rope_scaling": {"rope_type": "linear", "factor": decimal(factor)}}
    if kind == "yarn":
        return {"rope_scaling": _yarn(facts, config, factor)}
    raise UnsupportedModel(
        f"{facts.key('{arch}.rope.scaling.type')} {short(kind)} is not supported"
    )


def factors(gguf: GGUFFile, name: str, pairs: int, least: float) -> F32:
    """A table of one divisor, `least` or more, for each pair of values that rotate together."""
    tensor = gguf.tensors.get(name)
    if tensor is None:
        raise ModelFormatError(f"tensor {name!r} is missing, expected F32 [{pairs}]")
    if tensor.shape != (pairs,) or tensor.type.name != "F32":
        raise ModelFormatError(
            f"tensor {name!r} is {tensor.type.name} {list(tensor.shape)}, expected F32 [{pairs}]"
        )
    table: F32 = gguf.array(name).view(np.float32)[0]
    if not (np.isfinite(table).all() and table.min() >= least and table.max() <= 1e6):
        raise ModelFormatError(f"tensor {name!r} holds values out of {least:g}..1,000,000")
    return table


def _yarn(facts: Facts, config: dict[str, Any], factor: float) -> dict[str, Any]:
    """YaRN as the checkpoint had it; what a file does not say has its usual value."""
    prefix, context = "{arch}.rope.scaling.", config["max_position_embeddings"]
    original = facts.integer(f"{prefix}original_context_length", 1, MAX_CONTEXT, context)
    scaling = {
        "rope_type": "yarn",
        "factor": decimal(factor),
        "original_max_position_embeddings": original,
    }
    for key, source in (
        ("beta_fast", "yarn_beta_fast"),
        ("beta_slow", "yarn_beta_slow"),
        ("attention_factor", "yarn_attn_factor"),
        ("mscale_all_dim", "yarn_log_multiplier"),
    ):
        value = facts.number(prefix + source, 0.0, 1e6, 0.0)
        if value:
            scaling[key] = decimal(value)
    if "mscale_all_dim" in scaling:
        scaling["mscale"] = 1.0
    _check_usual(facts, f"{prefix}yarn_ext_factor", 1.0, -1.0)
    return scaling


def _check_usual(facts: Facts, name: str, *usual: float) -> None:
    """`UnsupportedModel` for a number other than the usual ones, the first being the default."""
    value = facts.number(name, -1e6, 1e6, usual[0])
    if value not in usual:
        raise UnsupportedModel(f"{facts.key(name)} is {value:g}, expected {usual[0]:g}")


def _llama3(gguf: GGUFFile, config: dict[str, Any], original: int) -> dict[str, Any]:
    """The parameters behind a table of frequency divisors.

    Converters store the table and drop what it was made of. All published Llama 3 models have
    low_freq_factor 1 and high_freq_factor 4; the largest divisor is the factor, and the others tell
    the original context. The table that follows from these has to be the one that is there.
    """
    pairs = config["head_dim"] // 2
    table = factors(gguf, TABLE, pairs, 1)
    factor = float(table.max())
    low, high = 1.0, 4.0
    frequencies = config["rope_theta"] ** (-np.arange(pairs) / pairs) / (2 * np.pi)
    original = _original_context(table, frequencies, low, high) or original
    share = np.clip((original * frequencies - low) / (high - low), 0, 1)
    if not np.allclose(1 / ((1 - share) / factor + share), table, rtol=1e-3):
        raise UnsupportedModel(f"tensor {TABLE!r} is not a Llama 3 frequency table")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _original_context(table: F32, turns: NDArray[Any], low: float, high: float) -> int:
    """The context behind divisors that lie between 1 and the factor; 0 if none does.

    `turns` are those of each pair in one position.
    """
    between = (table > 1.01) & (table < 0.99 * table.max())
    if not between.any():
        return 0
    least = 1 / table.max()
    share = (1 / table[between] - least) / (1 - least)
    contexts = (low + share * (high - low)) / turns[between]
    return round(float(np.clip(np.median(contexts), 1, MAX_CONTEXT)))
