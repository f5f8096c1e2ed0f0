"""A folder of documents as a library has it: opened, searched, asked, closed."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cactus
from cactus import Corpus, Model
from cactus.corpus.quote import SILENT
from cactus.corpus.reader import _passages
from cactus.errors import CorpusError, InvalidRequest, UnsupportedModel
from cactus.speech.methods import SpeechMethods
from tests.generate.scripted import saying
from tests.retrieval.made import WordEmbedder

MakeModel = Callable[..., Model]

GUIDE = """\
# Setup

Cactus is installed with one script called setup.

## Requirements

It needs Python 3.10 or newer and two hundred megabytes of disk.
"""
HISTORY = "The first release came in March 2024.\n\nVersion two followed in November 2025.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "more").mkdir(parents=True)
    (docs / "guide.md").write_text(GUIDE)
    (docs / "more" / "history.txt").write_text(HISTORY)
    return docs


@pytest.fixture
def corpus(folder: Path, tmp_path: Path) -> Any:
    with Corpus(folder, embedder=WordEmbedder(), cache_dir=tmp_path / "cache") as opened:
        yield opened


def sizes(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Documents of more tokens than that are too long to be given whole."""
    monkeypatch.setattr("cactus.corpus.reader.SHORT", tokens)


def test_a_corpus_is_searched_without_a_chat_model(corpus: Corpus) -> None:
    hit = corpus.search("which Python does it need?")[0]
    assert hit.source == "guide.md"
    assert GUIDE[hit.start : hit.end] == hit.text
    assert "Requirements" in hit.heading
    assert 0 <= hit.score <= 1
    assert (corpus.files, corpus.embedder) == (2, "words words-1")
    assert "2 files" in repr(corpus)


def test_nothing_lies_in_the_folder(corpus: Corpus, folder: Path) -> None:
    assert sorted(path.name for path in folder.rglob("*")) == ["guide.md", "history.txt", "more"]


def test_an_answer_has_citations(corpus: Corpus, scripted_model: MakeModel) -> None:
    said = "The first release came in March 2024 [2]. It needs Python 3.10 or newer [9]."
    model = scripted_model(saying(said), context=9_000)
    done = corpus.ask(model, "When was the first release, and what does it need?")
    assert [(each.source, each.text) for each in done.citations] == [
        ("more/history.txt", "The first release came in March 2024."),
        ("guide.md", "It needs Python 3.10 or newer and two hundred megabytes of disk."),
    ]
    assert done.citations[1].line == 7
    assert done.reading is not None
    assert done.reading.whole
    assert any("[9]" in note for note in done.reading.notes)
    assert model.corpus is None  # it has no documents of its own


