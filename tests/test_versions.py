"""Upgrade and downgrade: files of older versions are read or made again, newer ones are refused.

tests/versions/ has what each version wrote (tools/check_versions.py makes it with that version's
code): weights folders with plans, and of those that have them an index, a job that was ended in its
middle, and a saved chat.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cactus import Corpus, Model
from cactus.batch import run
from cactus.cli.conversation import Conversation
from cactus.cloud import store as cloud
from cactus.cloud.secret import Secret
from cactus.confidence.store import find_calibration, read_calibration
from cactus.embed.settings import read_settings
from cactus.engine import plan_cache
from cactus.errors import CactusError
from cactus.retrieval.store import index_path
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors
from tests.retrieval.made import WordEmbedder

FOLDER = Path(__file__).parent / "versions"
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
HI = [{"role": "user", "content": "Hi"}]
PLAN = "plan.bin"

each_version = pytest.mark.parametrize("version", VERSIONS)


def with_what(name: str) -> Any:
    """The versions that have such a file."""
    return pytest.mark.parametrize("version", [v for v in VERSIONS if (FOLDER / v / name).exists()])


def test_the_last_three_versions_are_there() -> None:
    assert VERSIONS[-3:] == ["0.1.0", "0.2.0", "0.3.0"]
    assert {path.name for path in (FOLDER / "0.3.0").iterdir()} >= {"index", "job", "chat.json"}
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000


# -- upgrade


@each_version
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_weights_of_a_version_are_read_bit_by_bit(version: str, precision: str) -> None:
    wanted = json.loads((FOLDER / version / f"{precision}.json").read_text())
    with WeightsFolder.open(FOLDER / version / precision) as folder:
        assert wanted == {
            name: hashlib.sha256(folder.dequantize(name).tobytes()).hexdigest()
            for name in folder.tensors
        }


@each_version
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_model_of_a_version_answers_and_its_plan_is_made_again(
    version: str, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(FOLDER / version / precision, tmp_path / "model"))
    kept = (folder / PLAN).read_bytes()
    with caplog.at_level(logging.INFO, "cactus"), Model(folder) as model:
        answer = model.chat(HI, max_tokens=8)
    made = (folder / PLAN).read_bytes()
    said = f"{folder / PLAN}: of another version of cactus" in caplog.text
    assert said == (made != kept)
    assert said or version == VERSIONS[-1]  # which this code may be
    (folder / PLAN).unlink()
    with Model(folder) as model:
        again = model.chat(HI, max_tokens=8)
    assert again.text == answer.text and again.metrics.decode_tokens == 8
    assert (folder / PLAN).read_bytes() == made


@with_what("index")
def test_an_index_of_a_version_is_opened_as_it_is(version: str, tmp_path: Path) -> None:
    documents = Path(shutil.copytree(FOLDER / version / "documents", tmp_path / "documents"))
    path = index_path(Path(os.path.realpath(documents)), tmp_path / "index")
    path.parent.mkdir()
    path.write_bytes(gzip.decompress((FOLDER / version / "index" / "index.sqlite.gz").read_bytes()))
    with closing(sqlite3.connect(path)) as db:  # the folder lies elsewhere now
        db.execute("UPDATE meta SET value = ? WHERE key = 'root'", [os.path.realpath(documents)])
        db.commit()
    embedder = WordEmbedder()
    with Corpus(documents, embedder=embedder, cache_dir=tmp_path / "index", sync=False) as corpus:
        report = corpus.sync()
        assert (report.rebuilt, report.added, report.embedded) == ("", 0, 0)
        assert "Apples" in corpus.search("apples")[0].text


@with_what("job")
def test_a_job_of_a_version_goes_on(version: str, tmp_path: Path) -> None:
    job = Path(shutil.copytree(FOLDER / version / "job", tmp_path / "job"))
    model = shutil.copytree(FOLDER / version / "int8", tmp_path / "int8")
    state = job / "out.jsonl.batch.json"
    told = json.loads(state.read_text())
    rows = job / "rows.jsonl"  # it lies elsewhere now, and has another time
    told["made_of"]["input"] |= {"path": str(rows), "changed": rows.stat().st_mtime_ns}
    state.write_text(json.dumps(told))
    report = run(json.loads((job / "job.json").read_text()), rows, job / "out.jsonl", model=model)
    assert (report.rows, report.errors) == (6, 0)
    assert 0 < report.before < 6


@with_what("chat.json")
def test_a_saved_chat_of_a_version_is_loaded(version: str) -> None:
    chat = Conversation.load(FOLDER / version / "chat.json")
    assert (chat.system, len(chat.turns), chat.turns[0][0].text) == ("Be brief.", 1, "Hi")


# -- downgrade: what the next version may write


def raise_number(path: Path, key: str) -> None:
    told = json.loads(path.read_text())
    told[key] += 1
    path.write_text(json.dumps(told))


def newer_config(folder: Path) -> Callable[[], object]:
    path = folder / "config.json"
    told = json.loads(path.read_text())
    told["cactus"]["format"] += 1
    path.write_text(json.dumps(told))
    return lambda: Model(folder)


def newer_tensors(folder: Path) -> Callable[[], object]:
    path = folder / "model.safetensors"
    before, after = rb"{\"format\": 1,", rb"{\"format\": 2,"
    data = path.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    read_safetensors(path).close()  # still a sound file
    return lambda: Model(folder)


def newer_dtype(folder: Path) -> Callable[[], object]:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    assert b"q8_64" in data
    path.write_bytes(data.replace(b"q8_64", b"q9_64"))
    return lambda: Model(folder)


def newer_embedding(folder: Path) -> Callable[[], object]:
    (folder / "embedding.json").write_text(json.dumps({"version": 2}))
    return lambda: read_settings(folder)


def newer_calibration(folder: Path) -> Callable[[], object]:
    (folder / "calibration.json").write_text(json.dumps({"format": 2}))
    assert find_calibration(folder) is None  # a model answers without it
    return lambda: read_calibration(folder)


def newer_job(folder: Path) -> Callable[[], object]:
    rows, out = folder / "rows.jsonl", folder / "out.jsonl"
    rows.write_text('{"text": "a"}\n')
    job = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 2}}
    run(job, rows, out, model=folder)
    raise_number(folder / "out.jsonl.batch.json", "format")
    return lambda: run(job, rows, out, model=folder)


def newer_index(folder: Path) -> Callable[[], object]:
    documents = folder / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("apples")
    cache = folder / ".index"
    Corpus(documents, embedder=WordEmbedder(), cache_dir=cache).close()
    (path,) = cache.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
        db.commit()
    return lambda: Corpus(documents, embedder=WordEmbedder(), cache_dir=cache)


def newer_chat(folder: Path) -> Callable[[], object]:
    path = folder / "chat.json"
    Conversation("Be brief.").save(path, "small")
    raise_number(path, "format")
    return lambda: Conversation.load(path)


def newer_cloud(folder: Path) -> Callable[[], object]:
    cloud.save("https://api.example.com/v1", "large", Secret("sk-secret"))
    path = cloud.settings_file()
    raise_number(path, "format")
    return cloud.find_settings


UPDATE = "was written by a newer version of cactus, this one reads 1; update cactus, or "


@pytest.mark.parametrize(
    ("change", "file", "said"),
    [
        (newer_config, "config.json", f"weights format 2 {UPDATE}convert the model again"),
        (newer_tensors, "model.safetensors", f"weights format 2 {UPDATE}convert the model again"),
        (newer_dtype, "model.safetensors", "'q9_64': damaged, or of a newer version of cactus"),
        (newer_embedding, "embedding.json", f"version 2 {UPDATE}convert the model again"),
        (newer_calibration, "calibration.json", f"calibration format 2 {UPDATE}run `cactus"),
        (newer_job, "out.jsonl.batch.json", f"format 2 {UPDATE}begin anew with --restart"),
        (newer_index, ".sqlite", f"version 2 {UPDATE}delete the file to build the index anew"),
        (newer_chat, "chat.json", f"format 2 {UPDATE}choose another file"),
        (newer_cloud, "cloud.json", f"format 2 {UPDATE}run cactus auth again"),
    ],
)
def test_a_file_of_a_newer_version_is_refused_by_name(
    change: Callable[[Path], Callable[[], object]],
    file: str,
    said: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(cloud, "_keyring", lambda: None)
    for name in ("API_KEY", "BASE_URL", "MODEL"):
        monkeypatch.delenv(f"CACTUS_CLOUD_{name}", raising=False)
    opened = change(Path(shutil.copytree(tiny_model, tmp_path / "model")))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CactusError) as caught:
        opened()
    assert file in str(caught.value) and said in str(caught.value)
    kept = {path: path.read_bytes() for path in before if path.suffix not in (".bin", ".lock")}
    assert kept.items() <= before.items()  # nothing is changed, or thrown away


def test_a_plan_of_a_newer_version_is_made_again(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    convert(tiny_checkpoint, folder, "INT8")
    monkeypatch.setattr(plan_cache, "_MAGIC", b"CACTPLC9")
    with Model(folder) as model:
        answer = model.chat(HI, max_tokens=8).text
    assert (folder / PLAN).read_bytes().startswith(b"CACTPLC9")
    monkeypatch.undo()
    with Model(folder) as model:
        assert model.chat(HI, max_tokens=8).text == answer
    assert not (folder / PLAN).read_bytes().startswith(b"CACTPLC9")
