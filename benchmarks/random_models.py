"""Models of full size with random weights, where only the speed is wanted.

    python benchmarks/random_models.py lfm2-350m FILE.gguf

The layers' matrices are written as Q8_0 blocks, from which each side makes its own 4-bit format.
The embedding, which is the output matrix too, has Q4_0 blocks: our conversion keeps them, and
llama-quantize gives them 6 bits. Tensors are made and written one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

BLOCK = 32
_Q4_0, _Q8_0 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
_BLOCKS = {
    _Q4_0: np.dtype([("scale", "<f2"), ("codes", "u1", 16)]),
    _Q8_0: np.dtype([("scale", "<f2"), ("codes", "i1", 32)]),
}
_CODE_DEVIATION = {_Q4_0: 4.32, _Q8_0: 73.3}  # of integers from -7 to 7, from -127 to 127
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a published model. ``attending`` names the layers with attention; None: all."""

    architecture: str
    pre_tokenizer: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    context: int
    rope_base: float
    epsilon: float
    attending: tuple[int, ...] | None = None
    taps: int = 0

    def attends(self, layer: int) -> bool:
        """Whether a layer has attention; the others have a short convolution."""
        return self.attending is None or layer in self.attending


SHAPES = {
    "lfm2-350m": Shape(
        architecture="lfm2",
        pre_tokenizer="lfm2",
        hidden=1024,
        layers=16,
        heads=16,
        kv_heads=8,
        head_dim=64,
        inner=4608,
        vocabulary=65_536,
        context=128_000,
        rope_base=1e6,
        epsilon=1e-5,
        attending=(2, 5, 8, 10, 12, 14),
        taps=3,
    ),
    "qwen3-0.6b": Shape(
        architecture="qwen3",
        pre_tokenizer="qwen2",
        hidden=1024,
        layers=28,
        heads=16,
        kv_heads=8,
        head_dim=128,
        inner=3072,
        vocabulary=151_936,
        context=40_960,
        rope_base=1e6,
        epsilon=1e-6,
    ),
}


def tiny(shape: Shape) -> Shape:
    """The same architecture in a size for tests."""
    attending = (1,) if shape.attending else None
    sizes = {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "inner": 96}
    return replace(shape, **sizes, vocabulary=320, context=512, attending=attending)


def write(shape: Shape, path: Path, seed: int = 0) -> None:
    """Write the model as GGUF under a temporary name, then give it its own."""
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, shape.architecture)
    _write_metadata(writer, shape)
    tensors = list(tensors_of(shape))
    for name, size in tensors:
        kind, count = _kind(name, size), int(np.prod(size))
        nbytes = count // BLOCK * _BLOCKS[kind].itemsize if kind else count * 4
        writer.add_tensor_info(name, size, np.dtype(np.float32), nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    for name, size in tensors:
        kind = _kind(name, size)
        values = _blocks(random, size, kind) if kind else _plain(random, size)
        writer.write_tensor_data(values)
    writer.close()
    part.replace(path)


def _kind(name: str, size: tuple[int, ...]) -> gguf.GGMLQuantizationType | None:
    """The type of a matrix; None for what stays f32."""
    if len(size) != 2 or "shortconv.conv." in name:
        return None
    return _Q4_0 if name == "token_embd.weight" else _Q8_0


def _blocks(
    random: np.random.Generator, size: tuple[int, ...], kind: gguf.GGMLQuantizationType
) -> NDArray[Any]:
    """Blocks of mean 0 that keep the size of what they multiply."""
    rows, cols = size
    blocks = np.empty(rows * cols // BLOCK, _BLOCKS[kind])
    blocks["scale"] = cols**-0.5 / _CODE_DEVIATION[kind]
    if kind == _Q4_0:
        low, high = random.integers(1, 16, (2, len(blocks), 16), np.uint8)
        blocks["codes"] = low | high << 4
    else:
        blocks["codes"] = random.integers(-127, 128, (len(blocks), 32), np.int8)
    return blocks


def _plain(random: np.random.Generator, size: tuple[int, ...]) -> NDArray[Any]:
    """Norms around 1, and kernels of convolutions, which are small enough to be alike."""
    return (1 + 0.1 * random.standard_normal(size)).astype(np.float32)


def tensors_of(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor by its name in GGUF, [rows, columns] or [width]."""
    hidden, inner = shape.hidden, shape.inner
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "token_embd.weight", (shape.vocabulary, hidden)
    last_norm = "token_embd_norm" if shape.architecture == "lfm2" else "output_norm"
    yield f"{last_norm}.weight", (hidden,)
    attention: dict[str, tuple[int, ...]] = {
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "attn_q_norm": (shape.head_dim,),
        "attn_k_norm": (shape.head_dim,),
    }
    convolution: dict[str, tuple[int, ...]] = {
        "shortconv.in_proj": (3 * hidden, hidden),
        "shortconv.conv": (hidden, shape.taps),
        "shortconv.out_proj": (hidden, hidden),
    }
    feed_forward: dict[str, tuple[int, ...]] = {
        "attn_norm": (hidden,),
        "ffn_norm": (hidden,),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    for layer in range(shape.layers):
        operator = attention if shape.attends(layer) else convolution
        for name, size in (operator | feed_forward).items():
            yield f"blk.{layer}.{name}.weight", size


def _write_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.inner)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_head_count(shape.heads)
    if shape.attending is None:
        writer.add_head_count_kv(shape.kv_heads)
    else:
        counts = [shape.kv_heads * shape.attends(layer) for layer in range(shape.layers)]
        writer.add_head_count_kv(counts)
        writer.add_shortconv_l_cache(shape.taps)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    tokens, kinds = _tokens(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tokens(count: int) -> tuple[list[str], list[int]]:
    """The bytes, one merge of two, and words that no text becomes; and the type of each."""
    special = ["<|pad|>", "<|bos|>", "<|end|>"]
    # Byte-level tokenizers write the bytes that do not print as letters from 256 on.
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printing]
    letters = [
        chr(byte) if byte in printing else chr(256 + others.index(byte)) for byte in range(256)
    ]
    tokens = [*special, *letters, "th"]
    tokens += [f"<word {index}>" for index in range(len(tokens), count)]
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    return tokens, [control] * len(special) + [normal] * (count - len(special))


def main() -> int:
    """Read the arguments and write the file."""
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        print(f"usage: random_models.py {'|'.join(SHAPES)} FILE.gguf", file=sys.stderr)
        return 2
    write(SHAPES[sys.argv[1]], Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
