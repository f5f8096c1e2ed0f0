"""The sizes that the compared models give to their ops, as cases of the op tests' table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from random_models import SHAPES, Shape

from tests.ops.cases import Case, Chunks

DECODE: Chunks = ((1,),)
PREFILL: Chunks = ((256,),)
TOGETHER: Chunks = ((1,),) * 8

STARTER = Shape(
    architecture="llama",
    pre_tokenizer="smollm",
    hidden=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    inner=1536,
    vocabulary=49_152,
    context=8192,
    rope_base=1e5,
    epsilon=1e-5,
)
MODELS = {"starter": STARTER, **SHAPES}


def cases_of(shape: Shape) -> Iterator[Case]:
    """What one model computes: decoding, reading a chunk, and 8 conversations a step."""
    hidden, inner = shape.hidden, shape.inner
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    for chunks in (DECODE, TOGETHER, PREFILL):
        matrices = [(queries + 2 * keys, hidden), (hidden, queries)]
        matrices += [(2 * inner, hidden), (hidden, inner)]
        if shape.taps:
            matrices.append((3 * hidden, hidden))
        for rows, columns in matrices:
            yield Case("linear", (columns,), ((rows, columns),), {}, chunks)
        yield Case("rms_norm", (hidden,), ((hidden,),), {"eps": shape.epsilon}, chunks)
        yield Case("swiglu", (2 * inner,), (), {}, chunks)
        yield Case("quantize", (inner,), (), {}, chunks)
        if shape.taps:
            kernel = (hidden, shape.taps)
            yield Case("short_conv", (3 * hidden,), (kernel,), {"taps": shape.taps}, chunks)
    # The output matrix reads one row of a chunk; a part of it will do.
    yield Case("linear", (hidden,), ((16_384, hidden),), {}, DECODE)
    for chunks in (DECODE, ((1024, 1),), ((4096, 1),), PREFILL, ((1024, 256),), ((256, 1),) * 8):
        yield Case("qkv_attention", (queries + 2 * keys,), *_attention(shape), chunks)


def _attention(shape: Shape) -> tuple[tuple[tuple[int, ...], ...], dict[str, Any]]:
    half = shape.head_dim // 2
    norms = shape.architecture != "llama"
    attrs = {
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "scale": shape.head_dim**-0.5,
        "inv_freq": tuple(shape.rope_base ** (-i / half) for i in range(half)),
        "rope_scale": 1.0,
        "norm_eps": shape.epsilon if norms else None,
    }
    return ((shape.head_dim,),) * 2 if norms else (), attrs


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
