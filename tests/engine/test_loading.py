"""Options of loading: one table for text and speech, checked before anything is looked for."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.engine import fit
from cactus.engine.loading import load
from cactus.errors import CactusError, InvalidRequest, UnsupportedModel
from cactus.inputs.files import RegularFile
from cactus.weights.resolve import resolve

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"isa": 5}, "isa must be the name of a kernel tier, got int"),
    ({"threads": "2"}, "threads must be a whole number, got str"),
    ({"threads": True}, "threads must be a whole number, got bool"),
    ({"context": 0}, "context"),
    ({"context": "10"}, "context"),
    ({"kv": "q4"}, "kv must be 'f16' or 'int8', got 'q4'"),
    ({"activations": "f16"}, "activations must be 'int12' or 'int8', got 'f16'"),
    ({"preload": "yes"}, "preload"),
    ({"cache_bytes": -1}, "cache_bytes must be an integer from 0, got -1"),
    ({"cache_bytes": "1 GB"}, "cache_bytes"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[str(options) for options, _ in WRONG])
@pytest.mark.parametrize("kind", ["text", "speech", "absent"])
def test_a_wrong_option_is_named_for_every_kind_of_model(
    tiny_model: Path, speech_folder: Path, kind: str, options: dict[str, Any], said: str
) -> None:
    folder = {"text": tiny_model, "speech": speech_folder, "absent": Path("/nonexistent")}[kind]
    with pytest.raises(InvalidRequest, match=said):
        Model(folder, **options)
    with pytest.raises(InvalidRequest, match=said):
        load(folder, **options)


@pytest.mark.parametrize("isa", ["mmx", ""])
def test_an_unknown_tier_is_named(tiny_model: Path, speech_folder: Path, isa: str) -> None:
    for folder in (tiny_model, speech_folder):
        if isa:
            with pytest.raises(CactusError, match=isa):
                Model(folder, isa=isa)


def test_a_speech_model_has_no_context_to_choose(speech_folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="context: a speech model has windows of 30 seconds"):
        Model(speech_folder, context=100)


def test_a_speech_model_has_no_conversations_to_remember(speech_folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="cache_bytes: a speech model"):
        Model(speech_folder, cache_bytes=0)


def test_a_quarter_of_the_free_memory_is_for_conversations(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.engine.loading.available_bytes", lambda: 4000)
    with Model(tiny_model) as model:
        assert model._engine.cache_bytes == 1000
    with Model(tiny_model, cache_bytes=5) as model:
        assert model._engine.cache_bytes == 5


def test_the_pages_of_both_kinds_are_asked_for_ahead(
    tiny_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(fit, "_read_ahead", asked.append)
    for folder in (tiny_model, speech_folder):
        Model(folder).close()
    assert asked == [folder / "model.safetensors" for folder in (tiny_model, speech_folder)]


def test_a_model_from_a_gguf_file_has_the_files_name(
    starter_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copy(starter_gguf, tmp_path / "ok.gguf")
    with Model(tmp_path / "ok.gguf", context=64) as model:
        assert model.name == "ok" and repr(model).startswith("<Model ok (llama")
        with pytest.raises(UnsupportedModel, match=r"^ok \(llama\) cannot transcribe"):
            model.transcribe(bytes(1000), sample_rate=16000)
    folder = resolve(tmp_path / "ok.gguf")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CactusError, match=r"^ok: tokenizer\.json"):
        Model(tmp_path / "ok.gguf")


def test_a_model_of_the_current_folder_has_its_name(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model)
    with Model(".") as model:
        assert model.name == "tiny"


@pytest.mark.parametrize(
    "name", ["config.json", "chat_template.jinja", "generation_config.json", "tokenizer.json"]
)
def test_a_file_that_cannot_be_read_for_once_is_named(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the disk fails, nothing is said of what the file would have in it.

    What is loaded can do all that it can, and does not stay without what was not read.
    """
    folder = Path(shutil.copytree(tiny_model, tmp_path / "tiny"))
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    (folder / "tokenizer.bin").unlink(missing_ok=True)
    with Model(tiny_model) as model:
        said = model.chat("Hello", max_tokens=4, temperature=0).text
    read, seen = RegularFile._read_into, [0]

    def fails(file: RegularFile, piece: memoryview, offset: int) -> int:
        if file.path.name == name:
            seen[0] += 1
            if seen[0] == late:
                raise OSError(errno.EIO, "Input/output error")
        return read(file, piece, offset)

    monkeypatch.setattr(RegularFile, "_read_into", fails)
    told = []
    for late in range(1, 100):
        seen[0] = 0
        try:
            (folder / "tokenizer.bin").unlink(missing_ok=True)
            model = Model(folder)
        except CactusError as error:
            told.append(f"{type(error).__name__}: {error}")
        else:
            with model:
                assert model.chat("Hello", max_tokens=4, temperature=0).text == said
                model.chat("Hello", max_tokens=1)  # with the temperature that the folder names
        if seen[0] < late:
            break
    assert told
    assert {f"{name}: cannot be read at byte 0: " in each for each in told} == {True}
