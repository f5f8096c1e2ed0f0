"""Trains a tiny model of the LFM2-VL kind that really sees, as a Hugging Face folder.

    python tools/train_tiny_vlm.py FOLDER [--steps 700]

Needs torch, transformers and Pillow; runs on one thread. The model is transformers' own: a SigLIP2
tower for pictures of any shape, a projector and an LFM2 decoder, 1.4 million parameters together.
First the tower learns by itself what shapes, colours and words look like. Then the whole learns to
answer easy-vqa's questions about coloured shapes, and to read words and digits out of pictures of
many shapes, some of which are seen in tiles. That takes about a quarter of an hour, and
is the same each time. At the end the test part of easy-vqa and new pictures of text are asked; the
result is in FOLDER/accuracy.json. Weights are stored in f16.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from tiny_vlm_data import LARGE, PROCESSOR, READ, SHAPES, WORDS, Questions, easy_vqa, tiles
from tiny_vlm_lessons import IGNORED, LESSONS, Data, Example, text_example
from tiny_vlm_model import CHAT_TEMPLATE, configuration, make_tokenizer
from tokenizers import Tokenizer
from transformers import Lfm2VlConfig, Lfm2VlForConditionalGeneration


class Learner:
    """The model and what it is trained with."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        config = Lfm2VlConfig(**configuration())
        # Fused attention is slow to differentiate on a CPU.
        self.model = Lfm2VlForConditionalGeneration._from_config(
            config, attn_implementation="eager"
        )
        # What each feature is taught to tell; forgotten afterwards.
        self.telling = torch.nn.Linear(128, sum(len(names) for names in LESSONS))
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

    def answers(
        self, examples: list[Example], features: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels of the answers' tokens: [questions, tokens, ...].

        All pictures of ``examples`` have tiles of the same shapes.
        """
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

    def told(self, examples: list[Example], features: list[torch.Tensor]) -> torch.Tensor:
        """The loss of what each feature of pictures in one tile tells of its picture."""
        logits = self.telling(torch.stack(features).float())
        labels = torch.tensor([example.seen for example in examples])
        loss, start = torch.zeros(()), 0
        for lesson, names in enumerate(LESSONS):
            found = logits[..., start : start + len(names)]
            start += len(names)
            wanted = labels[:, lesson, None].expand(found.shape[:2]).flatten()
            if (wanted != IGNORED).any():
                loss = loss + torch.nn.functional.cross_entropy(
                    found.flatten(0, 1), wanted, ignore_index=IGNORED
                )
        return loss

    def features(self, examples: list[Example]) -> list[torch.Tensor]:
        """The image features of each tile; tiles are padded to the longest."""
        every = [tile for example in examples for tile in example.tiles]
        longest = max(len(tile.patches) for tile in every)
        pixels = np.zeros((len(every), longest, 768), np.float32)
        mask = torch.zeros(len(every), longest, dtype=torch.long)
        for row, tile in enumerate(every):
            pixels[row, : len(tile.patches)] = tile.patches
            mask[row, : len(tile.patches)] = 1
        shapes = torch.tensor([tile.grid for tile in every])
        found = self.model.model.get_image_features(torch.from_numpy(pixels), shapes, mask)
        return list(found.pooler_output)


class Course:
    """Steps of AdamW; the rate rises for 3 % of them, then falls as a cosine."""

    def __init__(self, modules: Iterable[torch.nn.Module], rate: float, steps: int) -> None:
        self.parameters = [p for module in modules for p in module.parameters()]
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": 0.05},
            {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))
        self.rate, self.steps, self.done = rate, steps, 0
        self.start, self.recent = time.perf_counter(), dict[str, float]()

    def step(self, loss: torch.Tensor, kind: str) -> None:
        """Learn from one batch of some kind."""
        share = self.done / self.steps
        rise = min(1.0, (self.done + 1) / (0.03 * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(rise, 0.5 * (1 + math.cos(math.pi * share)))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.recent[kind] = 0.95 * self.recent.get(kind, loss.item()) + 0.05 * loss.item()
        self.done += 1
        if self.done % 50 == 0:
            shown = ", ".join(f"{key} {value:.3f}" for key, value in sorted(self.recent.items()))
            seconds = time.perf_counter() - self.start
            print(f"step {self.done}, {seconds:.0f} s: {shown}", flush=True)


def teach_tower(learner: Learner, data: Data, steps: int) -> None:
    """Let tower and projector learn by themselves what there is to see.

    Each feature of a picture tells its shape and its colour, or what it says.
    """
    model = learner.model.train()
    parts = (model.model.vision_tower, model.model.multi_modal_projector, learner.telling)
    course = Course(parts, 1e-3, steps)
    for _ in range(steps):
        examples = data.batch(large=0)
        with torch.autocast("cpu", torch.bfloat16):
            features = learner.features(examples)
        course.step(learner.told(examples, features), kind_of(examples))


def train(learner: Learner, data: Data, steps: int) -> None:
    """Let the whole model learn to answer, and its tower not forget."""
    course = Course([learner.model.train(), learner.telling], 1e-3, steps)
    for _ in range(steps):
        examples = data.batch()
        with torch.autocast("cpu", torch.bfloat16):
            features = learner.features(examples)
            logits, labels = learner.answers(examples, features)
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        if len(examples[0].tiles) == 1:
            loss = loss + 0.2 * learner.told(examples, features)
        course.step(loss, kind_of(examples))


def kind_of(examples: list[Example]) -> str:
    """What a batch is about, for people."""
    return "text" if examples[0].asked[0][0] == READ else "shapes"


@torch.no_grad()
def right_ones(learner: Learner, examples: list[Example]) -> list[bool]:
    """For each question whether the model would write the right answer, token for token."""
    learner.model.eval()
    found: list[bool] = []
    for at in range(0, len(examples), 50):
        some = examples[at : at + 50]
        logits, labels = learner.answers(some, learner.features(some))
        same = (logits.argmax(-1) == labels) | (labels == IGNORED)
        found += same.all(1).tolist()
    return found


def measure(learner: Learner, test: Questions) -> dict[str, float]:
    """The share of right answers: easy-vqa's test questions, text, text in tiles."""
    shapes = []
    for picture, asked in zip(test.pictures, test.asked, strict=True):
        found, text = tiles(picture)
        shapes.append(Example(found, text, asked))
    answered = {"easy-vqa": right_ones(learner, shapes)}
    for name, sizes in (("text", SHAPES), ("text in tiles", LARGE)):
        random = np.random.default_rng(1)
        answered[name] = [
            flag
            for size in sizes
            for flag in right_ones(learner, [text_example(random, size) for _ in range(50)])
        ]
    return {name: round(float(np.mean(flags)), 4) for name, flags in answered.items()}


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
    parser.add_argument("--steps", type=int, default=700, help="of answering (default: 700)")
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
    teach_tower(learner, data, given.steps * 9 // 7)
    train(learner, data, given.steps)
    found = measure(learner, easy_vqa(cache / "downloads", "test"))
    write(learner, given.folder)
    (given.folder / "accuracy.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
