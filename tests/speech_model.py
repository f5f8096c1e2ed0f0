"""A tiny speech model: random weights, windows of a second, bytes as its vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from cactus.weights.convert import convert
from cactus.weights.format.safetensors import read_safetensors
from tests.models.golden import FOLDER

STEERING = (
    *("endoftext", "startoftranscript", "en", "de", "translate", "transcribe"),
    *("startoflm", "startofprev", "nospeech", "notimestamps"),
)
TIMES = 51


def write_tokenizer(folder: Path) -> None:
    """Bytes, then what steers, then a second of timestamps."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={each: i for i, each in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in STEERING])
    times = [AddedToken(f"<|{i * 0.02:.2f}|>", normalized=False) for i in range(TIMES)]
    tokenizer.add_tokens(times)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_speech_folder(home: Path, sureness: int = 1) -> Path:
    """The weights folder of the tiny model, in FP32, below `home`.

    `sureness` multiplies its logits: random ones are so even that its text counts as silence.
    """
    source = home / "checkpoint"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(FOLDER / "whisper" / name, source / name)
    with (source / "model.safetensors").open("r+b") as file:
        info = read_safetensors(source / "model.safetensors")
        for part in ("weight", "bias"):
            tensor = info.tensors[f"model.decoder.layer_norm.{part}"]
            file.seek(tensor.offset)
            values = np.frombuffer(file.read(tensor.nbytes), np.float16) * np.float16(sureness)
            file.seek(tensor.offset)
            file.write(values.tobytes())
    write_tokenizer(source)
    (source / "generation_config.json").write_text(
        json.dumps({"is_multilingual": True, "suppress_tokens": [1, 2], "eos_token_id": 256})
    )
    (source / "preprocessor_config.json").write_text(
        json.dumps({"feature_size": 16, "chunk_length": 1})
    )
    return convert(source, home / "tiny-whisper", "FP32").target


def three_seconds() -> np.ndarray:
    """Something that is not silent, at 16 kHz."""
    time = np.arange(48_000) / 16_000
    waves = np.sin(2 * np.pi * 220 * time * (1 + time)) + np.sin(2 * np.pi * 555 * time)
    return (0.3 * waves).astype(np.float32)
