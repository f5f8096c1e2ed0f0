"""What a model's confidence is worth, without and with a calibration, on two public sets.

    python benchmarks/confidence.py weights/smollm2-135m-instruct --data FOLDER

FOLDER has `gsm8k-test-first-half.jsonl` (lines with question and answer, the number behind ####)
and `xquad/xquad.en.json`. Each calibration is fitted to one half and measured on the other; the
means over ten ways to halve the questions are shown, both ways each. Questions about one paragraph
are in the same half. A mixture of two sets of different difficulty is easy to separate, so each set
is measured alone, too. Answers are kept in --keep, where they are read the next time.

    python benchmarks/confidence.py weights/smollm2-135m-instruct --ordinary questions.txt

The share of ordinary questions, one a line, that a threshold hands off without a calibration: at
the first token, and within 32 tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import question_sources
from question_sets import spread

from cactus import Model
from cactus.cli.questions import Asking
from cactus.confidence.calibration import CUT, features
from cactus.confidence.entropy import lowest
from cactus.confidence.fit import RARE, fit
from cactus.confidence.questions import Question
from cactus.confidence.report import Report, report
from cactus.progress import show_progress
from cactus.types import Completion
from cactus.weights.resolve import resolve

SETS = {"gsm8k": 256, "xquad": 64}
"""Tokens of an answer at most."""
SPLITS = 10
SHORT = "Answer with a few words of the text above."


@dataclass(frozen=True)
class Judged:
    """An answer: its set, which others it goes with, whether it is right, what it says of that."""

    name: str
    group: int
    right: bool
    features: dict[str, float]
    lowest: float


def gsm8k(data: Path, count: int) -> list[tuple[int, Question]]:
    """Word problems, each a group of its own."""
    lines = (data / "gsm8k-test-first-half.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in spread(lines, count)]
    return [
        (n, asked(row["question"], (row["answer"].rpartition("####")[2],), "number"))
        for n, row in enumerate(rows)
    ]


def xquad(data: Path, count: int) -> list[tuple[int, Question]]:
    """Questions about paragraphs, which are the groups."""
    pages = question_sources.xquad(data / "xquad" / "xquad.en.json")
    every = [(n, page.text, *asking) for n, page in enumerate(pages) for asking in page.questions]
    return [
        (group, asked(f"{context}\n\n{text} {SHORT}", answers, "contains"))
        for group, context, text, answers in spread(every, count)
    ]


def asked(text: str, answers: tuple[str, ...], judge: Any) -> Question:
    """A question of one user message."""
    return Question([{"role": "user", "content": text}], answers, judge)


def judged(name: str, group: int, question: Question, done: Completion) -> Iterator[Judged]:
    """An answer with what counts of it; none without text, of which there is nothing to learn."""
    if done.scores is not None and done.text.strip():
        given = features(done.scores, cut=done.finish_reason in CUT)
        yield Judged(name, group, question.is_right(done.text), given, lowest(done.confidences))


def halves(rows: Sequence[Judged]) -> Iterator[tuple[list[Judged], list[Judged]]]:
    """Ways to halve the answers, by groups, and each the other way round."""
    groups = sorted({(row.name, row.group) for row in rows})
    for seed in range(SPLITS):
        chosen = set(random.Random(seed).sample(groups, len(groups) // 2))
        one = [row for row in rows if (row.name, row.group) in chosen]
        other = [row for row in rows if (row.name, row.group) not in chosen]
        yield one, other
        yield other, one


def held_out(rows: Sequence[Judged], name: str) -> list[Report]:
    """What calibrations, each fitted to a half of `rows`, are worth on those of a set in the other
    half."""
    found = []
    for seen, unseen in halves(rows):
        learned = fit([row.features for row in seen], [row.right for row in seen])
        here = [row for row in unseen if name in (row.name, "both")]
        p = [learned.probability(row.features) for row in here]
        found.append(report(p, [row.right for row in here]))
    return found


def alone(rows: Sequence[Judged], name: str) -> float:
    """The AUROC of one feature by itself."""
    # report wants 0 to 1; only the order counts.
    values = sorted({row.features[name] for row in rows})
    ranks = {value: n / len(values) for n, value in enumerate(values)}
    p = [ranks[row.features[name]] for row in rows]
    return report(p, [row.right for row in rows]).auroc or 0.5


def mean(reports: Sequence[Report], figure: str) -> float:
    """The mean of a figure."""
    return statistics.mean(getattr(each, figure) for each in reports)


def show(rows: Sequence[Judged]) -> None:
    """The tables."""
    head = f"{'':<10}{'answers':>8}{'right':>7}"
    print(f"{head}{'AUROC: entropy':>17}{'calibrated':>12}{'by both':>9}{'ECE: entropy':>15}"
          f"{'calibrated':>12}{'Brier:':>9}{'calibrated':>12}")  # fmt: skip
    shown = []
    for name in (*SETS, "both"):
        here = [row for row in rows if name in (row.name, "both")]
        if not here:
            continue
        rare = min(sum(row.right is kind for row in here) for kind in (True, False))
        if rare < 4 * RARE:
            share = statistics.mean(row.right for row in here)
            print(f"{name:<10}{len(here):>8}{share:>7.0%}   too few of a kind")
            continue
        plain = report([row.features["entropy"] for row in here], [row.right for row in here])
        shown.append(name)
        own, mixed = held_out(here, name), held_out(rows, name)
        print(
            f"{name:<10}{len(here):>8}{statistics.mean(row.right for row in here):>7.0%}"
            f"{alone(here, 'entropy'):>17.3f}"
            f"{mean(own, 'auroc'):>12.3f}{mean(mixed, 'auroc'):>9.3f}"
            f"{plain.ece:>15.3f}{mean(own, 'ece'):>12.3f}"
            f"{plain.brier:>9.3f}{mean(own, 'brier'):>12.3f}"
        )
    print("\nAUROC of each score by itself")
    for score in rows[0].features:
        figures = (
            alone([row for row in rows if name in (row.name, "both")], score) for name in shown
        )
        print(f"  {score:<14}" + "".join(f"{figure:>8.3f}" for figure in figures))


def ordinary(name: str, file: Path) -> None:
    """The table of questions without known answers."""
    questions = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    with Model(name) as model, show_progress("questions") as progress:
        answers = model.chat_many(
            questions,
            max_tokens=32,
            progress=lambda done, total: progress(file.name, done, total),
        )
    print(f"{len(answers)} questions\n{'threshold':<10}{'first token':>12}{'32 tokens':>12}")
    first = [answer.confidences[0] if answer.confidences else 1.0 for answer in answers]
    least = [lowest(answer.confidences) for answer in answers]
    for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        shares = (statistics.mean(each < threshold for each in of) for of in (first, least))
        print(f"{threshold:<10}" + "".join(f"{share:>12.0%}" for share in shares))


def main() -> None:
    """Read the arguments, ask, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--data", type=Path)
    wanted.add_argument("--ordinary", type=Path)
    parser.add_argument("--count", type=int, default=400, help="questions of each set")
    parser.add_argument("--samples", type=int, default=0, help="other answers to draw to each")
    parser.add_argument("--self-check", action="store_true", help="ask whether each is right, too")
    parser.add_argument("--keep", type=Path, help="a file of answers, read where it is there")
    given = parser.parse_args()
    if given.ordinary is not None:
        ordinary(given.model, given.ordinary)
        return
    if given.keep is not None and given.keep.exists():
        rows = [Judged(**row) for row in json.loads(given.keep.read_text("utf-8"))]
    else:
        rows = []
        for name, ask in (("gsm8k", gsm8k), ("xquad", xquad)):
            pairs = ask(given.data, given.count)
            asking = Asking(SETS[name], None, given.samples, given.self_check)
            answers = asking.ask(resolve(given.model), [question for _, question in pairs])
            for (group, question), done in zip(pairs, answers, strict=True):
                rows += judged(name, group, question, done)
        if given.keep is not None:
            given.keep.write_text(json.dumps([asdict(row) for row in rows]), "utf-8")
    show(rows)


if __name__ == "__main__":
    main()
