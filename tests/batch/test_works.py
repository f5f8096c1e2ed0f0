"""Each kind of job gives what the model's own method gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.batch import run
from cactus.batch.rows import Row
from cactus.batch.works import texts
from cactus.batch.works.texts import Rerank
from cactus.engine.loading import load
from cactus.errors import InvalidRequest
from tests.embed.conftest import write_embedder

from .conftest import by_index

LONG = "word " * 60
"""A text over the limit of the tiny embedder."""


@pytest.fixture(scope="module")
def embedder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("embedder") / "tiny-embedder"
    return write_embedder(target, tiny_model, prompts={"query": "q: "}, matryoshka=[8])


@pytest.fixture
def ranker(tiny_model: Path, tmp_path: Path) -> Iterator[Model]:
    """A tiny model that can rank, whatever its architecture says."""
    weight = np.random.default_rng(6).normal(0, 1, (1, 64)).astype(np.float32)
    settings: dict[str, Any] = {"pooling": "last", "dimensions": 1}
    settings["dense"] = [{"weight": "0.weight", "activation": "identity"}]
    folder = write_embedder(
        tmp_path / "ranker", tiny_model, {"0.weight": weight}, score={"kind": "head"}, **settings
    )
    engine = load(folder, threads=1)
    object.__setattr__(engine, "abilities", (*engine.abilities, "rerank"))
    with Model.from_engine(engine) as model:
        yield model


def test_vectors_of_rows(
    embedder: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "BLOCK", 16)
    output = tmp_path / "out.jsonl"
    with questions.open("a") as file:
        for row in ({"text": LONG}, {"id": 3}, {"text": "the last"}):
            file.write(json.dumps(row) + "\n")
    job = {"job": "embed", "text": "a: {text}", "options": {"prompt": "query", "dimensions": 8}}
    report = run(job, questions, output, model=embedder, threads=1)
    rows = by_index(output)
    assert (report.rows, report.errors) == (43, 2)
    assert "tokens" in rows[40]["error"] and "column 'text' is needed" in rows[41]["error"]
    asked = [f"a: {row['text']}" for row in rows if row["error"] is None]
    with Model(embedder, threads=1) as model:
        expected = model.embed(asked, prompt="query", dimensions=8)
    found = [row["embedding"] for row in rows if row["error"] is None]
    assert np.array_equal(np.array(found, np.float32), expected)


def test_an_option_that_the_model_refuses_ends_the_job(
    embedder: Path, questions: Path, tmp_path: Path
) -> None:
    job = {"job": "embed", "options": {"prompt": "nothing"}}
    with pytest.raises(InvalidRequest, match="nothing"):
        run(job, questions, tmp_path / "out.jsonl", model=embedder, threads=1)


def test_scores_of_pairs(ranker: Model) -> None:
    pairs = [(f"query {n % 3}", f"a text {n}") for n in range(20)]
    rows = [Row(n, "", {"q": query, "text": text}) for n, (query, text) in enumerate(pairs)]
    rows += [Row(20, "", {"q": "a", "text": LONG}), Row(21, "", {"q": "a"}), Row(22, "", wrong="x")]
    work = Rerank({"query": "{q}"}, {})
    found = {row.index: result for row, result in work.results(ranker, iter(rows), Path())}
    assert sorted(found) == list(range(23))
    for n, (query, text) in enumerate(pairs):
        result = found[n]
        assert isinstance(result, dict)
        assert result["score"] == ranker.rerank(query, [text])[0].score
    assert "tokens" in found[20] and "column 'text' is needed" in found[21] and found[22] == "x"


def test_recordings_of_a_folder(speech_folder: Path, tmp_path: Path) -> None:
    import soundfile

    source, output = tmp_path / "sounds", tmp_path / "out.jsonl"
    (source / "more").mkdir(parents=True)
    sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) / 9
    soundfile.write(source / "a.wav", sound, 16_000)
    soundfile.write(source / "more" / "b.flac", sound[:9000], 16_000)
    (source / "c.wav").write_text("not a recording")
    (source / ".hidden").write_text("")
    job = {"job": "transcribe", "options": {"vad": False, "temperature": 0, "language": "en"}}
    report = run(job, source, output, model=speech_folder, threads=1)
    rows = by_index(output)
    assert [row["file"] for row in rows] == ["a.wav", "c.wav", "more/b.flac"]
    assert report.errors == 1 and rows[1]["error"] is not None and rows[1]["text"] is None
    with Model(speech_folder, threads=1) as model:
        for row in (rows[0], rows[2]):
            heard = model.transcribe(source / row["file"], **job["options"])  # type: ignore[arg-type]
            assert (row["text"], row["language"]) == (heard.text, "en")
            assert row["duration"] == round(heard.duration, 3)
            assert [part["text"] for part in row["segments"]] == [
                segment.text for segment in heard.segments
            ]


@pytest.mark.parametrize("form", ["srt", "vtt", "text"])
def test_a_folder_of_recordings_becomes_one_of_subtitles(
    form: str, speech_folder: Path, tmp_path: Path
) -> None:
    import soundfile

    source, output = tmp_path / "sounds", tmp_path / "subtitles"
    (source / "more").mkdir(parents=True)
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 9
    for name in ("a.wav", "b.wav", "more/a.flac", "b.flac"):
        soundfile.write(source / name, sound, 16_000)
    (source / "no.wav").write_text("not a recording")
    job = {"job": "transcribe", "options": {"vad": False, "temperature": 0, "language": "en"}}
    report = run(job, source, output, model=speech_folder, threads=1, form=form)
    assert (report.rows, report.errors) == (5, 1)
    ending = {"text": "txt"}.get(form, form)
    names = [f"{name}.{ending}" for name in ("a", "b.flac", "b.wav", "more/a")]
    files = (path for path in output.rglob("*") if path.is_file())
    assert sorted(path.relative_to(output).as_posix() for path in files) == sorted(
        [*names, "batch.json", "batch.jsonl"]
    )
    rows = by_index(output / "batch.jsonl")
    assert [row["written"] for row in rows] == [*names[:3], names[3], None]
    with Model(speech_folder, threads=1) as model:
        heard = model.transcribe(source / "a.wav", **job["options"])  # type: ignore[arg-type]
    expected = getattr(heard, f"to_{form}")()
    assert (output / names[0]).read_text() == expected
    (output / names[0]).unlink()  # what is done is not done again
    with (output / "batch.jsonl").open("rb+") as file:
        file.truncate(len(file.readline()))
    report = run(job, source, output, model=speech_folder, threads=1, form=form)
    assert report.before == 1 and by_index(output / "batch.jsonl") == rows
    with pytest.raises(InvalidRequest, match="form was"):
        run(job, source, output, model=speech_folder, threads=1, form="json")


def test_answers_about_texts_as_files(tiny_model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "texts", tmp_path / "answers"
    source.mkdir()
    (source / "a.md").write_text("One")
    (source / "b.txt").write_bytes(b"\xff")
    job = {"job": "chat", "prompt": "{text}?", "options": {"max_tokens": 4}}
    report = run(job, source, f"{output}/", model=tiny_model, threads=1)
    assert (report.rows, report.errors) == (2, 1)
    with Model(tiny_model, threads=1) as model:
        assert (output / "a.txt").read_text() == f"{model.chat('One?', max_tokens=4).text}\n"
    assert not (output / "b.txt").exists()


def test_what_does_not_go_into_a_folder_is_refused(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    (source / "a.txt").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    refused = [
        ("chat", source, "out", {"form": "srt"}, "form must be 'text', got 'srt'"),
        ("embed", source, "out/", {}, "a job of 'embed' writes a file"),
        ("chat", questions, "out/", {}, "for a folder as input"),
        ("chat", source, "texts/out/", {}, "lies in the input"),
        ("chat", source, "out.csv", {"form": "text"}, "a form is for a folder"),
        ("chat", source, "full", {}, "is there already"),
    ]
    for job, given, output, options, said in refused:
        with pytest.raises(InvalidRequest, match=said):
            run(job, given, f"{tmp_path}/{output}", model=tiny_model, threads=1, **options)  # type: ignore[arg-type]


def test_images_of_a_folder(tiny_vlm: Path, tmp_path: Path) -> None:
    from PIL import Image

    source, output = tmp_path / "pictures", tmp_path / "out.jsonl"
    source.mkdir()
    for name, color in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (40, 30), color).save(source / name)
    (source / "c.png").write_bytes(b"not an image")
    job = {"job": "describe", "prompt": "What is {file}?", "options": {"max_tokens": 5}}
    report = run(job, source, output, model=tiny_vlm, threads=1)
    rows = by_index(output)
    assert report.errors == 1 and "c.png" in rows[2]["error"]
    with Model(tiny_vlm, threads=1) as model:
        for row in rows[:2]:
            asked = {"role": "user", "content": f"What is {row['file']}?"}
            asked["images"] = [str(source / row["file"])]  # type: ignore[assignment]
            assert row["answer"] == model.chat([asked], max_tokens=5).text
