from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from cactus import Model
from cactus.confidence.calibration import Calibration, Fit
from cactus.confidence.store import (
    FILE,
    check_writable,
    find_calibration,
    read_calibration,
    remove_calibration,
    write_calibration,
)
from cactus.errors import CactusError, ModelFormatError

LEARNED = Calibration((Fit({"entropy": 1.0}, -1.0),), 60, 0.5)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "tiny")


def test_a_stored_calibration_is_that_of_the_model(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert read_calibration(folder) is None
    assert write_calibration(folder, LEARNED) == folder / FILE
    assert read_calibration(folder) == LEARNED
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, FILE])
    assert remove_calibration(folder) and not remove_calibration(folder)
    assert read_calibration(folder) is None


def test_it_changes_confidence_and_nothing_else(folder: Path) -> None:
    with Model(folder) as model:
        plain = model.chat("Hello", max_tokens=6)
    write_calibration(folder, LEARNED)
    with Model(folder) as model:
        done = model.chat("Hello", max_tokens=6)
    assert plain.scores is not None and done.scores == plain.scores
    assert plain.confidence == plain.scores.entropy
    assert done.confidence == LEARNED.probability(plain.scores, cut=True) != plain.confidence
    assert (done.tokens, done.logprobs, done.confidences) == (
        plain.tokens,
        plain.logprobs,
        plain.confidences,
    )


def test_a_calibration_of_other_weights_is_refused(folder: Path) -> None:
    write_calibration(folder, LEARNED)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelFormatError, match="made for other weights"):
        read_calibration(folder)


def test_a_calibration_of_another_precision_is_refused(folder: Path) -> None:
    write_calibration(folder, LEARNED)
    config = json.loads((folder / "config.json").read_text())
    config["cactus"]["precision"] = "INT3"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match="made for other weights"):
        read_calibration(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_model_with_a_calibration_that_cannot_be_used_answers_without_it(
    folder: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / FILE).write_text(text)
    with pytest.raises(ModelFormatError, match=r"calibration\.json"):
        read_calibration(folder)
    with caplog.at_level(logging.WARNING, "cactus"):
        assert find_calibration(folder) is None
    assert "confidence is not calibrated" in caplog.text and FILE in caplog.text
    with Model(folder) as model:
        done = model.chat("Hello", max_tokens=2)
    assert done.scores is not None and done.confidence == done.scores.entropy


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(CactusError, match="copy the model's folder"):
        check_writable(folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CactusError, match="Permission denied; copy the model's folder"):
        write_calibration(folder, LEARNED)
    assert not list(folder.glob("*.part")) and not list(folder.glob(".*.part"))
    assert not (folder / FILE).exists()
