"""`cactus calibrate` and `cactus eval --confidence`, on the tiny model, which babbles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cactus import Model
from cactus.confidence.store import FILE, read_calibration

Run = Callable[..., tuple[int, str, str]]
COUNT, TOKENS = 60, 8


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "tiny")


@pytest.fixture(scope="module")
def questions(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions that the model answers rightly where its babble is likelier than usual."""
    asked = [f"Question {n}?" for n in range(COUNT)]
    with Model(tiny_model) as model:
        answers = model.chat_many(asked, max_tokens=TOKENS)
    sure = [answer.scores.logprob_mean if answer.scores else -99.0 for answer in answers]
    middle = sorted(sure)[COUNT // 2]
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [
        {"question": question, "answer": answer.text if likely >= middle else "something else"}
        for question, answer, likely in zip(asked, answers, sure, strict=True)
        if any(c.isalnum() for c in answer.text)
    ]
    assert len(rows) > 50
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_calibration_is_learned_stored_applied_and_removed(
    run: Run, folder: Path, questions: Path, tmp_path: Path
) -> None:
    options = ("--max-tokens", TOKENS)
    status, out, err = run("calibrate", folder, questions, *options, "--json")
    assert status == 0 and "asking tiny" in err
    told = json.loads(out)
    assert told["path"] == str(folder / FILE) and 0.3 < told["right"] < 0.7
    assert told["calibrated"]["auroc"] > 0.8, "what makes an answer right here can be learned"
    calibration = read_calibration(folder)
    assert calibration is not None and calibration.questions == told["questions"]
    assert "assessed" not in told and len(calibration.fits) == 1

    plot = tmp_path / "plot.svg"
    status, out, _ = run(
        "eval", folder, "--confidence", questions, *options, "--plot", plot, "--json"
    )
    assert status == 0
    found = json.loads(out)
    assert found["right"] == pytest.approx(told["right"], abs=0.02)
    assert found["calibrated"]["auroc"] > 0.8 and found["calibrated"]["ece"] < 0.3
    assert found["uncalibrated"]["ece"] > 0.3, "a random model is sure of nothing"
    assert sum(each["count"] for each in found["calibrated"]["bins"]) == found["answers"]
    shares = {each["threshold"]: each for each in found["calibrated"]["shares"]}
    assert shares[0.5]["right"] > found["right"], "what is kept is better than all"
    assert len(list(ElementTree.parse(plot).iter())) > 20

    status, out, _ = run("eval", folder, "--confidence", questions, *options)
    assert status == 0
    for text in ("AUROC", "calibrated confidence", "threshold", "0.9 "):
        assert text in out

    assert run("calibrate", folder, "--remove")[1] == "tiny: removed\n"
    assert run("calibrate", folder, "--remove")[1] == "tiny: there is none\n"
    status, out, _ = run("eval", folder, "--confidence", questions, *options)
    assert status == 0 and "'cactus calibrate' makes one" in out


def test_more_can_be_asked_and_is_learned_beside(run: Run, folder: Path, questions: Path) -> None:
    options = ("--max-tokens", TOKENS, "--samples", 2, "--self-check")
    status, out, err = run("calibrate", folder, questions, *options)
    assert status == 0 and "assessing tiny" in err
    for name in ("uncalibrated", "calibrated", "assessed"):
        assert name in out
    calibration = read_calibration(folder)
    assert calibration is not None
    assert [{"agreement", "self_check"} <= fit.weights.keys() for fit in calibration.fits] == [
        True,
        False,
    ]
    with Model(folder) as model:
        answer = model.chat("Question 1?", max_tokens=TOKENS)
        sure = model.assess("Question 1?", answer, samples=2, self_check=True, max_tokens=TOKENS)
    assert sure.scores is not None and answer.scores is not None
    assert answer.confidence == calibration.probability(answer.scores, cut=True)
    assert sure.confidence == calibration.probability(sure.scores, cut=True)
    assert sure.scores.agreement is not None and answer.scores.agreement is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate", "MODEL"), "Give either QUESTIONS or --remove"),
        (("calibrate", "MODEL", "FILE", "--remove"), "Give either QUESTIONS or --remove"),
        (("eval", "MODEL"), "Give one of --perplexity and --confidence"),
        (("eval", "MODEL", "--confidence", "FILE", "--stride", "5"), "--stride is an option of"),
        (("eval", "MODEL", "--perplexity", "FILE", "--judge", "exact"), "--judge is an option of"),
        (("calibrate", "MODEL", "FEW"), "few: 49 questions, expected at least 50"),
        (("calibrate", "MODEL", "BAD"), "line 1: expected valid JSON"),
    ],
)
def test_mistakes_are_named(
    run: Run, folder: Path, questions: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    few, bad = tmp_path / "few", tmp_path / "bad"
    few.write_text('{"question": "q", "answer": "x"}\n' * 49)
    bad.write_text("?")
    files = {"MODEL": folder, "FILE": questions, "FEW": few, "BAD": bad}
    status, _, err = run(*(files.get(each, each) for each in arguments))
    assert status != 0 and said in err and "asking" not in err
    assert not (folder / FILE).exists()
