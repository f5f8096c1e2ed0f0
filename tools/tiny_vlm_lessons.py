"""The lessons of train_tiny_vlm.py: pictures with what is to be learned of them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tiny_vlm_data import LARGE, READ, SHAPES, Picture, Questions, Tile, tiles, written

IGNORED = -100
"""The label of what is not learned."""
FORMS = ("circle", "rectangle", "triangle")
COLOURS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")
SEEN = (*FORMS, *COLOURS)
CHARACTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Example:
    """A picture as tiles, the text that stands for it, and questions with their answers."""

    tiles: list[Tile]
    text: str
    asked: list[tuple[str, str]]


class Data:
    """Examples to learn from, in an endless order of their own."""

    def __init__(self, questions: Questions, random: np.random.Generator) -> None:
        self.questions, self.random = questions, random
        self.pictures = [enlarged(picture) for picture in questions.pictures]
        self.seen = [(told(asked, FORMS), told(asked, COLOURS)) for asked in questions.asked]

    def batch(self) -> list[Example]:
        """Mostly shapes, a third text, now and then text in tiles."""
        kind = self.random.random()
        if kind < 0.55:
            return [self._shape() for _ in range(40)]
        if kind < 0.95:
            size = SHAPES[self.random.integers(len(SHAPES))]
            return [text_example(self.random, size) for _ in range(40)]
        size = LARGE[self.random.integers(len(LARGE))]
        return [text_example(self.random, size) for _ in range(16)]

    def labelled_shapes(self, count: int) -> tuple[list[Tile], torch.Tensor]:
        """Pictures, and of each the number of its form and of its colour, as far as is known."""
        chosen = self.random.integers(len(self.pictures), size=count)
        mirrored = self.random.random(count) < 0.5
        found = [
            tiles(self.pictures[at][:, ::-1] if flip else self.pictures[at])[0][0]
            for at, flip in zip(chosen, mirrored, strict=True)
        ]
        labels = [self.seen[at] for at in chosen]
        return found, torch.tensor(labels)

    def labelled_text(self, count: int) -> tuple[list[Tile], torch.Tensor]:
        """Pictures of text of one size, and which characters have their middles in each feature."""
        height, width = SHAPES[self.random.integers(len(SHAPES))]
        found, rows = [], []
        for _ in range(count):
            made = written(self.random, height, width)
            tile = tiles(made.picture)[0][0]
            down, across = tile.grid[0] // 2, tile.grid[1] // 2
            labels = torch.zeros(down, across, len(CHARACTERS))
            for character, (x, y) in zip(made.text, made.middles, strict=True):
                place = (
                    min(int(y * down / height), down - 1),
                    min(int(x * across / width), across - 1),
                )
                labels[place][CHARACTERS.index(character)] = 1
            found.append(tile)
            rows.append(labels.flatten(0, 1))
        return found, torch.stack(rows)

    def _shape(self) -> Example:
        """A picture, often mirrored, with a question about what and which, and another one."""
        at = self.random.integers(len(self.pictures))
        picture = self.pictures[at]
        if self.random.random() < 0.5:
            picture = picture[:, ::-1]
        asked = self.questions.asked[at]
        closed = [pair for pair in asked if pair[1] in ("yes", "no")]
        others = [pair for pair in asked if pair not in closed]
        groups = (others or closed, closed or others)
        chosen = [group[i] for group in groups for i in self.random.integers(len(group), size=1)]
        found, text = tiles(picture)
        return Example(found, text, chosen)


def told(asked: list[tuple[str, str]], names: Sequence[str]) -> int:
    """Which of some names is that of a picture, by what is asked about it; IGNORED if unknown."""
    for question, answer in asked:
        words = question.removesuffix("?").split()
        denied = "not" in words or "no" in words
        for at, name in enumerate(names):
            if answer == name or (answer == "yes" and name in words and not denied):
                return at
    return IGNORED


def enlarged(picture: Picture) -> Picture:
    """What the processor would make of a small picture, so that it has nothing left to do."""
    image = Image.fromarray(picture).resize((128, 128), Image.Resampling.BILINEAR)
    return np.asarray(image)


def text_example(random: np.random.Generator, size: tuple[int, int]) -> Example:
    """A picture of text, and the question what it says."""
    made = written(random, *size)
    found, markup = tiles(made.picture)
    return Example(found, markup, [(READ, made.text)])
