"""Builds CTranslate2 model files, right or wrong in any field, and small Whisper models in them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}

WIDTH, INNER, VOCABULARY, BINS = 64, 96, 160, 16


@dataclass
class Entry:
    """A variable; what is None follows from the data."""

    name: bytes
    type: int
    dims: list[int]
    data: bytes
    rank: int | None = None
    nbytes: int | None = None

    def build(self) -> bytes:
        rank = len(self.dims) if self.rank is None else self.rank
        nbytes = len(self.data) if self.nbytes is None else self.nbytes
        return b"".join(
            (
                text(self.name),
                bytes([rank]),
                *(struct.pack("<I", dim) for dim in self.dims),
                bytes([self.type]),
                struct.pack("<I", nbytes),
                self.data,
            )
        )


@dataclass
class Bin:
    """A model.bin; counts that are None are right."""

    entries: list[Entry] = field(default_factory=list)
    aliases: list[tuple[bytes, bytes]] = field(default_factory=list)
    version: int = 6
    spec: bytes = b"WhisperSpec"
    revision: int = 3
    entry_count: int | None = None
    alias_count: int | None = None

    def add(self, name: str, kind: str, array: Any) -> None:
        """Append a variable; bfloat16 takes the upper halves of f32."""
        array = np.asarray(array)
        if kind == "bfloat16":
            data = (array.astype("<f4").view("<u4") >> 16).astype("<u2")
        else:
            data = array.astype(f"<{np.dtype(kind).str[1:]}")
        self.entries.append(Entry(name.encode(), TYPES[kind], list(array.shape), data.tobytes()))

    def entry(self, name: str) -> Entry:
        """The variable of this name."""
        return next(entry for entry in self.entries if entry.name == name.encode())

    def build(self) -> bytes:
        entries = len(self.entries) if self.entry_count is None else self.entry_count
        aliases = len(self.aliases) if self.alias_count is None else self.alias_count
        return b"".join(
            (
                struct.pack("<I", self.version),
                text(self.spec),
                struct.pack("<II", self.revision, entries),
                *(entry.build() for entry in self.entries),
                struct.pack("<I", aliases),
                *(text(name) for pair in self.aliases for name in pair),
            )
        )


def text(content: bytes) -> bytes:
    """A name: its length with the NUL, the text, the NUL."""
    return struct.pack("<H", len(content) + 1) + content + b"\0"


def whisper_tensors(layers: int = 2) -> dict[str, Any]:
    """Random weights of a small Whisper under their Hugging Face names, each exact in bf16."""
    random = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (WIDTH, BINS, 3),
        "encoder.conv1.bias": (WIDTH,),
        "encoder.conv2.weight": (WIDTH, WIDTH, 3),
        "encoder.conv2.bias": (WIDTH,),
        "encoder.embed_positions.weight": (30, WIDTH),
        "decoder.embed_tokens.weight": (VOCABULARY, WIDTH),
        "decoder.embed_positions.weight": (20, WIDTH),
    }
    for part in ("encoder", "decoder"):
        norms = [f"{part}.layer_norm"]
        for index in range(layers):
            layer = f"{part}.layers.{index}"
            norms += [f"{layer}.self_attn_layer_norm", f"{layer}.final_layer_norm"]
            attentions = ["self_attn"]
            if part == "decoder":
                norms.append(f"{layer}.encoder_attn_layer_norm")
                attentions.append("encoder_attn")
            for attention in attentions:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    shapes[f"{layer}.{attention}.{name}.weight"] = (WIDTH, WIDTH)
                    if name != "k_proj":
                        shapes[f"{layer}.{attention}.{name}.bias"] = (WIDTH,)
            shapes[f"{layer}.fc1.weight"], shapes[f"{layer}.fc1.bias"] = (INNER, WIDTH), (INNER,)
            shapes[f"{layer}.fc2.weight"], shapes[f"{layer}.fc2.bias"] = (WIDTH, INNER), (WIDTH,)
        for norm in norms:
            shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (WIDTH,)
    exact = random.integers(-127, 128, 1 << 20) / 256
    return {
        f"model.{name}": exact[random.integers(0, 1000) :][: int(np.prod(shape))]
        .reshape(shape)
        .astype(np.float32)
        for name, shape in shapes.items()
    }


def whisper_bin(tensors: dict[str, Any], kind: str = "float16") -> Bin:
    """The model in CTranslate2's layout; `kind` of what can be quantised, the rest is f32 then."""
    model = Bin()
    plain = kind if kind.endswith(("16", "32")) and kind != "int16" else "float32"

    def weight(name: str, array: Any) -> None:
        if kind == "int8":
            flat = np.abs(array.reshape(len(array), -1)).max(axis=1)
            scale = (127 / np.where(flat == 0, 127, flat)).astype(np.float32)
            model.add(name, "int8", np.rint(array.T * scale).T)
            model.add(f"{name}_scale", "float32", scale)
        elif kind == "int16":
            factor = np.float32(2**10 / np.abs(array).max())
            model.add(name, "int16", np.rint(array * factor))
            model.add(f"{name}_scale", "float32", factor)
        else:
            model.add(name, plain, array)

    def linear(theirs: str, ours: list[str]) -> None:
        weight(f"{theirs}/weight", np.concatenate([tensors[f"{n}.weight"] for n in ours]))
        biases = [tensors.get(f"{n}.bias", np.zeros(WIDTH)) for n in ours]
        model.add(f"{theirs}/bias", plain, np.concatenate(biases))

    def norm(theirs: str, ours: str) -> None:
        model.add(f"{theirs}/gamma", plain, tensors[f"{ours}.weight"])
        model.add(f"{theirs}/beta", plain, tensors[f"{ours}.bias"])

    for name in ("conv1", "conv2"):
        weight(f"encoder/{name}/weight", tensors[f"model.encoder.{name}.weight"])
        model.add(f"encoder/{name}/bias", plain, tensors[f"model.encoder.{name}.bias"])
    weight("decoder/embeddings/weight", tensors["model.decoder.embed_tokens.weight"])
    for part in ("encoder", "decoder"):
        positions = tensors[f"model.{part}.embed_positions.weight"]
        model.add(f"{part}/position_encodings/encodings", plain, positions)
        model.add(f"{part}/num_heads", "int16", 4)
        norm(f"{part}/layer_norm", f"model.{part}.layer_norm")
        index = 0
        while f"model.{part}.layers.{index}.fc1.weight" in tensors:
            theirs, ours = f"{part}/layer_{index}", f"model.{part}.layers.{index}"
            stacked = [f"{ours}.self_attn.{n}_proj" for n in "qkv"]
            linear(f"{theirs}/self_attention/linear_0", stacked)
            linear(f"{theirs}/self_attention/linear_1", [f"{ours}.self_attn.out_proj"])
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
            if part == "decoder":
                cross = f"{ours}.encoder_attn"
                linear(f"{theirs}/attention/linear_0", [f"{cross}.q_proj"])
                linear(f"{theirs}/attention/linear_1", [f"{cross}.k_proj", f"{cross}.v_proj"])
                linear(f"{theirs}/attention/linear_2", [f"{cross}.out_proj"])
                norm(f"{theirs}/attention/layer_norm", f"{cross}_layer_norm")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            linear(f"{theirs}/ffn/linear_0", [f"{ours}.fc1"])
            linear(f"{theirs}/ffn/linear_1", [f"{ours}.fc2"])
            index += 1
    for name, value in (("activation", 3), ("pre_norm", 1), ("alibi", 0), ("scale_embeddings", 0)):
        model.add(f"decoder/{name}", "int8", value)
    model.aliases.append((b"decoder/projection/weight", b"decoder/embeddings/weight"))
    if kind == "int8":
        scale = b"decoder/embeddings/weight_scale"
        model.aliases.append((b"decoder/projection/weight_scale", scale))
    return model


SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>",
           "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
           "<|notimestamps|>")  # fmt: skip


def config() -> dict[str, Any]:
    """A config.json that suits `whisper_tensors`."""
    return {
        "alignment_heads": [[0, 1], [0, 3]],
        "lang_ids": [102, 103],
        "suppress_ids": [1, 2, 7],
        "suppress_ids_begin": [10, 100],
    }


def tokenizer() -> dict[str, Any]:
    """A tokenizer.json of nothing but the special tokens, from 100 on."""
    added = [
        {"id": 100 + index, "content": text, "special": True, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for index, text in enumerate(SPECIAL)
    ]  # fmt: skip
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    return {"version": "1.0", "added_tokens": added, "model": model}


def write_folder(folder: Path, model: Bin) -> Path:
    """A CTranslate2 folder of this model."""
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(model.build())
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "vocabulary.json").write_text("[]")
    return folder
