"""A language model's GGUF file with its mmproj file is the model of the checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import CactusError, InvalidRequest, UnsupportedModel
from cactus.models.vision import vision_config
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.resolve import resolve
from tests.models import vision
from tests.weights.mmproj import KINDS, write_mmproj, write_text


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, vision.Golden]:
    home = tmp_path_factory.mktemp("mmproj")
    return {name: vision.load(name, home) for name in KINDS}


@pytest.fixture
def lfm2(goldens: dict[str, vision.Golden], tmp_path: Path) -> Path:
    """The file of a language model, alone in its folder."""
    text = write_text("lfm2_vl", goldens["lfm2_vl"], tmp_path / "files")
    return text


@pytest.mark.parametrize("name", KINDS)
def test_both_files_are_the_checkpoint(
    name: str, goldens: dict[str, vision.Golden], tmp_path: Path
) -> None:
    golden = goldens[name]
    text = write_text(name, golden, tmp_path / "files")
    write_mmproj(name, golden, text.with_name("mmproj-model-F32.gguf"), swapped=name == "smolvlm")
    report = convert(text, tmp_path / "weights")
    assert report.notes == ("it sees with mmproj-model-F32.gguf",)
    with WeightsFolder.open(report.target) as weights:
        assert set(weights.tensors) == set(golden.tensors)
        for each, value in golden.tensors.items():
            assert np.array_equal(weights.dequantize(each), value), each
        found = vision_config(weights.config)
    assert found == golden.vision
    tables = vision.read_tables(report.target)
    for each, value in golden.tables.items():
        assert np.array_equal(tables[each], value)
    processor = json.loads((report.target / "preprocessor_config.json").read_text())
    assert processor["image_mean"] == [0.5, 0.5, 0.5]


def test_a_model_that_is_used_as_a_file_sees_once_the_other_file_is_there(
    lfm2: Path, goldens: dict[str, vision.Golden], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def kind() -> str:
        config = json.loads((resolve(lfm2) / "config.json").read_text())
        return str(config["model_type"])

    assert kind() == "lfm2"
    eyes = write_mmproj("lfm2_vl", goldens["lfm2_vl"], lfm2.with_name("mmproj-F16.gguf"))
    assert kind() == "lfm2_vl"
    eyes.unlink()
    assert kind() == "lfm2"


def test_of_several_files_the_one_that_fits_and_is_called_alike_is_taken(
    lfm2: Path, goldens: dict[str, vision.Golden], tmp_path: Path
) -> None:
    golden = goldens["lfm2_vl"]
    write_mmproj("lfm2_vl", golden, lfm2.with_name("mmproj-model-wide-F16.gguf"), width=128)
    write_mmproj("smolvlm", goldens["smolvlm"], lfm2.with_name("mmproj-model-F32.gguf"))
    assert convert(lfm2, tmp_path / "weights").notes == ()
    write_mmproj("lfm2_vl", golden, lfm2.with_name("mmproj-another-F32.gguf"))
    assert convert(lfm2, tmp_path / "weights").notes == ("it sees with mmproj-another-F32.gguf",)
    for kind in ("Q8_0", "F16"):
        write_mmproj("lfm2_vl", golden, lfm2.with_name(f"mmproj-model-{kind}.gguf"))
    assert convert(lfm2, tmp_path / "weights").notes == ("it sees with mmproj-model-F16.gguf",)
    elsewhere = shutil.copy(lfm2.with_name("mmproj-model-Q8_0.gguf"), tmp_path / "eyes.gguf")
    named = convert(lfm2, tmp_path / "weights", mmproj=elsewhere)
    assert named.notes == ("it sees with eyes.gguf",)


@pytest.mark.fault("F19")
def test_a_file_that_does_not_fit_is_refused_where_it_is_named(
    lfm2: Path, goldens: dict[str, vision.Golden], tmp_path: Path
) -> None:
    wide = write_mmproj("lfm2_vl", goldens["lfm2_vl"], tmp_path / "wide.gguf", width=128)
    other = write_mmproj("smolvlm", goldens["smolvlm"], tmp_path / "other.gguf")
    for mmproj, said in (
        (wide, "projection_dim is 128, but the language model's width is 64"),
        (other, "'idefics3' belongs to a llama model, not to one of lfm2"),
        (lfm2, "not an mmproj file"),
    ):
        with pytest.raises(UnsupportedModel, match=f"{mmproj.name}: .*{said}"):
            convert(lfm2, tmp_path / "weights", mmproj=mmproj)
    with pytest.raises(InvalidRequest, match="is not a GGUF file"):
        convert(goldens["lfm2_vl"].folder, tmp_path / "weights", mmproj=wide)
    with pytest.raises(UnsupportedModel, match="give the file of its language model"):
        convert(wide, tmp_path / "weights")
    with pytest.raises(CactusError, match="no such file"):
        convert(lfm2, tmp_path / "weights", mmproj=tmp_path / "missing.gguf")
