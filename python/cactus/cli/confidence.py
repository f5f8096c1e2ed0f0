"""The runs and tables behind ``cactus eval --confidence``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cactus.cli.questions import Asking
from cactus.cli.text import printable

ENTROPY, CALIBRATED = "uncalibrated", "calibrated"


def evaluate_confidence(
    folder: Path, file: Path, judge: Any, asking: Asking, plot: Path | None
) -> dict[str, Any]:
    """What the confidence of a model's answers to the questions of a file is worth, as JSON.

    With `plot` an SVG file is written there. Raises InvalidRequest for a file of questions that is
    damaged, ModelFormatError for a calibration that is, OSError where there is no place for `plot`.
    """
    from cactus.confidence.entropy import lowest
    from cactus.confidence.questions import read_questions
    from cactus.confidence.report import report
    from cactus.confidence.store import read_calibration
    from cactus.weights.locate import name_of

    questions = read_questions(file, judge)
    calibration = read_calibration(folder)
    answers = asking.ask(folder, questions)
    right = [q.is_right(a.text) for q, a in zip(questions, answers, strict=True)]
    reports = {
        ENTROPY: report(
            [answer.scores.entropy if answer.scores else 0.0 for answer in answers],
            right,
            [lowest(answer.confidences) for answer in answers],
        )
    }
    if calibration is not None:
        reports[CALIBRATED] = report([answer.confidence for answer in answers], right)
    if plot is not None:
        from cactus.confidence.plot import draw

        plot.write_text(draw(f"{name_of(folder)} on {file.name}", reports), "utf-8")
    return {
        "model": name_of(folder),
        "questions": file.name,
        "answers": len(right),
        "right": sum(right) / len(right),
        **{name: asdict(found) for name, found in reports.items()},
    }


def as_text(told: dict[str, Any]) -> str:
    """The figures as tables for people."""
    names = [name for name in (ENTROPY, CALIBRATED) if name in told]
    lines = [
        f"{printable(told['model'])} on {printable(told['questions'])}: {told['answers']} answers, "
        f"{told['right']:.1%} right",
        "",
        f"{'':<14}{'AUROC':>8}{'ECE':>8}{'Brier':>8}",
    ]
    lines += [
        f"{name:<14}" + "".join(_number(told[name][each]) for each in ("auroc", "ece", "brier"))
        for name in names
    ]
    for name in names:
        lines += ["", f"{name + ' confidence':<26}{'answers':>9}{'mean':>8}{'right':>8}"]
        lines += [
            f"  {each['low']:.1f} to {each['high']:.1f}{each['count']:>23}"
            f"{each['confidence']:>8.2f}{each['right']:>8.1%}"
            for each in told[name]["bins"]
        ]
    heads = "".join(f"{name + ': off':>20}{'rest right':>12}" for name in names)
    lines += ["", f"{'threshold':<10}{heads}"]
    for row in zip(*(told[name]["shares"] for name in names), strict=True):
        cells = "".join(f"{each['handed_off']:>20.1%}{_share(each['right'])}" for each in row)
        lines.append(f"{row[0]['threshold']:<10.1f}{cells}")
    if CALIBRATED not in told:
        lines += ["", "There is no calibration: 'cactus calibrate' makes one."]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.3f}"


def _share(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>12.1%}"
