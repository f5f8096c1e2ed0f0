"""What train_tiny_vlm.py learns from: pictures, questions, and how both become numbers.

Pictures are prepared as LFM2-VL does, written down here a second time, with Pillow: so what the
model learns does not depend on the code that will run it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

EASY_VQA = "easy-vqa==1.0"
WHEEL = "easy_vqa-1.0-py3-none-any.whl"
WHEEL_SHA256 = "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f"

PROCESSOR: dict[str, Any] = {
    "image_processor_type": "Lfm2VlImageProcessorFast",
    "processor_class": "Lfm2VlProcessor",
    "encoder_patch_size": 16,
    "downsample_factor": 2,
    "min_image_tokens": 16,
    "max_image_tokens": 32,
    "do_image_splitting": True,
    "tile_size": 128,
    "min_tiles": 2,
    "max_tiles": 4,
    "max_pixels_tolerance": 2.0,
    "use_thumbnail": True,
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": 128, "width": 128},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_pad": True,
    "return_row_col_info": True,
}
"""preprocessor_config.json: LFM2-VL's with a quarter of its sides. A picture of 64 x 64 pixels is
seen at 128 x 128."""

READ = "what does the picture say?"
WORDS = (
    *("apple", "bread", "chair", "cloud", "dance", "eagle", "flame", "grape", "horse", "island"),
    *("juice", "knife", "lemon", "mouse", "night", "ocean", "piano", "queen", "river", "snake"),
    *(
        "tiger",
        "uncle",
        "violin",
        "water",
        "yacht",
        "zebra",
        "cactus",
        "garden",
        "hammer",
        "winter",
    ),
)
"""What pictures of text say, if not a digit."""

Picture = NDArray[np.uint8]
"""[height, width, 3]."""


@dataclass(frozen=True)
class Tile:
    """What the tower sees at once: [rows * columns, 768] in [-1, 1], and its rows and columns."""

    patches: NDArray[np.float32]
    grid: tuple[int, int]

    @property
    def tokens(self) -> int:
        """Image tokens, each of 2 x 2 patches."""
        return self.grid[0] * self.grid[1] // 4


def tiles(picture: Picture) -> tuple[list[Tile], str]:
    """The tiles of a picture, and the text that stands for it in a prompt."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    p = PROCESSOR
    unit, area = 32, p["max_image_tokens"] * 1024
    rounded = [max(16, round(side / unit) * unit) for side in (height, width)]
    small = resized(image, *smart_size(height, width))
    if rounded[0] * rounded[1] <= area * p["max_pixels_tolerance"]:
        return [small], f"<|image_start|>{'<image>' * small.tokens}<|image_end|>"
    rows, columns = grid(height, width)
    side = p["tile_size"]
    large = image.resize((columns * side, rows * side), Image.Resampling.BILINEAR)
    found, text = [], "<|image_start|>"
    for row in range(rows):
        for column in range(columns):
            box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
            found.append(_tile(large.crop(box)))
            text += f"<|img_row_{row + 1}_col_{column + 1}|>" + "<image>" * found[-1].tokens
    text += "<|img_thumbnail|>" + "<image>" * small.tokens + "<|image_end|>"
    return [*found, small], text


def smart_size(height: int, width: int) -> tuple[int, int]:
    """Height and width in multiples of 32 that keep the shape and fit the number of tokens."""
    least, most = (PROCESSOR[key] * 1024 for key in ("min_image_tokens", "max_image_tokens"))
    size = [max(32, round(side / 32) * 32) for side in (height, width)]
    if size[0] * size[1] > most:
        beta = math.sqrt(height * width / most)
        size = [max(32, math.floor(side / beta / 32) * 32) for side in (height, width)]
    elif size[0] * size[1] < least:
        beta = math.sqrt(least / (height * width))
        size = [math.ceil(side * beta / 32) * 32 for side in (height, width)]
    return size[0], size[1]


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles: the nearest shape; of two alike the larger if it is half full."""
    least, most = PROCESSOR["min_tiles"], PROCESSOR["max_tiles"]
    sizes = [(w, h) for w in range(1, most + 1) for h in range(1, most + 1)]
    best, difference = (1, 1), math.inf
    for w, h in sorted(sizes, key=lambda size: size[0] * size[1]):
        if not least <= w * h <= most:
            continue
        found = abs(width / height - w / h)
        if found < difference:
            best, difference = (w, h), found
        elif found == difference and width * height > 0.5 * PROCESSOR["tile_size"] ** 2 * w * h:
            best = (w, h)
    return best[1], best[0]


def resized(image: Image.Image, height: int, width: int) -> Tile:
    """A picture at another size as one tile."""
    return _tile(image.resize((width, height), Image.Resampling.BILINEAR))


def _tile(image: Image.Image) -> Tile:
    pixels = (np.asarray(image, np.float32) / 255 - 0.5) / 0.5
    rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
    blocks = pixels.reshape(rows, 16, columns, 16, 3).transpose(0, 2, 1, 3, 4)
    return Tile(np.ascontiguousarray(blocks.reshape(rows * columns, 768)), (rows, columns))


@dataclass(frozen=True)
class Questions:
    """The pictures of easy-vqa, and for each its questions with their answers."""

    pictures: list[Picture]
    asked: list[list[tuple[str, str]]]


def easy_vqa(folder: Path, part: str) -> Questions:
    """The ``train`` or the ``test`` part of easy-vqa; the package is fetched into ``folder``."""
    wheel = folder / WHEEL
    if not wheel.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
        subprocess.run([*command, EASY_VQA], check=True)
    if (digest := hashlib.sha256(wheel.read_bytes()).hexdigest()) != WHEEL_SHA256:
        raise ValueError(f"{wheel}: sha256 is {digest}, expected {WHEEL_SHA256}; delete the file")
    with zipfile.ZipFile(wheel) as archive:
        base = f"easy_vqa/data/{part}"
        asked: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for question, answer, number in json.loads(archive.read(f"{base}/questions.json")):
            asked[number].append((question, answer))
        numbers = sorted(asked)
        files = [archive.read(f"{base}/images/{number}.png") for number in numbers]
    pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]
    return Questions(pictures, [asked[number] for number in numbers])


SHAPES = ((64, 128), (96, 128), (96, 192), (64, 256), (128, 128), (128, 224), (128, 256), (192, 96))
"""Height and width of pictures of text that are one tile."""
LARGE = ((192, 416), (160, 512), (288, 288))
"""Of those that are more than one: 2 x 1, 3 x 1 and 2 x 2 tiles."""


TEXTS = (*WORDS, *"0123456789")


def written(random: np.random.Generator, height: int, width: int) -> tuple[Picture, str]:
    """A picture of a word or a digit, and what it says."""
    text = str(random.choice(WORDS)) if random.random() < 0.7 else str(random.integers(10))
    back = random.integers(160, 256, 3)
    ink = random.integers(0, 90, 3)
    if random.random() < 0.5:
        back, ink = ink, back
    image = Image.new("RGB", (width, height), tuple(int(c) for c in back))
    draw = ImageDraw.Draw(image)
    size = min(height * 0.6, width / len(text) * 1.5) * random.uniform(0.8, 1.0)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    x = random.uniform(0, max(1, width - (right - left))) - left
    y = random.uniform(0, max(1, height - (bottom - top))) - top
    draw.text((x, y), text, tuple(int(c) for c in ink), font)
    return np.asarray(image), text
