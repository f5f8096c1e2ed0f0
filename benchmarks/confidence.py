"""What a model's confidence is worth, without and with a calibration, on two public sets.

    python benchmarks/confidence.py weights/smollm2-135m-instruct --data FOLDER

FOLDER has `gsm8k-test-first-half.jsonl` (lines with question and answer, the number behind ####)
and `xquad/xquad.en.json`. Each calibration is fitted to one half and measured on the other, both
ways; the mean of both is shown. Questions about one paragraph are in the same half. A mixture of
two sets of different difficulty is easy to separate, so each set is measured alone, too. Answers
are kept in --keep, where they are read the next time.

    python benchmarks/confidence.py weights/smollm2-135m-instruct --ordinary questions.txt

The share of ordinary questions, one a line, that a threshold hands off without a calibration: at
the first token, and within 32 tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cactus import Model
from cactus.confidence.calibration import CUT, RUN, features
from cactus.confidence.entropy import lowest
from cactus.confidence.fit import RARE, fit
from cactus.confidence.questions import Question
from cactus.confidence.report import Report, report
from cactus.progress import show_progress
from cactus.types import Completion, Scores

SETS = {"gsm8k": 256, "xquad": 64}
"""Tokens of an answer at most."""
SHORT = "Answer with a few words of the text above."


@dataclass(frozen=True)
class Judged:
    """An answer: its set, the half that it is in, whether it is right, and what it says of that."""

    name: str
    half: int
    right: bool
    features: dict[str, float]
    lowest: float


def gsm8k(data: Path, count: int) -> list[tuple[int, Question]]:
    """Word problems with their halves."""
    lines = (data / "gsm8k-test-first-half.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in spread(lines, count)]
    return [
        (n % 2, asked(row["question"], (row["answer"].rpartition("####")[2],), "number"))
        for n, row in enumerate(rows)
    ]


def xquad(data: Path, count: int) -> list[tuple[int, Question]]:
    """Questions about paragraphs with their halves."""
    articles = json.loads((data / "xquad" / "xquad.en.json").read_text("utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    every = [(n % 2, p["context"], qa) for n, p in enumerate(paragraphs) for qa in p["qas"]]
    return [
        (
            half,
            asked(
                f"{context}\n\n{qa['question']} {SHORT}",
                tuple(dict.fromkeys(answer["text"] for answer in qa["answers"])),
                "contains",
            ),
        )
        for half, context, qa in spread(every, count)
    ]


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """`count` of the rows, from all over them."""
    count = min(count, len(rows))
    return [rows[n * len(rows) // count] for n in range(count)]


def asked(text: str, answers: tuple[str, ...], judge: Any) -> Question:
    """A question of one user message."""
    return Question([{"role": "user", "content": text}], answers, judge)


def answer(model: Model, name: str, questions: Sequence[Question]) -> list[Completion]:
    """Greedy answers, many at a time."""
    with show_progress("questions") as progress:
        return model.chat_many(
            [question.messages for question in questions],
            max_tokens=SETS[name],
            progress=lambda done, total: progress(name, done, total),
        )


def judge(name: str, half: int, question: Question, done: Completion) -> Judged:
    """An answer with what counts of it; one without text is as unsure as can be."""
    scores = done.scores or Scores(1, -20.0, -20.0, -20.0, -20.0, 0.0, 0.0, 0.0)
    given = features(scores, cut=done.finish_reason in CUT)
    return Judged(name, half, question.is_right(done.text), given, lowest(done.confidences))


def both_ways(
    rows: Sequence[Judged], fitted: Sequence[Judged], measure: Callable[[Report], float | None]
) -> float:
    """A figure of `rows` by fits to the other half of `fitted`, the mean over the halves."""
    found = []
    for half in (0, 1):
        others = [row for row in fitted if row.half != half]
        learned = fit([row.features for row in others], [row.right for row in others])
        here = [row for row in rows if row.half == half]
        p = [learned.probability(row.features) for row in here]
        found.append(measure(report(p, [row.right for row in here])) or 0.0)
    return statistics.mean(found)


def alone(rows: Sequence[Judged], name: str) -> float:
    """The AUROC of one feature by itself, the mean over the halves."""
    found = []
    for half in (0, 1):
        here = [row for row in rows if row.half == half]
        # report wants 0 to 1; only the order counts.
        values = sorted({row.features[name] for row in here})
        ranks = {value: n / len(values) for n, value in enumerate(values)}
        p = [ranks[row.features[name]] for row in here]
        found.append(report(p, [row.right for row in here]).auroc or 0.5)
    return statistics.mean(found)


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
        print(
            f"{name:<10}{len(here):>8}{statistics.mean(row.right for row in here):>7.0%}"
            f"{alone(here, 'entropy'):>17.3f}"
            f"{both_ways(here, here, lambda each: each.auroc):>12.3f}"
            f"{both_ways(here, rows, lambda each: each.auroc):>9.3f}"
            f"{plain.ece:>15.3f}{both_ways(here, here, lambda each: each.ece):>12.3f}"
            f"{plain.brier:>9.3f}{both_ways(here, here, lambda each: each.brier):>12.3f}"
        )
    print("\nAUROC of each score by itself")
    for score in (*RUN, "log_tokens", "cut"):
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
    parser.add_argument("--keep", type=Path, help="a file of answers, read where it is there")
    given = parser.parse_args()
    if given.ordinary is not None:
        ordinary(given.model, given.ordinary)
        return
    if given.keep is not None and given.keep.exists():
        rows = [Judged(**row) for row in json.loads(given.keep.read_text("utf-8"))]
    else:
        rows = []
        with Model(given.model) as model:
            for name, pairs in (
                ("gsm8k", gsm8k(given.data, given.count)),
                ("xquad", xquad(given.data, given.count)),
            ):
                answers = answer(model, name, [question for _, question in pairs])
                rows += [
                    judge(name, half, question, done)
                    for (half, question), done in zip(pairs, answers, strict=True)
                ]
        if given.keep is not None:
            given.keep.write_text(json.dumps([asdict(row) for row in rows]), "utf-8")
    show(rows)


if __name__ == "__main__":
    main()
