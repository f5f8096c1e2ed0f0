"""The lessons of train_tiny_vlm.py: pictures with what is to be learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from tiny_vlm_data import LARGE, READ, SHAPES, TEXTS, Picture, Questions, Tile, tiles, written

IGNORED = -100
"""The label of what is not learned."""
FORMS = ("circle", "rectangle", "triangle")
COLOURS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")
LESSONS = (FORMS, COLOURS, TEXTS)
"""What is to be told of a picture: one of each of these."""


@dataclass(frozen=True)
class Example:
    """A picture as tiles, the text that stands for it, and questions with their answers.

    ``seen`` has a number for each of LESSONS, IGNORED where there is none or it is not known.
    """

    tiles: list[Tile]
    text: str
    asked: list[tuple[str, str]]
    seen: tuple[int, ...] = (IGNORED,) * len(LESSONS)


class Data:
    """Examples to learn from, in an endless order of their own."""

    def __init__(self, questions: Questions, random: np.random.Generator) -> None:
        self.questions, self.random = questions, random
        self.pictures = [enlarged(picture) for picture in questions.pictures]
        self.seen = [
            (told(asked, FORMS), told(asked, COLOURS), IGNORED) for asked in questions.asked
        ]

    def batch(self, large: float = 0.05) -> list[Example]:
        """Mostly shapes, a third text, and ``large`` of it text in tiles."""
        kind = self.random.random()
        if kind < large:
            size = LARGE[self.random.integers(len(LARGE))]
            return [text_example(self.random, size) for _ in range(16)]
        if kind < 0.35:
            size = SHAPES[self.random.integers(len(SHAPES))]
            return [text_example(self.random, size) for _ in range(48)]
        return [self._shape() for _ in range(48)]

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
        return Example(found, text, chosen, self.seen[at])


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
    picture, text = written(random, *size)
    found, markup = tiles(picture)
    return Example(found, markup, [(READ, text)], (IGNORED, IGNORED, TEXTS.index(text)))
