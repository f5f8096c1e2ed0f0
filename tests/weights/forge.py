"""Builds model files byte by byte, so that a test can lie in any field of them."""

from __future__ import annotations

import copy
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_LETTERS = {
    U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B",
    U64: "Q", I64: "q", F64: "d",
}  # fmt: skip

# ggml types: number -> (values in a block, bytes of a block)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
         "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84),
         "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18),
         "IQ4_XS": (23, 256, 136), "BF16": (30, 1, 2)}  # fmt: skip

# Where the f16 numbers of a block lie, if not in its first two bytes.
HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2),
          "Q5_K": (0, 2), "Q6_K": (208,)}  # fmt: skip


def text(value: str | bytes) -> bytes:
    """A GGUF string: length, bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, item: Any) -> bytes:
    """The payload of one metadata value."""
    return text(item) if kind == STRING else struct.pack("<" + _LETTERS[kind], item)


def array(kind: int, items: list[Any], count: int | None = None) -> bytes:
    """The payload of an array; `count` is what it claims to hold."""
    claimed = len(items) if count is None else count
    return struct.pack("<IQ", kind, claimed) + b"".join(value(kind, item) for item in items)


@dataclass
class Entry:
    """One metadata entry, as it goes into the file."""

    key: str | bytes
    kind: int
    payload: bytes


@dataclass
class Tensor:
    """One tensor; `offset` None lets `build` place it after the one before."""

    name: str | bytes
    dims: list[int]
    type: int
    data: bytes
    offset: int | None = None
    dim_count: int | None = None


@dataclass
class Forge:
    """A GGUF file that may lie; a count that is None is the true one."""

    entries: list[Entry] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    entry_count: int | None = None
    alignment: int = 32

    def set(self, key: str, kind: int, item: Any) -> None:
        """Add or replace a scalar or string entry."""
        self.put(key, kind, value(kind, item))

    def put(self, key: str, kind: int, payload: bytes) -> None:
        """Add or replace an entry by its raw payload."""
        for entry in self.entries:
            if entry.key == key:
                entry.kind, entry.payload = kind, payload
                return
        self.entries.append(Entry(key, kind, payload))

    def drop(self, key: str) -> None:
        """Remove an entry."""
        self.entries = [entry for entry in self.entries if entry.key != key]

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def add(self, name: str, type_name: str, shape: tuple[int, ...], seed: int = 0) -> None:
        """Add a tensor of random but sane values; `shape` is slowest first."""
        number, elements, nbytes = TYPES[type_name]
        random = np.random.default_rng([seed, len(self.tensors)])
        if type_name == "F32":
            data = random.normal(0, 0.3, shape).astype("<f4").tobytes()
        elif type_name == "F16":
            data = random.normal(0, 0.3, shape).astype("<f2").tobytes()
        else:
            blocks = random.integers(0, 256, (int(np.prod(shape)) // elements, nbytes), np.uint8)
            if type_name == "BF16":
                blocks[:, 1] &= 0xBF  # No exponent of all ones: no NaN, no infinity.
            for at in HALVES.get(type_name, (0,)):
                if type_name != "BF16":
                    half = random.normal(0, 0.02, (len(blocks), 1)).astype("<f2")
                    blocks[:, at : at + 2] = half.view(np.uint8)
            data = blocks.tobytes()
        self.tensors.append(Tensor(name, list(reversed(shape)), number, data))

    def table_and_data(self) -> tuple[bytes, bytes]:
        """The tensor table, and the data that it points to."""
        table, data = b"", b""
        for tensor in self.tensors:
            offset = len(data) if tensor.offset is None else tensor.offset
            count = len(tensor.dims) if tensor.dim_count is None else tensor.dim_count
            table += text(tensor.name) + struct.pack("<I", count)
            table += b"".join(struct.pack("<Q", dim % 2**64) for dim in tensor.dims)
            table += struct.pack("<IQ", tensor.type, offset)
            data += tensor.data + bytes(-len(tensor.data) % self.alignment)
        return table, data

    def build(self) -> bytes:
        """The file."""
        table, data = self.table_and_data()
        counts = (
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(self.entries) if self.entry_count is None else self.entry_count,
        )
        head = self.magic + struct.pack("<I", self.version)
        head += b"".join(struct.pack("<Q", count % 2**64) for count in counts)
        for entry in self.entries:
            head += text(entry.key) + struct.pack("<I", entry.kind) + entry.payload
        head += table
        return head + bytes(-len(head) % self.alignment) + data


def byte_tokens() -> list[str]:
    """The 256 letters by which byte-level tokenizers write bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def _decoder(
    architecture: str, width: int = 32, head_dim: int = 16, inner: int | None = None
) -> Forge:
    """Metadata of a tiny decoder: 272 tokens, two heads, one of keys and values."""
    forge = Forge()
    tokens = ["<unk>", "<bos>", "<eos>", *byte_tokens(), *(f"<extra{i}>" for i in range(13))]
    forge.set("general.architecture", STRING, architecture)
    for key, number in {
        "block_count": 2,
        "context_length": 256,
        "embedding_length": width,
        "feed_forward_length": inner or 2 * width,
        "attention.head_count": 2,
        "attention.head_count_kv": 1,
        "rope.dimension_count": head_dim,
        "vocab_size": len(tokens),
    }.items():
        forge.set(f"{architecture}.{key}", U32, number)
    if 2 * head_dim != width:
        for key in ("attention.key_length", "attention.value_length"):
            forge.set(f"{architecture}.{key}", U32, head_dim)
    forge.set(f"{architecture}.rope.freq_base", F32, 10000.0)
    forge.set(f"{architecture}.attention.layer_norm_rms_epsilon", F32, 1e-5)
    forge.set("tokenizer.ggml.model", STRING, "gpt2")
    forge.set("tokenizer.ggml.pre", STRING, "smollm")
    forge.put("tokenizer.ggml.tokens", ARRAY, array(STRING, tokens))
    kinds = [3, 3, 3] + [1] * 256 + [3] * 13
    forge.put("tokenizer.ggml.token_type", ARRAY, array(I32, kinds))
    forge.put("tokenizer.ggml.merges", ARRAY, array(STRING, []))
    forge.set("tokenizer.ggml.bos_token_id", U32, 1)
    forge.set("tokenizer.ggml.eos_token_id", U32, 2)
    forge.set("tokenizer.ggml.add_bos_token", BOOL, 0)
    forge.set("tokenizer.chat_template", STRING, "{{ messages[0]['content'] }}")
    return forge


