"""``cactus calibrate``: learn from questions with answers what a model's confidence is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_chat
from cactus.cli.options import json_option, threads_option
from cactus.cli.questions import (
    Asking,
    judge_option,
    max_tokens_option,
    samples_option,
    self_check_option,
)
from cactus.cli.text import printable
from cactus.errors import InvalidRequest

if TYPE_CHECKING:
    from cactus.confidence.report import Report

UNCALIBRATED = "uncalibrated"

ASSESSED = ("agreement", "self_check")
"""Scores for which the model is asked once more."""


@click.command("calibrate", short_help="Make a model's confidence a probability.")
@click.argument("model", shell_complete=complete_chat)
@click.argument(
    "questions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=False,
)
@judge_option
@max_tokens_option
@samples_option
@self_check_option
@click.option("--remove", is_flag=True, help="Delete the model's calibration instead.")
@threads_option
@json_option
def command(
    model: str,
    questions: Path | None,
    judge: Any,
    max_tokens: int,
    samples: int,
    self_check: bool,
    remove: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Ask MODEL the QUESTIONS, and learn how probable it is that its answers are right.

    QUESTIONS has a JSON object on each line: "question" (or "messages"), and "answer" or "answers".
    50 are needed, 500 are better; they should be like those that the model will be asked.

    The calibration is stored in the model's folder as calibration.json. From then on `confidence`
    is the probability that it gives. The figures that are printed are honest: each answer is judged
    by what was learned from others.

    With --samples or --self-check two things are learned: what the answer alone says, and, for
    `Model.assess`, what is said by these as well.
    """
    from cactus.cli.models import find_or_fetch
    from cactus.confidence.store import remove_calibration
    from cactus.weights.locate import name_of

    if remove == (questions is not None):
        raise click.UsageError("Give either QUESTIONS or --remove.")
    folder = find_or_fetch(model, ability="chat")
    if questions is None:
        there = remove_calibration(folder)
        click.echo(f"{printable(name_of(folder))}: {'removed' if there else 'there is none'}")
        return
    asking = Asking(max_tokens, threads, samples, self_check)
    told = _calibrate(folder, questions, judge, asking)
    click.echo(json.dumps(told) if as_json else _as_text(told))


def _calibrate(folder: Path, file: Path, judge: Any, asking: Asking) -> dict[str, Any]:
    from cactus.confidence.calibration import CUT, Calibration, features
    from cactus.confidence.fit import LEAST, check_enough, cross_fitted, fit
    from cactus.confidence.questions import read_questions
    from cactus.confidence.report import report
    from cactus.confidence.store import check_writable, write_calibration
    from cactus.weights.locate import name_of

    questions = read_questions(file, judge)
    # Before minutes of work.
    if len(questions) < LEAST:
        raise InvalidRequest(f"{file}: {len(questions)} questions, expected at least {LEAST}")
    check_writable(folder)
    answers = asking.ask(folder, questions)
    # An answer without text has no scores: it is never right, and nothing is to be learned of it.
    judged = [
        (features(answer.scores, answer.finish_reason in CUT), question.is_right(answer.text))
        for question, answer in zip(questions, answers, strict=True)
        if answer.scores is not None and answer.text.strip()
    ]
    given, right = [each for each, _ in judged], [each for _, each in judged]
    check_enough(right)
    plain = [{name: each[name] for name in each if name not in ASSESSED} for each in given]
    told = {UNCALIBRATED: report([each["entropy"] for each in given], right)}
    told["calibrated"] = report(cross_fitted(plain, right), right)
    fits = [fit(plain, right)]
    if given[0].keys() != plain[0].keys():
        told["assessed"] = report(cross_fitted(given, right), right)
        fits.insert(0, fit(given, right))
    calibration = Calibration(tuple(fits), len(right), sum(right) / len(right))
    path = write_calibration(folder, calibration)
    return {
        "model": name_of(folder),
        "questions": len(right),
        "right": calibration.right,
        "without_text": len(questions) - len(right),
        **{name: _figures(found) for name, found in told.items()},
        "path": str(path),
    }


def _figures(found: Report) -> dict[str, float | None]:
    return {"auroc": found.auroc, "ece": found.ece, "brier": found.brier}


def _as_text(told: dict[str, Any]) -> str:
    empty = told["without_text"]
    lines = [
        f"{printable(told['model'])}: {told['questions']} answers, {told['right']:.0%} right"
        + (f"; {empty} without text left out" if empty else ""),
        "",
        f"{'':<16}{'AUROC':>8}{'ECE':>8}{'Brier':>8}",
    ]
    lines += [
        f"{name:<16}" + "".join(f"{told[name][each]:>8.3f}" for each in ("auroc", "ece", "brier"))
        for name in (UNCALIBRATED, "calibrated", "assessed")
        if name in told
    ]
    return "\n".join([*lines, "", f"stored in {printable(told['path'])}"])
