"""Writes a model of published size with random weights, as a Hugging Face folder.

    python tools/make_random_checkpoint.py lfm2-1.2b FOLDER

Speed, memory and size do not depend on what the weights are, so such a folder stands for the
published model wherever only these are wanted. Weights are bf16, written piece by piece: memory
does not grow with the model. The same name and seed give the same folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from published_models import PUBLISHED, Published, find, tiny
from published_vision import CHAT_TEMPLATES, NAMED_TOKENS, PROCESSORS, VISION, processor
from published_vision import tiny as tiny_vision
from published_vision import tokens as image_tokens
from published_vision import weights as vision_weights
from published_whisper import WHISPERS, first_special, generation, steering, tiny_whisper

from cactus.models.base import Weight, load_architecture
from cactus.tokenizer.document import byte_level, document
from cactus.weights.format.safetensors import SafetensorsWriter

PIECE = 1 << 20
"""Values made at a time."""

SHARD_BYTES = 5_000_000_000
"""A file is at most so long, as the hub's own tools have it."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write(
    config: dict[str, Any], folder: Path, seed: int = 0, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write the checkpoint; the folder must not exist or be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give a new folder")
    sees = config["model_type"] in PROCESSORS
    weights = vision_weights(config) if sees else load_architecture(config).weights
    if sees:
        _write_json(folder / "preprocessor_config.json", processor(config))
    _write_json(folder / "config.json", config)
    if config["model_type"] == "whisper":
        _write_json(folder / "generation_config.json", generation(config))
        features = {"feature_extractor_type": "WhisperFeatureExtractor"}
        features |= {"feature_size": config["num_mel_bins"], "sampling_rate": 16_000}
        _write_json(folder / "preprocessor_config.json", features)
    else:
        ids = {key: config[key] for key in TOKEN_IDS if config.get(key) is not None}
        _write_json(folder / "generation_config.json", ids)
    _write_tokenizer(config, folder)
    random = np.random.default_rng(seed)
    shards = list(_shards(weights, shard_bytes))
    for number, shard in enumerate(shards, 1):
        name = _shard_name(number, len(shards))
        infos = [(weight.name, "BF16", _stored_shape(weight)) for weight in shard]
        with SafetensorsWriter(folder / name, infos, {"format": "pt"}) as writer:
            for weight in shard:
                writer.begin(weight.name)
                for piece in _pieces(weight, random):
                    writer.write(piece)
    if len(shards) > 1:
        places = {
            weight.name: _shard_name(number, len(shards))
            for number, shard in enumerate(shards, 1)
            for weight in shard
        }
        size = sum(_nbytes(weight) for weight in weights)
        index = {"metadata": {"total_size": size}, "weight_map": places}
        _write_json(folder / "model.safetensors.index.json", index)


def _shard_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _shards(weights: list[Weight], limit: int) -> Iterator[list[Weight]]:
    """The tensors in order, as many to a file as fit."""
    shard: list[Weight] = []
    size = 0
    for weight in weights:
        if shard and size + _nbytes(weight) > limit:
            yield shard
            shard, size = [], 0
        shard.append(weight)
        size += _nbytes(weight)
    yield shard


def _nbytes(weight: Weight) -> int:
    return 2 * int(np.prod(weight.shape))


def _stored_shape(weight: Weight) -> tuple[int, ...]:
    """Kernels of convolutions have three dimensions in checkpoints, one of one where depthwise."""
    if weight.taps > 1:
        return (weight.shape[0], weight.shape[1] // weight.taps, weight.taps)
    if weight.name.endswith(".conv.weight"):
        return (weight.shape[0], 1, weight.shape[1])
    return weight.shape


def _pieces(weight: Weight, random: np.random.Generator) -> Iterator[NDArray[np.uint16]]:
    """The values of a tensor as bf16: a matrix keeps the size of what it multiplies."""
    count = int(np.prod(weight.shape))
    scale, mean = np.float32(weight.shape[-1] ** -0.5), np.float32(0)
    if len(weight.shape) == 1:
        norm = 1 - weight.offset  # Gemma's multiply by 1 + weight
        scale, mean = np.float32(0.1), np.float32(0 if weight.name.endswith(".bias") else norm)
    for start in range(0, count, PIECE):
        values = random.standard_normal(min(PIECE, count - start), np.float32) * scale + mean
        yield ((values.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def vocabulary(config: dict[str, Any]) -> tuple[list[str], dict[int, str]]:
    """A byte-level vocabulary: every token, and by their ids those that are special.

    The special tokens have the ids that the configuration says. Then come the 256 bytes, "th",
    and words that no text becomes. In a Whisper they are those that steer it, and come last.
    """
    if config["model_type"] == "whisper":
        first = first_special(config)
        last = dict(enumerate(steering(config), first))
        words = [f"<word {token}>" for token in range(257, first)]
        return [*byte_letters(), "th", *words, *last.values()], last
    special: dict[int, str] = image_tokens(config)
    texts = {"eos_token_id": "<|im_end|>", "bos_token_id": "<|bos|>", "pad_token_id": "<|pad|>"}
    for key, text in texts.items():
        ids = config.get(key)
        for number, token in enumerate(ids if isinstance(ids, list) else [ids]):
            if token is not None:
                special.setdefault(token, f"<|stop {number}|>" if number else text)
    size = config.get("text_config", config)["vocab_size"]
    free = (token for token in range(size) if token not in special)
    special[next(free)] = "<|im_start|>"
    others = iter([*byte_letters(), "th"])
    tokens = [special.get(token) or next(others, f"<word {token}>") for token in range(size)]
    return tokens, dict(sorted(special.items()))


def byte_letters() -> list[str]:
    """The letters by which byte-level tokenizers write the bytes from 0 to 255."""
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printing]
    return [chr(byte if byte in printing else 256 + others.index(byte)) for byte in range(256)]


def _write_tokenizer(config: dict[str, Any], folder: Path) -> None:
    tokens, special = vocabulary(config)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": token, "content": text, **flags, "special": True} for token, text in special.items()
    ]
    vocab = {text: token for token, text in enumerate(tokens)}
    model = {"type": "BPE", "vocab": vocab, "merges": [["t", "h"]]}
    tokenizer = document(added, None, byte_level(), byte_level(), model)
    _write_json(folder / "tokenizer.json", tokenizer)
    names = {
        key.removesuffix("_id"): special[ids[0] if isinstance(ids, list) else ids]
        for key in TOKEN_IDS
        if (ids := config.get(key)) is not None
    }
    settings = {
        **names,
        **NAMED_TOKENS.get(config["model_type"], {}),
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATES.get(config["model_type"], CHAT_TEMPLATE),
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.get("text_config", config).get("max_position_embeddings", 448),
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> int:
    """Read the arguments and write the folder."""
    models = (*PUBLISHED, *VISION, *WHISPERS)
    known = ", ".join(model.name for model in models)
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"models: {known}")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", help="the model: its name or hub id")
    parser.add_argument("folder", type=Path, help="where it goes; new or empty")
    parser.add_argument("--tiny", action="store_true", help="in a size for tests")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
    given = parser.parse_args()
    try:
        model: Published = find(given.name, models)
        smaller = tiny_whisper if model in WHISPERS else tiny_vision if model in VISION else tiny
        write(smaller(model.config) if given.tiny else model.config, given.folder, given.seed)
    except (ValueError, OSError) as error:
        print(f"make_random_checkpoint: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