def _dense(
    architecture: str,
    type_name: str,
    *,
    width: int = 32,
    head_dim: int = 16,
    inner: int | None = None,
    embedding: str | None = None,
    vectors: dict[str, int] | None = None,
) -> Forge:
    """A complete two-layer decoder; `vectors` are those that only this architecture has.

    Matrices whose rows are no whole blocks of `type_name` are F16.
    """
    inner = inner or 2 * width
    forge = _decoder(architecture, width, head_dim, inner)
    forge.add("token_embd.weight", embedding or type_name, (272, width))
    forge.add("output_norm.weight", "F32", (width,))
    sizes = {"attn_norm.weight": width, "ffn_norm.weight": width} | (vectors or {})
    for layer in range(2):
        for name, size in sizes.items():
            forge.add(f"blk.{layer}.{name}", "F32", (size,))
        for name, shape in (
            ("attn_q", (2 * head_dim, width)),
            ("attn_k", (head_dim, width)),
            ("attn_v", (head_dim, width)),
            ("attn_output", (width, 2 * head_dim)),
            ("ffn_gate", (inner, width)),
            ("ffn_up", (inner, width)),
            ("ffn_down", (width, inner)),
        ):
            kind = "F16" if shape[1] % TYPES[type_name][1] else type_name
            forge.add(f"blk.{layer}.{name}.weight", kind, shape)
    return forge


