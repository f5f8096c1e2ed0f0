"""Calibration: the model reads a text while it is converted, and loses less by it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.cli.main import run_cli
from cactus.errors import InvalidRequest, ModelFormatError
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.models.base import load_architecture
from cactus.tokenizer import Tokenizer
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors, write_safetensors
from cactus.weights.rounding import calibrate
from tests.conftest import write_tiny_checkpoint

TEXT = (Path(__file__).parents[2] / "golden" / "text.txt").read_text()[:400]
"""Held out: not the text that calibrates."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_tiny_checkpoint(folder)
    return folder


def rewrite(folder: Path, name: str, change: Any) -> None:
    """Put `change(values)` in the place of a tensor of a checkpoint."""
    path = folder / "model.safetensors"
    file = read_safetensors(path)
    tensors = {
        key: file.read(key).view(np.float32).reshape(info.shape).copy()
        for key, info in file.tensors.items()
    }
    file.close()
    tensors[name] = change(tensors[name])
    path.unlink()
    write_safetensors(path, tensors)


def logits(folder: Path) -> Any:
    ids = Tokenizer.load(folder).encode(TEXT)
    with WeightsFolder.open(folder) as weights:
        graph = load_architecture(weights.config).build()
        tensors = {name: weights.dequantize(name) for name in graph.weights}
    program = ReferenceProgram(graph, tensors)
    got = program.step([Row(program.session(), ids, "all")], want_logits=True)
    return np.stack([output.logits for output in got])


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_whole_model_loses_less(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "f32", "FP32")
    report = convert(checkpoint, tmp_path / "with", "INT4")
    plain = convert(checkpoint, tmp_path / "without", "INT4", calibration=None)
    exact = logits(tmp_path / "f32")
    distance = [np.linalg.norm(logits(tmp_path / name) - exact) for name in ("with", "without")]
    assert distance[0] < 0.9 * distance[1]
    assert {t.name: t.dtype for t in report.tensors} == {t.name: t.dtype for t in plain.tensors}
    assert report.nbytes == plain.nbytes
    assert plain.worst_output is None
    for tensor in report.tensors:
        measured = tensor.dtype == "q4_64"
        assert (tensor.output_rms is not None) == measured
        assert not measured or 0 < (tensor.output_rms or 0) < tensor.relative_rms < 0.2


def test_the_same_bytes_for_any_number_of_threads(checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from cactus.weights.convert import convert;"
        "convert(sys.argv[1], sys.argv[2], sys.argv[3])"
    )
    for precision in ("INT4", "INT8"):
        made = []
        for threads, blas in (("1", "1"), ("2", "1"), ("2", "2")):
            target = tmp_path / f"{precision}-{threads}-{blas}"
            settings = {"CACTUS_THREADS": threads, "OPENBLAS_NUM_THREADS": blas}
            subprocess.run(
                [sys.executable, "-c", code, str(checkpoint), str(target), precision],
                env=os.environ | settings,
                check=True,
            )
            made.append(digest(target))
        assert len(set(made)) == 1


