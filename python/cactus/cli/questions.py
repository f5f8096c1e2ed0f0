"""Asking a model many questions whose answers are known, for the commands that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cactus.cli.options import Whole

if TYPE_CHECKING:
    from cactus.confidence.questions import Question
    from cactus.types import Completion

judge_option = click.option(
    "--judge",
    type=click.Choice(["contains", "exact", "number"]),
    default="contains",
    show_default=True,
    help="When an answer is right: it contains the known one as words, is exactly that (but for "
    "case and punctuation), or its last number is the same. A line's own judge comes first.",
)

max_tokens_option = click.option(
    "--max-tokens",
    type=Whole(1),
    metavar="N",
    default=256,
    show_default=True,
    help="Tokens of an answer at most.",
)


samples_option = click.option(
    "--samples",
    type=Whole(0, 32),
    metavar="N",
    default=0,
    show_default=True,
    help="Draw so many other answers to each question, too, and use how far they agree: slower.",
)

self_check_option = click.option(
    "--self-check",
    is_flag=True,
    help="Ask the model whether each answer is right, too, and use what it says.",
)


@dataclass(frozen=True)
class Asking:
    """How a model is asked; `samples` and `self_check` are those of ``Model.assess``."""

    max_tokens: int
    threads: int | None
    samples: int = 0
    self_check: bool = False

    def ask(self, folder: Path, questions: Sequence[Question]) -> list[Completion]:
        """The greedy answer of the model in `folder` to each question, with a progress bar."""
        from cactus.model import Model
        from cactus.progress import show_progress
        from cactus.weights.locate import name_of

        name = name_of(folder)
        with Model(folder, threads=self.threads) as model, show_progress("questions") as progress:
            answers = model.chat_many(
                [question.messages for question in questions],
                max_tokens=self.max_tokens,
                progress=lambda done, total: progress(f"asking {name}", done, total),
            )
            if not (self.samples or self.self_check):
                return answers
            assessed = []
            for question, answer in zip(questions, answers, strict=True):
                if answer.text.strip() and answer.scores is not None:
                    answer = model.assess(
                        question.messages,
                        answer,
                        samples=self.samples,
                        self_check=self.self_check,
                        max_tokens=self.max_tokens,
                    )
                assessed.append(answer)
                progress(f"assessing {name}", len(assessed), len(answers))
            return assessed
