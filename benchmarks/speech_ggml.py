"""A Whisper model as whisper.cpp reads it: its own file, with matrices in Q8_0.

    PYTHONPATH=python python benchmarks/speech_ggml.py FOLDER FILE.bin

FOLDER is any source that `cactus convert` takes. As in the files that whisper.cpp's own tool
quantises, the kernels of the convolutions stay f16, and vectors and positions f32.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

from cactus.audio.mel import mel_filters
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.open import open_source
from cactus.weights.sources.source import Source, SourceTensor

MAGIC = 0x67676D6C
F32, F16, Q8_0 = 0, 1, 8
FILE_TYPE = 2007
"""Mostly Q8_0, in the second version of the quantised formats."""
FFT = 400

NAMES = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"self_attn_layer_norm", "attn_ln"),
    (r"encoder_attn_layer_norm", "cross_attn_ln"),
    (r"final_layer_norm", "mlp_ln"),
    (r"self_attn", "attn"),
    (r"encoder_attn", "cross_attn"),
    (r"q_proj", "query"),
    (r"k_proj", "key"),
    (r"v_proj", "value"),
    (r"out_proj", "out"),
    (r"fc1", "mlp.0"),
    (r"fc2", "mlp.2"),
    (r"^encoder\.layer_norm", "encoder.ln_post"),
    (r"^decoder\.layer_norm", "decoder.ln"),
    (r"embed_tokens\.weight", "token_embedding.weight"),
    (r"embed_positions\.weight", "positional_embedding"),
)
"""From Hugging Face's names to those of the published model, in this order."""


def renamed(name: str) -> str:
    """What whisper.cpp calls a tensor."""
    for pattern, new in NAMES:
        name = re.sub(pattern, new, name)
    return name


def _strings(folder: Path) -> list[bytes]:
    """The bytes of every piece of text, by its id; what steers is known to the reader."""
    with tempfile.TemporaryDirectory() as home:
        source = open_source(folder)
        source.write_tokenizer(Path(home))
        source.close()
        tokenizer = json.loads((Path(home) / "tokenizer.json").read_text("utf-8"))
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printing]
    letters = {chr(b if b in printing else 256 + others.index(b)): b for b in range(256)}
    first_special = min(token["id"] for token in tokenizer["added_tokens"])
    vocabulary = {id: text for text, id in tokenizer["model"]["vocab"].items()}
    texts = [vocabulary[id] for id in range(first_special)]
    # A token with other letters is none of bytes: random checkpoints have such words.
    return [
        bytes(letters[each] for each in text) if letters.keys() >= set(text) else text.encode()
        for text in texts
    ]


def _write_tensor(file, tensor: SourceTensor) -> None:
    count = int(np.prod(tensor.shape[:-1]))
    values = dequantize(tensor.kind, tensor.rows(0, count)).reshape(tensor.shape)
    name, kind = renamed(tensor.name), F32
    data = np.ascontiguousarray(values, np.float32)
    if re.match(r"encoder\.conv\d\.bias", name):
        data = data.reshape(-1, 1)
    elif data.ndim == 3:
        data, kind = data.astype(np.float16), F16
    elif data.ndim == 2 and "positional" not in name:
        kind = Q8_0
    sizes = data.shape[::-1]
    if kind == Q8_0:
        data = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
    encoded = name.encode()
    file.write(struct.pack("<3i", len(sizes), len(encoded), kind))
    file.write(struct.pack(f"<{len(sizes)}i", *sizes) + encoded)
    file.write(data.tobytes())


def write(folder: Path, path: Path) -> None:
    """Write the file; a half-written one never has its name."""
    source: Source = open_source(folder)
    config, strings = source.config, _strings(folder)
    filters = mel_filters(config["num_mel_bins"], FFT).T.astype(np.float32)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(
            struct.pack(
                "<12i",
                MAGIC,
                config["vocab_size"],
                config["max_source_positions"],
                config["d_model"],
                config["encoder_attention_heads"],
                config["encoder_layers"],
                config["max_target_positions"],
                config["d_model"],
                config["decoder_attention_heads"],
                config["decoder_layers"],
                config["num_mel_bins"],
                FILE_TYPE,
            )
        )
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", len(strings)))
        for text in strings:
            file.write(struct.pack("<i", len(text)) + text)
        for tensor in source.tensors:
            if tensor.name != "proj_out.weight":
                _write_tensor(file, tensor)
    source.close()
    partial.replace(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]), Path(sys.argv[2]))
