"""Tiny models that see with all that published ones have, and the chats that transformers answered.

The weights are those of tests/golden/<name>; tokenizer, processor and template are made here. So
that the tool which asks transformers finds the same, this needs nothing of the package.
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

IMAGE = 7
"""The image token of the checkpoint."""

TURNS = ["<|im_start|>", "<|im_end|>"]
_PLACES = [f"row_{row}_col_{col}" for row in range(1, 5) for col in range(1, 5)]


@dataclass(frozen=True)
class Family:
    """What a family's published folder has beside its weights.

    `tokens`: the special tokens that have an id of their own, `markers` those behind the letters;
    `image` is what the template writes for one, `processor` preprocessor_config.json.
    """

    tokens: dict[int, str]
    markers: list[str]
    image: str
    processor: dict[str, Any]

    @property
    def template(self) -> str:
        return TEMPLATE.replace("IMAGE", self.image)


TEMPLATE = """\
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ 'IMAGE' }}{% else %}{{ part['text'] }}{% endif %}
{%- endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255}

_QWEN = Family(
    {IMAGE: "<|image_pad|>", 8: "<|vision_start|>", 9: "<|vision_end|>", 10: "<|video_pad|>"},
    TURNS,
    "<|vision_start|><|image_pad|><|vision_end|>",
    {
        **_HALF,
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 4,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 4096},
    },
)

FAMILIES = {
    "lfm2_vl": Family(
        {IMAGE: "<image>"},
        [
            *(*TURNS, "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"),
            *(f"<|img_{place}|>" for place in _PLACES),
        ],
        "<image>",
        {
            **_HALF,
            "image_processor_type": "Lfm2VlImageProcessorFast",
            "do_image_splitting": True,
            "downsample_factor": 2,
            "encoder_patch_size": 4,
            "max_image_tokens": 16,
            "max_num_patches": 64,
            "max_pixels_tolerance": 2.0,
            "max_tiles": 4,
            "min_image_tokens": 4,
            "min_tiles": 2,
            "resample": 2,
            "tile_size": 32,
            "use_thumbnail": True,
        },
    ),
    "smolvlm": Family(
        {IMAGE: "<image>"},
        [
            *(*TURNS, "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
            *(f"<{place}>" for place in _PLACES),
        ],
        "<image>",
        {
            **_HALF,
            "image_processor_type": "SmolVLMImageProcessor",
            "do_image_splitting": True,
            "max_image_size": {"longest_edge": 32},
            "size": {"longest_edge": 64},
        },
    ),
    "gemma3": Family(
        {IMAGE: "<image_soft_token>", 8: "<start_of_image>", 9: "<end_of_image>"},
        TURNS,
        "<start_of_image>",
        {
            **_HALF,
            "image_processor_type": "Gemma3ImageProcessor",
            "image_seq_length": 9,
            "resample": 2,
            "size": {"height": 24, "width": 24},
        },
    ),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
}

SIZES = {"square": (32, 32), "wide": (48, 16), "small": (16, 16), "tall": (32, 64), "big": (64, 64)}
"""Width and height of each picture: most processors need to scale none but the last."""


def picture(name: str) -> NDArray[np.uint8]:
    """Some pixels, [height, width, 3]."""
    width, height = SIZES[name]
    y, x, c = np.mgrid[:height, :width, :3]
    seed = sorted(SIZES).index(name) + 1
    wave = np.sin(x * (0.11 * seed + 0.1 * c)) + np.cos(y * (0.23 + 0.07 * seed * c))
    return np.asarray(np.clip(127 + 60 * wave, 0, 255), np.uint8)


def png(name: str) -> bytes:
    """A picture as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture(name)).save(file, "PNG")
    return file.getvalue()


def _user(text: str, *images: str) -> dict[str, Any]:
    return {"role": "user", "content": text, "images": list(images)}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


CHATS: dict[str, list[dict[str, Any]]] = {
    "one": [_user("What is it?", "square")],
    "several": [_user("Which one is larger?", "wide", "small", "square")],
    "tiled": [_user("What is at the top?", "big")],
    "turns": [
        _user("What is it?", "small"),
        _assistant("A wave."),
        _user("And these?", "tall", "big"),
        _assistant("Waves, too."),
        _user("How many are there?"),
    ],
    "none": [_user("Hello!")],
}
"""Messages whose `images` are names of pictures."""


def bytes_to_letters() -> dict[int, str]:
    """GPT-2's letters for bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {
        byte: chr(256 + n) for n, byte in enumerate(others)
    }


def write_tokenizer(folder: Path, family: Family) -> None:
    """Bytes, the tokens with an id of their own among them, and the markers behind them."""
    tokens = [*bytes_to_letters().values(), *family.markers]
    for place, token in sorted(family.tokens.items()):
        tokens.insert(place, token)
    special = [(n, token) for n, token in enumerate(tokens) if len(token) > 1]
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    level["trim_offsets"] = True
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    built = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": n, "content": t, "special": True, **flags} for n, t in special],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: n for n, token in enumerate(tokens)},
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(built))
    named = {
        "eos_token": "<|im_end|>",
        "image_token": family.tokens[IMAGE],
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def write_checkpoint(folder: Path, name: str = "lfm2_vl") -> Path:
    """The folder as it is published."""
    folder.mkdir(parents=True)
    family = FAMILIES[name]
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / name / file, folder / file)
    write_tokenizer(folder, family)
    (folder / "chat_template.jinja").write_text(family.template)
    (folder / "preprocessor_config.json").write_text(json.dumps(family.processor))
    if name == "smolvlm":  # which says how many features a tile has
        own = {"image_seq_len": 4, "processor_class": "SmolVLMProcessor"}
        (folder / "processor_config.json").write_text(json.dumps(own))
    return folder


def with_pixels(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with pictures in place of their names."""
    return [
        {**message, "images": [picture(name) for name in message["images"]]}
        if "images" in message
        else message
        for message in messages
    ]
