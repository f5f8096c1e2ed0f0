"""`cactus eval`: its numbers against plain NumPy over the reference program, and bad input."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from cactus.cli import perplexity
from cactus.cli.main import run_cli
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.models.base import load_architecture
from cactus.tokenizer import Tokenizer
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder


@pytest.fixture(scope="module")
def exact(tiny_checkpoint: Path) -> Path:
    target = tiny_checkpoint.with_name("tiny-f32")
    convert(tiny_checkpoint, target, "FP32")
    return target


@pytest.fixture
def text(tmp_path: Path) -> Path:
    source = random.Random(3)
    path = tmp_path / "text.txt"
    path.write_text("".join(source.choice("abcdef gh\n") for _ in range(700)))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], text: Path):
    def call(model: Path, *arguments: str) -> tuple[int, str, str]:
        status = run_cli(["eval", str(model), "--perplexity", str(text), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def reference(folder: Path) -> ReferenceProgram:
    with WeightsFolder.open(folder) as weights:
        graph = load_architecture(weights.config).build()
        values = {name: weights.dequantize(name) for name in graph.weights}
        return ReferenceProgram(graph, values, kv_dtype="int8")


def log_probabilities(program: ReferenceProgram, ids: list[int]) -> np.ndarray:
    """ln p of the whole vocabulary after the last of `ids`, in one window, in f64."""
    (output,) = program.step([Row(program.session(), ids)], want_logits=True)
    assert output.logits is not None
    logits = output.logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def windowed(folder: Path, ids: list[int], context: int, stride: int) -> np.ndarray:
    """ln p [tokens 1..., vocabulary] token by token: each from the first window that can tell."""
    program, rows = reference(folder), []
    for token in range(1, len(ids)):
        start = next(s for s in range(0, len(ids), stride) if token < s + context)
        rows.append(log_probabilities(program, ids[start:token]))
    return np.stack(rows)


def test_numbers_are_those_of_the_reference(run, exact: Path, tiny_model: Path, text: Path) -> None:
    text.write_text(text.read_text()[:150])
    ids = Tokenizer.load(exact).encode(text.read_text())
    options = ["--context", "40", "--stride", "25"]
    status, out, _ = run(tiny_model, "--against", str(exact), *options, "--json")
    assert status == 0
    told = json.loads(out)
    own, base = (windowed(folder, ids, 40, 25) for folder in (tiny_model, exact))
    rows, targets = np.arange(len(own)), ids[1:]
    divergence = (np.exp(base) * (base - own)).sum(axis=1).mean()
    assert told["tokens"] == len(ids) - 1 == 149
    assert told["perplexity"] == pytest.approx(np.exp(-own[rows, targets].mean()), rel=2e-3)
    against = told["against"]
    assert against["perplexity"] == pytest.approx(np.exp(-base[rows, targets].mean()), rel=1e-3)
    assert against["kl_divergence"] == pytest.approx(divergence, rel=0.05)
    agreement = (own.argmax(axis=1) == base.argmax(axis=1)).mean()
    assert against["top1_agreement"] == pytest.approx(agreement, abs=2 / 149)
    spread = np.exp(-own[rows, targets].mean()) * own[rows, targets].std() / np.sqrt(149)
    assert told["standard_error"] == pytest.approx(spread, rel=1e-2)


def test_a_model_against_itself(run, tiny_model: Path) -> None:
    told = json.loads(run(tiny_model, "--against", str(tiny_model), "--json")[1])
    against = told["against"]
    assert (against["kl_divergence"], against["top1_agreement"]) == (0.0, 1.0)
    assert against["perplexity_ratio"] == 1.0


def test_steps_and_threads_do_not_change_the_numbers(
    run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads(run(tiny_model, "--json", "--threads", "2")[1])
    monkeypatch.setattr(perplexity, "LOGITS", 300 * 7)
    parts = json.loads(run(tiny_model, "--json", "--threads", "1")[1])
    assert parts["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-12)
    assert (whole["context"], whole["stride"], whole["tokens"]) == (512, 256, 699)


def test_as_text(run, tiny_model: Path, exact: Path) -> None:
    status, out, err = run(tiny_model, "--against", str(exact))
    assert status == 0 and "evaluating tiny" in err
    assert "699 tokens, context 512, stride 256" in out
    for word in ("perplexity", "KL divergence", "top-1 agreement", "tiny-f32"):
        assert word in out


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe", "byte 0 is not UTF-8"), (b" \n", "is empty"), (b"a", "1 tokens, expected at")],
)
def test_bad_texts(run, tiny_model: Path, text: Path, content: bytes, said: str) -> None:
    text.write_bytes(content)
    status, out, err = run(tiny_model)
    assert (status, out) == (1, "") and said in err and str(text) in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--context", "513"], "beyond the model's context of 512"),
        (["--context", "8", "--stride", "8"], "must be less than --context 8"),
        (["--context", "1"], "must be a whole number of 2 or more, got '1'"),
    ],
)
def test_bad_windows(run, tiny_model: Path, options: list[str], said: str) -> None:
    status, _, err = run(tiny_model, *options)
    assert status == 2 and said in err


def test_another_tokenizer_is_refused(run, tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    status, _, err = run(tiny_model, "--against", str(other))
    assert status == 1 and "different tokenizers" in err


def test_every_token_is_predicted_once() -> None:
    for count, context, stride in ((2, 2, 1), (100, 100, 50), (101, 10, 9), (57, 20, 3)):
        seen = []
        for start, known, stop in perplexity.windows(count, context, stride):
            assert start < known < stop <= min(start + context, count)
            seen += range(known, stop)
        assert seen == list(range(1, count))
