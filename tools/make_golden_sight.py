"""Makes tests/golden/sight/: the tiny model that sees, and what transformers answers with it.

    python tools/make_golden_sight.py CHECKPOINT      as tools/train_tiny_vlm.py wrote it

Needs torch and transformers. The folder gets the checkpoint, and questions.npz: pictures of the
test part of easy-vqa (MIT licence, (c) 2019 Victor Zhou) and of text, some of them in tiles; for
each picture its questions, their right answers, and whether transformers in f32 gives them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import platformdirs
import torch
from tiny_vlm_data import LARGE, READ, SHAPES, easy_vqa, tiles, written
from tiny_vlm_lessons import Example
from tokenizers import Tokenizer
from train_tiny_vlm import Learner, right_ones
from transformers import Lfm2VlForConditionalGeneration

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "sight"
FILES = (
    *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
    *("tokenizer_config.json", "preprocessor_config.json"),
)
PICTURES = 30


def main() -> int:
    """Copy the checkpoint, ask transformers, write."""
    checkpoint = Path(sys.argv[1])
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(checkpoint / name, GOLDEN / name)
    torch.set_num_threads(1)
    learner = Learner(Tokenizer.from_file(str(checkpoint / "tokenizer.json")))
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    learner.model = Lfm2VlForConditionalGeneration.from_pretrained(checkpoint, **options).eval()
    cache = Path(platformdirs.user_cache_path("cactus", appauthor=False)) / "benchmarks"
    test = easy_vqa(cache / "downloads", "test")
    asked = list(zip(test.pictures[:PICTURES], test.asked[:PICTURES], strict=True))
    random = np.random.default_rng(3)
    for size in (*SHAPES, *LARGE):
        for _ in range(2):
            picture, text = written(random, *size)
            asked.append((picture, [(READ, text)]))
    told, arrays = [], {}
    for at, (picture, questions) in enumerate(asked):
        found, text = tiles(picture)
        flags = right_ones(learner, [Example(found, text, questions)])
        told.append([[*pair, flag] for pair, flag in zip(questions, flags, strict=True)])
        arrays[f"picture {at}"] = picture
    arrays["asked"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    np.savez_compressed(GOLDEN / "questions.npz", **arrays)
    flags = [flag for each in told for *_, flag in each]
    print(f"{len(flags)} questions, {sum(flags)} answers are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