def test_what_is_not_in_the_documents_is_said(
    corpus: Corpus, scripted_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes(monkeypatch, 5)
    model = scripted_model(saying("Made up."), context=9_000)
    done = corpus.ask(model, "Who won the chess championship in Reykjavik?")
    assert done.text == SILENT
    assert done.reading is not None and not done.reading.found


def test_the_async_twins_do_the_same(corpus: Corpus, scripted_model: MakeModel) -> None:
    model = scripted_model(saying("March 2024."), context=9_000)

    async def work() -> None:
        assert await corpus.asearch("python") == corpus.search("python")
        assert (await corpus.async_sync()).unchanged == 2
        done = await corpus.aask(model, "When was the first release?")
        assert done.text == corpus.ask(model, "When was the first release?").text
        async with corpus.aask_stream(model, "When was the first release?") as stream:
            assert "".join([event.text async for event in stream]) == done.text
        assert stream.completion.citations == done.citations

    asyncio.run(work())
    with corpus.ask_stream(model, "When was the first release?") as stream:
        assert "".join(event.text for event in stream) == "March 2024."


def test_only_what_has_changed_is_embedded_again(folder: Path, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    options: dict[str, Any] = {"embedder": embedder, "cache_dir": tmp_path / "cache"}
    Corpus(folder, **options).close()
    embedder.texts.clear()
    (folder / "new.md").write_text("A new page about walruses.")
    with Corpus(folder, **options) as corpus:
        assert any("walruses" in text for text in embedder.texts)
        assert not any("March" in text for text in embedder.texts)
        assert corpus.search("walruses")[0].source == "new.md"
        (folder / "new.md").unlink()
        assert corpus.sync().removed == 1
        assert all(hit.source != "new.md" for hit in corpus.search("walruses"))


def test_options_are_kept_for_the_next_time(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"embedder": WordEmbedder(), "cache_dir": tmp_path / "cache"}
    with Corpus(folder, exclude=["more/"], **options) as corpus:
        assert corpus.files == 1
    with Corpus(folder, **options) as corpus:
        assert corpus.files == 1
    with Corpus(folder, exclude=[], **options) as corpus:
        assert corpus.files == 2


class Stenographer(SpeechMethods):
    """Hears the same in every recording."""

    def __init__(self) -> None:
        pass

    def _speech(self, *_: Any) -> Any:
        return self  # it is able to

    def transcribe(self, *_: Any, **__: Any) -> Any:
        said = ["We met on Monday.", "The budget is four thousand euros."]
        parts = [SimpleNamespace(start=65.0 + n, end=66.0 + n, text=t) for n, t in enumerate(said)]
        return SimpleNamespace(segments=parts)

    def close(self) -> None:
        pass


def test_recordings_are_found_by_what_is_said_in_them(folder: Path, tmp_path: Path) -> None:
    with wave.open(str(folder / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    options: dict[str, Any] = {"embedder": WordEmbedder(), "cache_dir": tmp_path / "cache"}
    with Corpus(folder, **options) as corpus:
        assert corpus.files == 2
    with Corpus(folder, speech=Stenographer(), **options) as corpus:
        hit = corpus.search("how large is the budget?")[0]
        assert (hit.source, hit.time) == ("talk.wav", (65.0, 67.0))
        (passage,) = _passages([hit], {})
        assert passage.place == "talk.wav, 1:05"


def test_settings_that_cannot_be_written_are_named(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"embedder": WordEmbedder(), "cache_dir": tmp_path / "cache"}
    with Corpus(folder, **options) as corpus:
        settings = corpus.index_path.with_suffix(".json")
    settings.unlink()
    settings.mkdir()
    with pytest.raises(CorpusError, match=r"\.json cannot be written: "):
        Corpus(folder, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff"))
    folder.mkdir()
    (folder / "a.txt").write_text("Apples.")
    with pytest.raises(CorpusError, match=r"n\\xff is not valid UTF-8") as error:
        Corpus(folder, embedder=WordEmbedder(), cache_dir=tmp_path / "cache")
    str(error.value).encode()


@pytest.mark.fault("F71")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "there is no folder"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "no document that can be read"),
        (lambda path: (path.mkdir(), (path / "a.bin").write_bytes(b"\0\1\2" * 99)), "unsupported"),
    ],
)
def test_a_folder_without_documents_is_refused(
    make: Callable[[Path], Any], reason: str, tmp_path: Path
) -> None:
    make(tmp_path / "docs")
    with pytest.raises(CorpusError, match=reason):
        Corpus(tmp_path / "docs", embedder=WordEmbedder(), cache_dir=tmp_path / "cache")


def test_a_folder_that_may_not_be_read_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("cactus.corpus.corpus.os.scandir", refuse)
    with pytest.raises(CorpusError, match="cannot be read: Permission denied"):
        Corpus(folder, embedder=WordEmbedder(), cache_dir=tmp_path / "cache")


@pytest.mark.fault("F71")
@pytest.mark.parametrize("wrong", [None, 7, b"docs", ""])
def test_a_corpus_is_a_folder(wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match="a corpus is a folder"):
        Corpus(wrong)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"embedder": 7}, "embedder"),
        ({"speech": 7}, "speech"),
        ({"reranker": 7}, "reranker"),
        ({"include": 7}, "include"),
        ({"exclude": [7]}, "exclude"),
        ({"hidden": "yes"}, "hidden"),
    ],
)
def test_a_wrong_option_is_named(
    options: dict[str, Any], named: str, folder: Path, tmp_path: Path
) -> None:
    given = {"embedder": WordEmbedder(), "cache_dir": tmp_path / "cache", **options}
    with pytest.raises(InvalidRequest, match=named):
        Corpus(folder, **given)


@pytest.mark.parametrize("option", ["reranker", "speech"])
def test_a_model_that_cannot_do_what_it_is_for_is_refused_at_once(
    option: str, folder: Path, tmp_path: Path, tiny_model: Path
) -> None:
    given: dict[str, Any] = {"embedder": WordEmbedder(), "cache_dir": tmp_path / "cache"}
    with Model(tiny_model) as model, pytest.raises(UnsupportedModel, match=model.name):
        Corpus(folder, **given, **{option: model})


@pytest.mark.fault("F74")
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        (" \n", {}),
        ("the of and", {}),
        ('"AND NEAR( OR * ^', {}),
        ("x" * 1_000_000, {}),
        ("\0\ud800", {}),
        ("python", {"top_k": 10**9}),
        ("python", {"top_k": 0}),
        ("python", {"mode": "dense", "floor": False}),
        ("python", {"mode": "lexical", "paths": "more/**"}),
    ],
)
def test_any_query_gives_ordered_finite_scores(
    query: str, options: dict[str, Any], corpus: Corpus
) -> None:
    hits = corpus.search(query, **options)
    scores = [hit.score for hit in hits]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert len(hits) <= corpus.chunks
    assert hits == corpus.search(query, **options)


@pytest.mark.fault("F74")
@pytest.mark.parametrize("options", [{"top_k": -1}, {"mode": "sparse"}, {"neighbours": -1}])
def test_wrong_options_of_a_search_are_refused(corpus: Corpus, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        corpus.search("python", **options)


def test_a_closed_corpus_says_so(corpus: Corpus, scripted_model: MakeModel) -> None:
    corpus.close()
    corpus.close()
    for work in (
        lambda: corpus.search("x"),
        lambda: corpus.sync(),
        lambda: corpus.ask(scripted_model(saying("x")), "x"),
    ):
        with pytest.raises(CorpusError, match="is closed"):
            work()
    assert "closed" in repr(corpus)


def test_a_corpus_asks_models_alone(corpus: Corpus) -> None:
    with pytest.raises(InvalidRequest, match="must be a cactus Model"):
        corpus.ask("smollm2", "What?")  # type: ignore[arg-type]
    assert cactus.Corpus is Corpus


def test_a_model_is_given_an_open_corpus(corpus: Corpus, tiny_model: Path) -> None:
    with Model(tiny_model, corpus=corpus) as model:
        assert model.corpus is corpus
        first = model.rag_query("which Python does it need?", top_k=1)
        assert first[0]["source"] == "guide.md"
        assert first[0]["content"] == first[0]["text"]
    assert corpus.search("python")  # it is the caller's to close