def test_another_text_makes_other_weights(checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcabc" * 300)
    convert(checkpoint, tmp_path / "own", "INT4")
    convert(checkpoint, tmp_path / "other", "INT4", calibration=text)
    convert(checkpoint, tmp_path / "again", "INT4", calibration=text)
    assert digest(tmp_path / "own") != digest(tmp_path / "other") == digest(tmp_path / "again")


def test_what_is_not_searched_for_is_as_without(checkpoint: Path, tmp_path: Path) -> None:
    """INT8 reads no text; neither do embedding and vectors of INT4."""
    convert(checkpoint, tmp_path / "a", "INT8")
    convert(checkpoint, tmp_path / "b", "INT8", calibration=None)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    convert(checkpoint, tmp_path / "c", "INT4")
    with WeightsFolder.open(tmp_path / "a") as wide, WeightsFolder.open(tmp_path / "c") as narrow:
        for name in ("model.embed_tokens.weight", "model.norm.weight"):
            np.testing.assert_array_equal(wide.dequantize(name), narrow.dequantize(name))


def test_bits_are_spent_where_they_help(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "f32", "FP32")
    exact = logits(tmp_path / "f32")
    least = convert(checkpoint, tmp_path / "least", "INT4")
    widest = convert(checkpoint, tmp_path / "widest", "INT8")
    distances = [np.linalg.norm(logits(tmp_path / "least") - exact)]
    for bits in (0.7, 0.3):
        wanted = bits * least.bits_per_weight + (1 - bits) * widest.bits_per_weight
        report = convert(checkpoint, tmp_path / "some", "INT4", bits=wanted)
        assert least.bits_per_weight < report.bits_per_weight <= wanted
        assert report.precision == "INT4"
        dtypes = {tensor.name: tensor.dtype for tensor in report.tensors}
        for layer in ("model.layers.0", "model.layers.1"):
            # What is merged into one multiplication needs groups of one size.
            assert len({dtypes[f"{layer}.self_attn.{x}_proj.weight"] for x in "qkv"}) == 1
            assert len({dtypes[f"{layer}.mlp.{x}_proj.weight"] for x in ("gate", "up")}) == 1
        distances.append(np.linalg.norm(logits(tmp_path / "some") - exact))
    assert distances == sorted(distances, reverse=True)
    convert(checkpoint, tmp_path / "none", "INT4", bits=4.5)
    assert digest(tmp_path / "none") == digest(tmp_path / "least")
    convert(checkpoint, tmp_path / "all", "INT4", bits=16)
    with WeightsFolder.open(tmp_path / "all") as folder:
        assert {t.dtype for t in folder.tensors.values()} == {"q8_64", "f32"}


def test_stages_end_where_one_value_is_alive(tiny_model: Path) -> None:
    with WeightsFolder.open(tiny_model) as weights:
        graph = load_architecture(weights.config).build()
    stages = calibrate.stages(graph)
    assert [node for stage in stages for node in stage] == list(graph.nodes)
    for i, stage in enumerate(stages[:-1]):
        later = [node for rest in stages[i + 1 :] for node in rest]
        read = {source for node in later for source in node.inputs} - set(later)
        assert read == {stage[-1]}
    assert len(stages) >= 1 + 2 * 2  # the embedding, and attention and MLP of two layers


def test_sequences() -> None:
    ids = list(range(10_000))
    parts = calibrate.cut(ids, None, 4096)
    assert np.concatenate(parts).tolist() == ids[: calibrate.TOKENS]
    assert {len(part) for part in parts} == {calibrate.SEQUENCE}
    assert [part.tolist() for part in calibrate.cut(ids[:5], 7, 3)] == [
        [7, 0, 1],
        [7, 2, 3],
        [7, 4],
    ]
    assert [part.tolist() for part in calibrate.cut([4, 5], 7, 1)] == [[7, 4], [7, 5]]
    assert len(calibrate.cut(list(range(8192)), None, 1)) == calibrate.SEQUENCES


@pytest.mark.parametrize("scale", [3e38, 4e17], ids=["squares", "sums of sequences"])
def test_activations_that_overflow_leave_plain_rounding(
    scale: float, checkpoint: Path, tmp_path: Path
) -> None:
    rewrite(checkpoint, "model.layers.0.input_layernorm.weight", lambda x: x * np.float32(scale))
    report = convert(checkpoint, tmp_path / "out", "INT4")
    plain = convert(checkpoint, tmp_path / "plain", "INT4", calibration=None)
    errors = {tensor.name: tensor.error for tensor in plain.tensors}
    first = next(t for t in report.tensors if t.name == "model.layers.0.self_attn.q_proj.weight")
    assert first.error == pytest.approx(errors[first.name], rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_weights_are_named(checkpoint: Path, tmp_path: Path, value: float) -> None:
    def damage(values: Any) -> Any:
        values[3, 4] = value
        return values

    rewrite(checkpoint, "model.layers.1.mlp.up_proj.weight", damage)
    with pytest.raises(ModelFormatError, match=r"layers.1.mlp.up_proj.weight' holds 1 values"):
        convert(checkpoint, tmp_path / "out", "INT4")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff", "byte 0 is not UTF-8"), (b"\n", "the file is empty")]
)
def test_bad_texts(checkpoint: Path, tmp_path: Path, content: bytes, said: str) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    with pytest.raises(InvalidRequest, match=said):
        convert(checkpoint, tmp_path / "out", "INT4", calibration=text)
    assert not (tmp_path / "out").exists()


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    text = tmp_path / "text.txt"
    text.write_text("some words " * 50)

    def run(*options: str) -> tuple[int, str]:
        shutil.rmtree(target, ignore_errors=True)
        status = run_cli(["convert", str(checkpoint), str(target), *options])
        return status, capsys.readouterr().err

    status, err = run("--precision", "int4", "--calibration", str(text))
    assert status == 0 and "bits a weight" in err and "loss: " in err
    assert "make of the calibration text" in err
    status, err = run("--precision", "INT4", "--no-calibration")
    assert status == 0 and "loss: " in err and "calibration text" not in err
    assert json.loads((target / "config.json").read_text())["cactus"]["precision"] == "INT4"
    for options in (
        ("--precision", "INT8", "--calibration", str(text)),
        ("--precision", "INT4", "--calibration", str(text), "--no-calibration"),
        ("--precision", "INT4", "--calibration", str(tmp_path / "missing")),
        ("--precision", "INT8", "--bits", "6"),
        ("--precision", "INT4", "--bits", "6", "--no-calibration"),
        ("--precision", "INT4", "--bits", "4"),
    ):
        assert run(*options)[0] == 2