def tiny_llama(type_name: str = "Q4_1", width: int = 32, inner: int | None = None) -> Forge:
    """A complete llama in one block type, with a Q8_0 embedding; `width` is two heads."""
    sizes = {"width": width, "head_dim": width // 2, "inner": inner}
    return _dense("llama", type_name, embedding="Q8_0", **sizes)


def tiny_qwen2(type_name: str = "Q4_0") -> Forge:
    """Biases of queries, keys and values."""
    biases = {"attn_q.bias": 32, "attn_k.bias": 16, "attn_v.bias": 16}
    return _dense("qwen2", type_name, vectors=biases)


def tiny_qwen3(type_name: str = "Q4_0") -> Forge:
    """A norm on each head, heads of 32 beside a width of 32."""
    norms = {"attn_q_norm.weight": 32, "attn_k_norm.weight": 32}
    return _dense("qwen3", type_name, head_dim=32, vectors=norms)


def tiny_granite(type_name: str = "Q4_0") -> Forge:
    """As llama, with its four factors."""
    forge = _dense("granite", type_name)
    for key, factor in {
        "embedding_scale": 12.0,
        "attention.scale": 0.015625,
        "residual_scale": 0.22,
        "logit_scale": 8.0,
    }.items():
        forge.set(f"granite.{key}", F32, factor)
    return forge


def tiny_phi3(type_name: str = "Q4_0") -> Forge:
    """Merged projections; 12 of a head's 16 values rotate, with divisors for short and long."""
    forge = _decoder("phi3")
    forge.set("phi3.rope.dimension_count", U32, 12)
    forge.set("phi3.rope.scaling.original_context_length", U32, 128)
    forge.set("phi3.attention.sliding_window", U32, 100)
    forge.add("token_embd.weight", type_name, (272, 32))
    forge.add("output_norm.weight", "F32", (32,))
    for name, factor in (("long", 4.0), ("short", 1.5)):
        forge.add(f"rope_factors_{name}.weight", "F32", (6,))
        forge.tensors[-1].data = struct.pack("<6f", *[factor] * 6)
    for layer in range(2):
        for name, kind, shape in (
            ("attn_norm", "F32", (32,)),
            ("ffn_norm", "F32", (32,)),
            ("attn_qkv", type_name, (64, 32)),
            ("attn_output", type_name, (32, 32)),
            ("ffn_up", type_name, (128, 32)),
            ("ffn_down", type_name, (32, 64)),
        ):
            forge.add(f"blk.{layer}.{name}.weight", kind, shape)
    return forge


def tiny_smollm3(type_name: str = "Q4_0") -> Forge:
    """As llama; the fourth of four layers does not rotate."""
    return _dense("smollm3", type_name)


def tiny_gemma3(type_name: str = "Q8_0") -> Forge:
    """Six norms a layer, and a window."""
    norms = {"post_attention_norm.weight": 32, "post_ffw_norm.weight": 32}
    norms |= {"attn_q_norm.weight": 32, "attn_k_norm.weight": 32}
    forge = _dense("gemma3", type_name, head_dim=32, vectors=norms)
    forge.drop("gemma3.rope.dimension_count")
    forge.set("gemma3.attention.sliding_window", U32, 32)
    return forge


def tiny_lfm2(type_name: str = "Q8_0") -> Forge:
    """A complete two-layer lfm2: a short convolution, then attention."""
    forge = _decoder("lfm2")
    forge.put("lfm2.attention.head_count_kv", ARRAY, array(I32, [0, 1]))
    forge.set("lfm2.shortconv.l_cache", U32, 3)
    forge.add("token_embd.weight", type_name, (272, 32))
    forge.add("token_embd_norm.weight", "F32", (32,))
    conv = (
        ("shortconv.in_proj", type_name, (96, 32)),
        ("shortconv.out_proj", type_name, (32, 32)),
        ("shortconv.conv", "F32", (32, 3)),
    )
    attention = (
        ("attn_q", type_name, (32, 32)),
        ("attn_k", type_name, (16, 32)),
        ("attn_v", type_name, (16, 32)),
        ("attn_output", type_name, (32, 32)),
        ("attn_q_norm", "F32", (16,)),
        ("attn_k_norm", "F32", (16,)),
    )
    common = (
        ("attn_norm", "F32", (32,)),
        ("ffn_norm", "F32", (32,)),
        ("ffn_gate", type_name, (64, 32)),
        ("ffn_down", type_name, (32, 64)),
        ("ffn_up", type_name, (64, 32)),
    )
    for layer, kinds in enumerate((conv, attention)):
        for name, kind, shape in (*common, *kinds):
            forge.add(f"blk.{layer}.{name}.weight", kind, shape)
    return forge


def parts_of(model: Forge) -> list[Forge]:
    """A model in three parts; the first has all metadata and two tensors."""
    tensors = model.tensors
    parts = []
    for number, members in enumerate((tensors[:2], tensors[2:9], tensors[9:])):
        part = Forge(copy.deepcopy(model.entries) if number == 0 else [], list(members))
        part.set("split.no", U16, number)
        part.set("split.count", U16, 3)
        part.set("split.tensors.count", I32, len(tensors))
        parts.append(part)
    return parts


@dataclass
class Safetensors:
    """A safetensors file that may lie; `header` wins over `entries`, `length` over its length."""

    entries: dict[str, Any] = field(default_factory=dict)
    data: bytes = b""
    header: bytes | None = None
    length: int | None = None

    def build(self) -> bytes:
        """The file."""
        header = json.dumps(self.entries).encode() if self.header is None else self.header
        length = len(header) if self.length is None else self.length
        return struct.pack("<Q", length) + header + self.data


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    """One tensor of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def two_tensors() -> Safetensors:
    """A correct file of two tensors: f32 [2, 2] and u8 [4]."""
    return Safetensors({"a": entry("F32", [2, 2], 0, 16), "b": entry("U8", [4], 16, 20)}, bytes(20))
