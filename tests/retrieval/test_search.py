"""Searching an index: what is found, in which order, with which scores, and what is refused."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections import namedtuple
from typing import Any

import pytest

from cactus.errors import InvalidRequest
from cactus.retrieval import lexical
from cactus.retrieval.index import Index
from tests.retrieval.conftest import Made
from tests.retrieval.made import WordEmbedder

MODES = ("hybrid", "dense", "lexical")


@pytest.fixture
def index(made: Made) -> Index:
    for n in range(30):
        made.write(f"notes/{n:02}.txt", f"Note {n} about glaciers and rivers.\n\nIt is number {n}.")
    made.index.sync()
    return made.index


@pytest.mark.parametrize("mode", MODES)
def test_the_best_passage_comes_first(index: Index, mode: Any) -> None:
    best = index.search("where do apples grow on trees", mode=mode)[0]
    assert (best.source, best.heading, best.line) == ("fruit.md", "Fruit", 3)
    assert best.text == "Apples grow on trees in the garden behind the house."
    assert best.lexical == 1.0
    assert (best.dense is None) == (mode == "lexical")
    assert best.as_dict()["content"] == best.as_dict()["text"] == best.text


@pytest.mark.fault("F74")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("top_k", [0, 1, 7, 10**9])
def test_there_are_as_many_hits_as_asked_for_at_most(index: Index, mode: Any, top_k: int) -> None:
    hits = index.search("note about glaciers", top_k, mode=mode, floor=False)
    assert len(hits) <= min(top_k, index.chunks)
    assert mode != "dense" or len(hits) == min(top_k, index.chunks)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert len({hit.chunk_id for hit in hits}) == len(hits)


def test_an_index_that_is_closed_leaves_no_connection_and_opens_again(made: Made) -> None:
    def connections() -> int:
        return sum(isinstance(each, sqlite3.Connection) for each in gc.get_objects())

    made.index.sync()
    made.index.close()
    gc.collect()
    before, found = connections(), []
    gc.disable()
    try:
        for _ in range(2):
            found.append([hit.text for hit in made.index.search("apples and ships")])
            assert connections() > before
            made.index.close()
            assert connections() == before
    finally:
        gc.enable()
    assert found[0] == found[1] != []


def test_a_document_is_given_in_its_order_unless_it_is_too_long(made: Made) -> None:
    made.index.sync()
    chunks = made.index.document("fruit.md", 1000)
    assert [chunk.line for chunk in chunks] == [1, 3, 5, 7]
    tokens = sum(chunk.tokens for chunk in chunks)
    assert made.index.document("fruit.md", tokens) == chunks
    assert made.index.document("fruit.md", tokens - 1) == []
    assert made.index.document("nowhere.md", 1000) == []


@pytest.mark.fault("F74")
def test_equal_passages_keep_their_order(index: Index) -> None:
    first = index.search("glaciers and rivers", 20, floor=False)
    assert [index.search("glaciers and rivers", 20, floor=False) for _ in range(3)] == [first] * 3
    assert index.search("glaciers and rivers", 5, floor=False) == first[:5]


@pytest.mark.fault("F74")
@pytest.mark.parametrize("query", ["", "  \n\t", "\0"])
def test_an_empty_query_finds_nothing(index: Index, query: str) -> None:
    for mode in MODES:
        assert index.search(query, mode=mode) == []


@pytest.mark.fault("F74")
@pytest.mark.parametrize(
    "query", ['"AND NEAR(', "the of and", "'\"`;--", "a OR b* NOT {c}", "\ud800 half", "(((", "*"]
)
def test_no_query_is_syntax_or_an_error(index: Index, query: str) -> None:
    for mode in MODES:
        for hit in index.search(query, 5, mode=mode, floor=False):
            assert 0 <= hit.score <= 1


@pytest.mark.fault("F74")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["apples grow ", "x", "東京"])
def test_a_query_of_a_megabyte_is_answered(index: Index, text: str) -> None:
    index.search(text * (1_000_000 // len(text)), 3)


def test_what_has_nothing_to_do_with_the_folder_is_not_found(index: Index) -> None:
    assert index.search("quarterly revenue of the subsidiary") == []
    assert index.search("quarterly revenue of the subsidiary", floor=False)


def test_only_files_that_fit_are_searched(index: Index) -> None:
    for mode in MODES:
        hits = index.search("glaciers apples", 50, mode=mode, paths="notes/0*", floor=False)
        assert {hit.source[:7] for hit in hits} == {"notes/0"}
        assert len(hits) >= 10
    both = index.search("apples moon", 50, paths=["*.md", "sky/"], floor=False)
    assert {hit.source for hit in both} == {"fruit.md", "sky/moon.txt"}
    assert index.search("apples", paths=[], floor=False) == []
    assert index.search("apples", metadata={"title": "none"}, floor=False) == []
    named = index.search("apples", 9, metadata={"title": ["fruit.md", "other"]}, floor=False)
    assert {hit.source for hit in named} == {"fruit.md"}


def test_nearly_the_same_text_is_one_hit(made: Made) -> None:
    made.write("copy.txt", (made.folder / "fruit.md").read_text("utf-8"))
    made.index.sync()
    hits = made.index.search("apples grow on trees", 9, floor=False)
    texts = [hit.text for hit in hits]
    assert len(set(texts)) == len(texts)
    assert {hits[0].source, hits[0].also[0][0]} == {"copy.txt", "fruit.md"}
    assert hits[0].also[0][1:] == (hits[0].start, hits[0].end)


def test_neighbours_are_joined_and_shown_once(made: Made) -> None:
    made.index.sync()
    document = (made.folder / "fruit.md").read_text("utf-8")
    hits = made.index.search("bananas ripen in the harbour", 9, neighbours=1, floor=False)
    assert document[hits[0].start : hits[0].end] == hits[0].text
    assert hits[0].text.startswith("Apples") and hits[0].text.endswith("together.")
    shown = [hit.text for hit in hits if hit.source == "fruit.md"]
    assert "".join(shown).count("Apples") == 1
    whole = made.index.search("bananas", 1, neighbours=100, floor=False)[0]
    assert (whole.start, whole.line, whole.text) == (0, 1, document.rstrip("\n"))


def test_a_reranker_has_the_last_word(index: Index) -> None:
    item = namedtuple("item", "index score")
    asked: list[tuple[str, int]] = []

    def rerank(query: str, texts: Any) -> list[Any]:
        asked.append((query, len(texts)))
        return [item(n, 0.9 if "number 7" in text else 0.1) for n, text in enumerate(texts)]

    hits = index.search("It is number 7", 3, rerank=rerank, floor=False)
    assert asked == [("It is number 7", 30)]
    assert (hits[0].source, hits[0].score) == ("notes/07.txt", 0.9)
    assert [hit.score for hit in hits[1:]] == [0.1, 0.1]
    assert index.search("quarterly revenue", rerank=rerank) == []


@pytest.mark.fault("F74")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": 3}, "query must be a text, got int"),
        ({"top_k": -1}, "top_k must be 0 or more, got -1"),
        ({"top_k": 2.0}, "top_k must be a whole number, got float"),
        ({"top_k": True}, "top_k must be a whole number, got bool"),
        ({"neighbours": 101}, "neighbours must be 0 to 100, got 101"),
        ({"mode": "best"}, "mode must be one of hybrid, dense, lexical, got 'best'"),
        ({"paths": [3]}, "paths must be patterns"),
        ({"paths": 3}, "paths must be patterns"),
        ({"paths": "!"}, "paths: pattern '!'"),
        ({"metadata": "pdf"}, "metadata must be a mapping, got str"),
        ({"metadata": {"kind": None}}, r"metadata\['kind'\] must be a text or a list of texts"),
    ],
)
def test_what_cannot_be_meant_is_refused(index: Index, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        index.search(**{"query": "apples", **options})


@pytest.mark.parametrize("mode", MODES)
def test_what_was_loaded_follows_the_folder(made: Made, mode: Any) -> None:
    made.write("a.txt", "Cherries are red.\n")
    made.index.sync()
    assert not made.index.search("plums quinces", mode="lexical", floor=False)
    assert made.index.search("cherries", 1, mode=mode)[0].source == "a.txt"
    made.write("a.txt", "Plums are blue.\n")  # as many chunks as before, one of them another
    made.write("z.txt", "Quinces are yellow.\n\nThey smell.\n")
    for query in ("plums", "quinces", "bananas come by ship"):
        made.index.sync()
        with made.open() as fresh:
            found = fresh.search(query, 3, mode=mode)
        assert found and made.index.search(query, 3, mode=mode) == found
        (made.folder / "z.txt").write_text("Quinces are yellow.\n", "utf-8")


def test_common_words_bring_in_nothing_beside_rare_ones(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write("colours.txt", "A red apple.\n\nA red pear.\n\nA red plum.\n")
    made.index.sync()
    search = made.index.search
    assert len(search("red plum", 9, mode="lexical", floor=False)) == 3
    monkeypatch.setattr(lexical, "_BUDGET", 2)
    assert [hit.text for hit in search("red plum", 9, mode="lexical", floor=False)] == [
        "A red plum."
    ]
    assert len(search("red", 9, mode="lexical", floor=False)) == 3


def test_of_common_words_those_that_stand_together_choose(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [f"Number {n} is a red plum." for n in range(60)]
    one = [f"Number {n} is a {what}." for n in range(200) for what in ("red wall", "blue plum")]
    made.write("fruit.txt", "\n\n".join([*one, *both]))
    made.index.sync()

    def found(query: str) -> list[str]:
        return [hit.text for hit in made.index.search(query, 50, mode="lexical", floor=False)]

    expected, red = found("red plum"), found("red")
    assert len(expected) == 50 and set(expected) <= set(both)
    monkeypatch.setattr(lexical, "_BUDGET", 40)
    assert found("red plum") == found("red plum is number") == expected
    assert found("red") == red
    monkeypatch.setattr(lexical, "_MOST", 10)  # of 260 chunks half are enough for 50 hits
    assert found("red") != red and len(found("red")) == 50


def test_words_that_are_rare_elsewhere_do_not_hide_those_of_the_chosen_files(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write("trees.txt", "\n\n".join(f"A plum of the year {n}." for n in range(9)))
    made.write("zoo.txt", "A zebra eats a plum.")
    made.index.sync()
    monkeypatch.setattr(lexical, "_BUDGET", 2)
    hits = made.index.search("zebra plum", 9, mode="lexical", floor=False, paths="trees.txt")
    assert {hit.source for hit in hits} == {"trees.txt"} and len(hits) > 1


def test_of_a_long_query_only_what_the_embedder_sees_is_embedded(made: Made) -> None:
    sizes: list[int] = []

    class Measuring(WordEmbedder):
        def embed(self, texts: Any, kind: str, *, stop: Any = None) -> Any:
            sizes.extend(map(len, texts if kind == "query" else ()))
            return super().embed(texts, kind, stop=stop)

    with made.open(Measuring()) as index:
        index.sync()
        sizes.clear()
        index.search("apples grow " * 100_000)
    assert sizes == [16 * made.embedder.max_tokens]


@pytest.mark.timeout(60)
def test_threads_search_one_index_while_it_changes(made: Made) -> None:
    made.index.sync()
    failures: list[BaseException] = []

    def search() -> None:
        try:
            for _ in range(15):
                assert made.index.search("apples grow on trees", 1)[0].source == "fruit.md"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(5):
        made.write(f"more/{n}.txt", f"Paragraph {n}.\n\nAnother.\n")
        made.index.sync()
    for thread in threads:
        thread.join()
    assert failures == []
    with made.open(WordEmbedder()) as fresh:
        for query in ("paragraph 3", "apples"):
            assert fresh.search(query, 9) == made.index.search(query, 9)
