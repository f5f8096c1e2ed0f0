"""The sizes that the compared models give to their ops, as cases of the op tests' table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import models
from random_models import find

from cactus.models.base import Architecture, load_architecture
from tests.ops.cases import Case, Chunks

DECODE: Chunks = ((1,),)
PREFILL: Chunks = ((256,),)
TOGETHER: Chunks = ((1,),) * 8

_HEAD_NORMS = (".q_norm.weight", ".q_layernorm.weight")
_PUBLISHED_AS = {models.STARTER: "smollm2-135m-instruct"}

MODELS = {
    name: load_architecture(find(_PUBLISHED_AS.get(name, name)).config) for name in models.NAMES
}


def cases_of(architecture: Architecture) -> Iterator[Case]:
    """What one model computes: decoding, reading a chunk, and 8 conversations a step."""
    c = architecture.config
    hidden, inner = c.hidden_size, c.intermediate_size
    queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    taps = getattr(c, "taps", 0)
    for chunks in (DECODE, TOGETHER, PREFILL):
        matrices = [(queries + 2 * keys, hidden), (hidden, queries)]
        matrices += [(2 * inner, hidden), (hidden, inner)]
        if taps:
            matrices.append((3 * hidden, hidden))
        for rows, columns in matrices:
            yield Case("linear", (columns,), ((rows, columns),), {}, chunks)
        yield Case("rms_norm", (hidden,), ((hidden,),), {"eps": c.norm_eps}, chunks)
        gate = "geglu" if c.model_type == "gemma3_text" else "swiglu"
        yield Case(gate, (2 * inner,), (), {}, chunks)
        yield Case("quantize", (inner,), (), {}, chunks)
        if taps:
            yield Case("short_conv", (3 * hidden,), ((hidden, taps),), {"taps": taps}, chunks)
    # The output matrix reads one row of a chunk; a part of it will do.
    yield Case("linear", (hidden,), ((16_384, hidden),), {}, DECODE)
    contexts = [((length, 1),) for length in (1024, 4096, 16_384)]
    for chunks in (DECODE, *contexts, PREFILL, ((1024, 256),), ((4096, 256),), ((256, 1),) * 8):
        yield Case("qkv_attention", (queries + 2 * keys,), *_attention(architecture), chunks)


def _attention(architecture: Architecture) -> tuple[tuple[tuple[int, ...], ...], dict[str, Any]]:
    c = architecture.config
    norms = any(weight.name.endswith(_HEAD_NORMS) for weight in architecture.weights)
    attrs = {
        "heads": c.heads,
        "kv_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "scale": c.head_dim**-0.5,
        "window": 0,
        "inv_freq": c.rope.inv_freq,
        "axes": (),
        "rope_scale": 1.0,
        "norm_eps": c.norm_eps if norms else None,
    }
    return ((c.head_dim,),) * 2 if norms else (), attrs


def describe(case: Case) -> str:
    """What a case's last step does, for people: the matrix or heads, and the rows."""
    what = "x".join(str(width) for width in case.inputs)
    if case.op == "linear":
        what = f"{sum(weight[0] for weight in case.weights)} x {case.inputs[0]}"
    elif case.op in ("attention", "qkv_attention"):
        attrs = case.attrs
        what = f"{attrs['heads']}/{attrs['kv_heads']} heads of {attrs['head_dim']}"
    elif case.op == "embed":
        what = str(case.weights[0][1])
    counts = [chunks[-1] for chunks in case.chunks]
    past = [sum(chunks[:-1]) for chunks in case.chunks]
    alike = len(set(counts)) == 1 and len(counts) > 1
    rows = f"{len(counts)} x {counts[0]}" if alike else "+".join(map(str, counts))
    after = f" after {max(past):,}" if any(past) else ""
    return f"{what}, rows {rows}{after}"
