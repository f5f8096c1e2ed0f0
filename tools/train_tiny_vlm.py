"""Trains a tiny model of the LFM2-VL kind that really sees, as a Hugging Face folder.

    python tools/train_tiny_vlm.py FOLDER [--steps 2000]

Needs torch, transformers and Pillow; runs on one thread. The model is transformers' own: a SigLIP2
tower for pictures of any shape, a projector and an LFM2 decoder, 1.4 million parameters together.
It learns to answer easy-vqa's questions about coloured shapes, and to read words and numbers out
of pictures of many shapes, some of which are seen in tiles. The learning rate follows the clock, so
a slower machine learns less, not longer. At the end the test part of easy-vqa and new pictures of
text are asked; the result is in FOLDER/accuracy.json. Weights are stored in f16.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from PIL import Image
from tiny_vlm_data import (
    LARGE,
    PROCESSOR,
    READ,
    SHAPES,
    WORDS,
    Picture,
    Questions,
    Tile,
    easy_vqa,
    tiles,
    written,
)
from tiny_vlm_model import CHAT_TEMPLATE, configuration, make_tokenizer
from tokenizers import Tokenizer
from transformers import Lfm2VlConfig, Lfm2VlForConditionalGeneration

IGNORED = -100
"""The label of a token that is not learned."""


@dataclass(frozen=True)
class Example:
    """A picture as tiles, the text that stands for it, and questions with their answers."""

    tiles: list[Tile]
    text: str
    asked: list[tuple[str, str]]


class Learner:
    """The model and what it is trained with."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        config = Lfm2VlConfig(**configuration())
        # Fused attention is slow to differentiate on a CPU.
        self.model = Lfm2VlForConditionalGeneration._from_config(
            config, attn_implementation="eager"
        )
        self.kept: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """The tokens of a text; kept, as texts come again."""
        if text not in self.kept:
            self.kept[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.kept[text]

    def sequence(self, image: str, question: str, answer: str) -> tuple[list[int], int]:
        """All tokens of a turn, and how many of them are the prompt."""
        prompt = self.ids("<|startoftext|><|im_start|>user\n") + self.ids(image)
        prompt = prompt + self.ids(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        return prompt + self.ids(f"{answer}<|im_end|>"), len(prompt)

    def answers(self, examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels of the answers' tokens: [questions, tokens, ...].

        All pictures of ``examples`` have tiles of the same shapes.
        """
        every = [tile for example in examples for tile in example.tiles]
        features = self.features(every)
        count = len(examples[0].tiles)
        rows, ids = [], []
        for at, example in enumerate(examples):
            mine = torch.cat(features[at * count : (at + 1) * count])
            for question, answer in example.asked:
                rows.append(mine)
                ids.append(self.sequence(example.text, question, answer))
        longest = max(len(tokens) for tokens, _ in ids)
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        labels = torch.full_like(tokens, IGNORED)
        for row, (each, prompt) in enumerate(ids):
            tokens[row, : len(each)] = torch.tensor(each)
            labels[row, prompt - 1 : len(each) - 1] = torch.tensor(each[prompt:])
        # What stands to the right of an answer is seen by nothing that counts: no mask is needed.
        embedded = self.model.get_input_embeddings()(tokens)
        places = (tokens == self.model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(places, torch.cat(rows).to(embedded.dtype))
        states = self.model.model.language_model(inputs_embeds=embedded, use_cache=False)
        kept = (labels != IGNORED).any(0)
        return self.model.lm_head(states.last_hidden_state[:, kept]), labels[:, kept]

    def features(self, every: list[Tile]) -> list[torch.Tensor]:
        """The image features of each tile; tiles are padded to the longest."""
        longest = max(len(tile.patches) for tile in every)
        pixels = np.zeros((len(every), longest, 768), np.float32)
        mask = torch.zeros(len(every), longest, dtype=torch.long)
        for row, tile in enumerate(every):
            pixels[row, : len(tile.patches)] = tile.patches
            mask[row, : len(tile.patches)] = 1
        shapes = torch.tensor([tile.grid for tile in every])
        found = self.model.model.get_image_features(torch.from_numpy(pixels), shapes, mask)
        return list(found.pooler_output)


class Data:
    """Examples to learn from, in an endless order of their own."""

    def __init__(self, questions: Questions, random: np.random.Generator) -> None:
        self.questions, self.random = questions, random
        self.pictures = [enlarged(picture) for picture in questions.pictures]

    def batch(self) -> list[Example]:
        """Mostly shapes, a third text, now and then text in tiles."""
        kind = self.random.random()
        if kind < 0.55:
            return [self._shape() for _ in range(32)]
        if kind < 0.95:
            size = SHAPES[self.random.integers(len(SHAPES))]
            return [text_example(self.random, size) for _ in range(40)]
        size = LARGE[self.random.integers(len(LARGE))]
        return [text_example(self.random, size) for _ in range(16)]

    def _shape(self) -> Example:
        """A picture, often mirrored, with four questions, two of them about what and which."""
        at = self.random.integers(len(self.pictures))
        picture = self.pictures[at]
        if self.random.random() < 0.5:
            picture = picture[:, ::-1]
        asked = self.questions.asked[at]
        closed = [pair for pair in asked if pair[1] in ("yes", "no")]
        others = [pair for pair in asked if pair not in closed]
        groups = (others or closed, closed or others)
        chosen = [group[i] for group in groups for i in self.random.integers(len(group), size=2)]
        found, text = tiles(picture)
        return Example(found, text, chosen)


def enlarged(picture: Picture) -> Picture:
    """What the processor would make of a small picture, so that it has nothing left to do."""
    image = Image.fromarray(picture).resize((128, 128), Image.Resampling.BILINEAR)
    return np.asarray(image)


def text_example(random: np.random.Generator, size: tuple[int, int]) -> Example:
    """A picture of text, and the question what it says."""
    picture, text = written(random, *size)
    found, markup = tiles(picture)
    return Example(found, markup, [(READ, text)])


def train(learner: Learner, data: Data, steps: int) -> None:
    """Learn from so many batches; the rate rises for 2 % of them, then falls as a cosine."""
    model = learner.model.train()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))
    start = time.perf_counter()
    recent: dict[str, float] = {}
    for step in range(steps):
        share = step / steps
        rate = 2e-3 * min((share + 1 / steps) / 0.02, 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        examples = data.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits, labels = learner.answers(examples)
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        kind = "text" if len(examples[0].asked) == 1 else "shapes"
        recent[kind] = 0.98 * recent.get(kind, loss.item()) + 0.02 * loss.item()
        if step % 100 == 99:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in sorted(recent.items()))
            print(f"step {step + 1}, {time.perf_counter() - start:.0f} s: {shown}", flush=True)


@torch.no_grad()
def accuracy(learner: Learner, examples: list[Example]) -> tuple[int, int]:
    """How many answers the model would write, token for token, and of how many."""
    learner.model.eval()
    right = count = 0
    for at in range(0, len(examples), 50):
        logits, labels = learner.answers(examples[at : at + 50])
        same = (logits.argmax(-1) == labels) | (labels == IGNORED)
        right, count = right + int(same.all(1).sum()), count + len(labels)
    return right, count


def measure(learner: Learner, test: Questions) -> dict[str, float]:
    """The share of right answers: easy-vqa's test questions, text, text in tiles."""
    shapes = []
    for picture, asked in zip(test.pictures, test.asked, strict=True):
        found, text = tiles(picture)
        shapes.append(Example(found, text, asked))
    right, count = accuracy(learner, shapes)
    shown = {"easy-vqa": right / count}
    for name, sizes in (("text", SHAPES), ("text in tiles", LARGE)):
        random = np.random.default_rng(1)
        found = [
            accuracy(learner, [text_example(random, size) for _ in range(50)]) for size in sizes
        ]
        shown[name] = sum(right for right, _ in found) / sum(count for _, count in found)
    return {name: round(value, 4) for name, value in shown.items()}


def write(learner: Learner, folder: Path) -> None:
    """A checkpoint as the hub has them."""
    folder.mkdir(parents=True, exist_ok=True)
    learner.model.half().save_pretrained(folder)
    learner.model.float()
    learner.tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    files = {"tokenizer_config.json": settings, "preprocessor_config.json": PROCESSOR}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def main() -> int:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the checkpoint goes")
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    cache = Path(platformdirs.user_cache_path("cactus", appauthor=False)) / "benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    questions = easy_vqa(cache / "downloads", "train")
    learner = Learner(make_tokenizer(questions))
    parameters = sum(p.numel() for p in learner.model.parameters())
    print(f"{parameters:,} parameters; {len(questions.pictures)} pictures, {len(WORDS)} words")
    data = Data(questions, np.random.default_rng(given.seed))
    train(learner, data, given.steps)
    found = measure(learner, easy_vqa(cache / "downloads", "test"))
    write(learner, given.folder)
    (given.folder / "accuracy.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
