"""The kept plan: taken only for what it was made from, and never needed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model, Transcription
from cactus.engine import loading as engine
from cactus.engine import plan_cache, programs
from cactus.engine.programs import TOKENS, Programs
from cactus.errors import CactusError, InvalidRequest, ModelFormatError
from cactus.speech.parts import ENCODER, scores_of
from tests.conftest import converter_digest

PLANS = (TOKENS.file, ENCODER.file, scores_of([]).file)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder of its own, without a plan."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (copy / TOKENS.file).unlink(missing_ok=True)
    return copy


def plan_of(folder: Path, context: int | None = None) -> bytes:
    """What a load of the folder runs."""
    loaded = engine.load(folder, threads=1, context=context)
    try:
        assert loaded.architecture == "llama"
        return loaded.plan
    finally:
        loaded.close()


def forbid_making(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the plan was made anew")

    monkeypatch.setattr(Programs, "_make", fail)


def test_a_second_load_takes_the_kept_plan(folder: Path, monkeypatch) -> None:
    made = plan_of(folder)
    assert (folder / TOKENS.file).is_file()
    forbid_making(monkeypatch)
    assert plan_of(folder) == made


def test_a_smaller_context_uses_the_same_file(folder: Path, monkeypatch) -> None:
    small = plan_of(folder, 100)
    (folder / TOKENS.file).unlink()
    whole = plan_of(folder)
    assert small != whole and len(small) == len(whole)
    forbid_making(monkeypatch)
    assert plan_of(folder, 100) == small


def test_a_cache_in_f16_uses_the_same_file(folder: Path, monkeypatch) -> None:
    loaded = engine.load(folder, threads=1, kv="f16")
    loaded.close()
    kept = (folder / TOKENS.file).read_bytes()
    forbid_making(monkeypatch)
    assert plan_of(folder) != loaded.plan
    again = engine.load(folder, threads=1, kv="f16")
    again.close()
    assert again.plan == loaded.plan and (folder / TOKENS.file).read_bytes() == kept


def test_another_configuration_makes_another_plan(folder: Path) -> None:
    before = plan_of(folder)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_theta": 5e5}))
    after = plan_of(folder)
    assert after != before
    (folder / TOKENS.file).unlink()
    assert plan_of(folder) == after


def test_errors_of_the_folder_are_those_of_a_first_load(folder: Path) -> None:
    plan_of(folder)
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ModelFormatError, match=r"chat_template\.jinja: not UTF-8"):
        plan_of(folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(ModelFormatError, match=r"no config\.json"):
        plan_of(folder)


def test_tensors_that_have_moved_are_noticed(folder: Path) -> None:
    plan_of(folder)
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size - 64)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        plan_of(folder)


def test_the_code_that_makes_plans_is_in_the_key(tmp_path: Path, monkeypatch) -> None:
    package = Path(plan_cache.__file__).parents[1]
    for room in ("engine", "graph", "inputs", "models", "nn", "weights"):
        shutil.copytree(package / room, tmp_path / room)
    for parts in package.glob("*/parts.py"):
        (tmp_path / parts.parent.name).mkdir()
        shutil.copy(parts, tmp_path / parts.parent.name)
    seen = {plan_cache.code_digest(tmp_path)}
    assert seen == {plan_cache.code_digest(package)}
    names = ("graph/passes.py", "nn/rope.py", "models/llama.py", "weights/format/layout.py")
    names += ("weights/sources/gguf/families/rope.py", "inputs/fields.py")
    for name in (*names, "engine/loading.py", "speech/parts.py"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
        seen.add(plan_cache.code_digest(tmp_path))
    assert len(seen) == 9
    monkeypatch.setattr(sys, "version", "4.0")
    assert plan_cache.code_digest(tmp_path) not in seen
    shutil.rmtree(tmp_path / "nn")
    assert plan_cache.code_digest(tmp_path) is None


def test_conversions_that_tests_share_are_made_again_when_their_code_changes(
    tmp_path: Path,
) -> None:
    package = Path(plan_cache.__file__).parents[1]
    for room in ("graph", "inputs", "models", "nn", "tokenizer", "weights"):
        shutil.copytree(package / room, tmp_path / room)
    seen = {converter_digest(tmp_path)}
    assert seen == {converter_digest()}
    names = ("weights/convert.py", "weights/sources/gguf/families/base.py", "inputs/fields.py")
    names += ("weights/rounding/calibration.txt", "tokenizer/gguf.py")
    for name in (*names, "models/llama.py", "graph/reference_ops.py"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
        seen.add(converter_digest(tmp_path))
    assert len(seen) == 8


def test_without_sources_no_plan_is_kept(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(plan_cache, "_CODE_DIGEST", None)
    plan_of(folder)
    assert not (folder / TOKENS.file).exists()


def test_code_that_was_changed_under_a_running_process_keeps_no_plan(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(plan_cache, "_PACKAGE", tmp_path)
    plan_of(folder)
    assert not (folder / TOKENS.file).exists()


def test_the_models_files_are_in_the_key(folder: Path) -> None:
    seen = {plan_cache.key_of(folder)}
    weights, config = folder / "model.safetensors", folder / "config.json"
    data = weights.read_bytes()
    config.write_bytes(config.read_bytes() + b" ")
    seen.add(plan_cache.key_of(folder))
    (folder / "chat_template.jinja").write_text("x")
    seen.add(plan_cache.key_of(folder))
    for other in (data[:12] + b"\0" + data[13:], data[:-64], data + b"\0"):
        weights.write_bytes(other)
        seen.add(plan_cache.key_of(folder))
    assert None not in seen and len(seen) == 6
    weights.write_bytes(b"\xff" * 8)  # a header longer than the file
    assert plan_cache.key_of(folder) is None
    weights.unlink()
    assert plan_cache.key_of(folder) is None


@pytest.mark.fault("F69")
def test_a_damaged_file_is_noticed_and_replaced(folder: Path) -> None:
    made = plan_of(folder)
    path = folder / TOKENS.file
    good = path.read_bytes()
    key = plan_cache.key_of(folder)
    assert key is not None and plan_cache.read_plan(folder, key, TOKENS.file) is not None
    source = random.Random(1)
    damaged = [good[:n] for n in (0, 1, 71, 72, 103, 104, 120, len(good) - 1)] + [good + b"\0"]
    for _ in range(200):
        bad = bytearray(good)
        bad[source.randrange(len(bad))] ^= 1 << source.randrange(8)
        damaged.append(bytes(bad))
    for bad in damaged:
        path.write_bytes(bad)
        assert plan_cache.read_plan(folder, key, TOKENS.file) is None
    assert plan_of(folder) == made and path.read_bytes() == good


@pytest.mark.parametrize("damage", ["empty", "short", "steps", "weights"])
def test_a_kept_plan_that_does_not_load_is_made_anew(folder: Path, damage: str) -> None:
    """The file says truly what it was made from and what is in it, but that is no plan."""
    made = plan_of(folder)
    good = (folder / TOKENS.file).read_bytes()
    key = plan_cache.key_of(folder)
    assert key is not None
    kept = plan_cache.read_plan(folder, key, TOKENS.file)
    assert kept is not None
    blob = {
        "empty": b"",
        "short": kept.blob[:70],
        "steps": kept.blob[:-4],
        "weights": kept.blob[:64] + b"\xff" * 32 + kept.blob[96:],
    }[damage]
    plan_cache.write_plan(folder, key, replace(kept, blob=blob), TOKENS.file)
    assert (folder / TOKENS.file).read_bytes() != good
    loaded = engine.load(folder, threads=1, kv="int8", activations="int8")
    loaded.close()
    assert (folder / TOKENS.file).read_bytes() == good
    assert plan_of(folder) == made


def test_a_kept_plan_hides_no_error_of_the_caller(folder: Path) -> None:
    plan_of(folder)
    with pytest.raises(InvalidRequest, match="context must be at most 512"):
        plan_of(folder, 513)
    with pytest.raises(CactusError, match="mmx"):
        engine.load(folder, threads=1, isa="mmx")


def test_a_plan_of_another_architecture_is_not_taken(folder: Path) -> None:
    made = plan_of(folder)
    key = plan_cache.key_of(folder)
    assert key is not None
    kept = plan_cache.read_plan(folder, key, TOKENS.file)
    assert kept is not None
    plan_cache.write_plan(folder, key, replace(kept, architecture="qwen3"), TOKENS.file)
    assert plan_of(folder) == made
    assert plan_cache.read_plan(folder, key, TOKENS.file) == kept


def test_a_plan_that_boasts_of_its_context_gives_no_longer_one(folder: Path) -> None:
    plan_of(folder)
    key = plan_cache.key_of(folder)
    assert key is not None
    kept = plan_cache.read_plan(folder, key, TOKENS.file)
    assert kept is not None
    plan_cache.write_plan(folder, key, replace(kept, context_length=1 << 40), TOKENS.file)
    with Model(folder) as model:
        assert model.context_length == 512


@pytest.mark.parametrize("size", [20 << 30, (64 << 20) + 1])
def test_a_file_that_is_too_large_to_be_a_plan_is_made_anew(folder: Path, size: int) -> None:
    (folder / TOKENS.file).touch()
    os.truncate(folder / TOKENS.file, size)
    made = plan_of(folder)
    assert (folder / TOKENS.file).stat().st_size < 1 << 20 and plan_of(folder) == made


@pytest.fixture
def speaking(speech_folder: Path, tmp_path: Path) -> Path:
    """The tiny speech model in a folder of its own, without plans."""
    copy = Path(shutil.copytree(speech_folder, tmp_path / "speaking"))
    for name in PLANS:
        (copy / name).unlink(missing_ok=True)
    return copy


SURE: dict[str, Any] = {
    "language": "en",
    "temperature": 0.0,
    "vad": False,
    "no_speech_threshold": None,
    "word_timestamps": True,
}
"""So that a model with random weights says something, and when."""


def hear(folder: Path, sound: np.ndarray) -> Transcription:
    """What every program of a speech model has a part in."""
    with Model(folder, threads=1) as model:
        return model.transcribe(sound, **SURE)


def test_a_speech_model_keeps_its_plans_and_takes_them(speaking, sound, monkeypatch) -> None:
    first = hear(speaking, sound)
    assert all((speaking / name).is_file() for name in PLANS)
    forbid_making(monkeypatch)
    again = hear(speaking, sound)
    assert again.text == first.text and again.segments == first.segments
    Model(speaking, threads=1, kv="int8", activations="int8").close()


def test_a_program_is_made_when_it_is_first_used(speaking, sound) -> None:
    def there() -> list[bool]:
        return [(speaking / name).is_file() for name in PLANS]

    with Model(speaking, threads=1) as model:
        assert there() == [True, False, False]
        model.embed_audio(sound)
        assert there() == [True, True, False]
        model.transcribe(sound, **SURE)
        assert there() == [True, True, True]


def test_other_heads_make_another_plan_of_scores(speaking, sound) -> None:
    hear(speaking, sound)
    before = [(speaking / name).read_bytes() for name in PLANS]
    settings = speaking / "generation_config.json"
    found = json.loads(settings.read_text()) if settings.exists() else {}
    settings.write_text(json.dumps(found | {"alignment_heads": [[0, 0]]}))
    hear(speaking, sound)
    after = [(speaking / name).read_bytes() for name in PLANS]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_a_program_is_not_made_of_files_that_have_changed_since(speaking, sound) -> None:
    with Model(speaking, threads=1) as model:
        weights = speaking / "model.safetensors"
        weights.write_bytes(weights.read_bytes() + bytes(64))
        with pytest.raises(ModelFormatError, match="changed since it was loaded; load it again"):
            model.embed_audio(sound)


@pytest.mark.parametrize("name", PLANS)
def test_a_damaged_plan_of_a_speech_model_is_made_anew(speaking, sound, name: str) -> None:
    hear(speaking, sound)
    good = (speaking / name).read_bytes()
    for bad in (good[:-1], b"", good[:200] + b"x" + good[201:]):
        (speaking / name).write_bytes(bad)
        hear(speaking, sound)
        assert (speaking / name).read_bytes() == good


@pytest.mark.fault("F20")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_of_that_name_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / TOKENS.file)
    made = plan_of(folder)
    assert (folder / TOKENS.file).is_file() and plan_of(folder) == made


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    # A folder in the file's place: the one obstacle that root meets, too.
    (folder / TOKENS.file).mkdir()
    before = sorted(folder.iterdir())
    assert plan_of(folder) == plan_of(folder)
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_changes_meanwhile_keeps_no_plan(folder: Path, monkeypatch) -> None:
    keys = iter([b"a" * 32, b"b" * 32])
    monkeypatch.setattr(programs, "key_of", lambda _: next(keys))
    plan_of(folder)
    assert not (folder / TOKENS.file).exists()


def test_a_plan_that_is_kept_needs_none_of_what_makes_one(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cactus.engine.loading import load\n"
        "load(Path(sys.argv[1]), threads=1).close()\n"
        "rooms = ('cactus.nn', 'cactus.models.base', 'cactus.graph.passes', 'cactus.graph.plan')\n"
        "print([name for name in (*rooms, 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    first, second = (subprocess.check_output(command, text=True) for _ in range(2))
    assert "cactus.nn" in first and second == "[]\n"


def test_a_plan_that_cannot_be_made_is_not_kept(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(CactusError):
        plan_of(folder)
    assert not (folder / TOKENS.file).exists()
