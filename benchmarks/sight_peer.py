"""Child of sight.py, in the peers' environment: the tiny model's answers by transformers.

    python sight_peer.py CHECKPOINT DOWNLOADS OUT.json

The questions are those of easy-vqa's test part, and 396 pictures of text. Pictures are prepared by
tools/tiny_vlm_data.py, and answers are greedy: the model's choice for each token of the right
answer tells whether it would write that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from vision_peer import declare_boxes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
declare_boxes(torch)

from tiny_vlm_data import LARGE, READ, SHAPES, easy_vqa, tiles, written  # noqa: E402
from tiny_vlm_lessons import Example  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from train_tiny_vlm import Learner, right_ones  # noqa: E402
from transformers import Lfm2VlForConditionalGeneration  # noqa: E402


def main() -> None:
    """Ask everything and write which answers are right."""
    folder, downloads, out = (Path(each) for each in sys.argv[1:])
    torch.set_num_threads(2)
    learner = Learner(Tokenizer.from_file(str(folder / "tokenizer.json")))
    kind = {"dtype": torch.float32, "attn_implementation": "eager"}
    learner.model = Lfm2VlForConditionalGeneration.from_pretrained(folder, **kind).eval()
    shapes = easy_vqa(downloads, "test")
    asked = []
    for picture, questions in zip(shapes.pictures, shapes.asked, strict=True):
        found, text = tiles(picture)
        asked.append(Example(found, text, questions))
    groups = {"easy-vqa": [asked]}
    random = np.random.default_rng(7)
    groups["text"] = []
    pictures = []
    for size in [*SHAPES, *LARGE]:
        examples = []
        for _ in range(36):
            picture, text = written(random, *size)
            pictures.append((picture, text))
            found, markup = tiles(picture)
            examples.append(Example(found, markup, [(READ, text)]))
        groups["text"].append(examples)
    right = {
        name: [flag for examples in batches for flag in right_ones(learner, examples)]
        for name, batches in groups.items()
    }
    out.write_text(json.dumps(right))
    np.savez(out.with_suffix(".npz"), *(picture for picture, _ in pictures))
    texts = [text for _, text in pictures]
    out.with_suffix(".texts.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main()
