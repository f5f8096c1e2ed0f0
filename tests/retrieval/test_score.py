"""Scores: 0 to 1, growing with both signs, and measured on the index itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cactus.retrieval.score import FLOOR, Calibration
from cactus.retrieval.store import read_meta
from tests.retrieval.conftest import Made
from tests.retrieval.made import WordEmbedder

TOPICS = ("apples", "boats", "castles", "deserts", "engines", "flutes", "gardens", "hammers")


def calibration(made: Made) -> Calibration:
    db = made.index._store.read()
    try:
        return Calibration.from_json(read_meta(db).get("calibration"))
    finally:
        db.close()


def test_a_score_is_a_share_that_grows_with_both() -> None:
    for trust in (0.0, 0.5, 1.0):
        scale = Calibration(0.1, 0.7, trust, 9)
        values = [-1.0, 0.0, 0.3, 0.7, 1.0]
        table = np.array(
            [[scale.score(cosine, words) for words in values[1:]] for cosine in values]
        )
        assert ((table > 0) & (table < 1)).all()
        assert (np.diff(table, axis=0) >= 0).all() and (np.diff(table, axis=1) > 0).all()


def test_a_passage_and_its_part_score_high_and_strangers_below_the_floor() -> None:
    for unrelated, related in ((0.0, 0.7), (0.8, 0.95)):  # whatever the embedder's cosines are
        scale = Calibration(unrelated, related, 0.9, 9)
        assert scale.score(related, 0.8) > 0.8
        assert scale.score(unrelated, 0.0) < FLOOR / 2
        assert scale.score(related, None) > 0.6 and scale.score(None, 1.0) > 0.6
        assert scale.score(unrelated, None) < FLOOR and scale.score(None, 0.0) < FLOOR


def test_words_count_more_where_vectors_say_little() -> None:
    trusted, other = Calibration(0.1, 0.7, 1.0, 9), Calibration(0.1, 0.7, 0.0, 9)
    assert other.score(0.1, 1.0) > trusted.score(0.1, 1.0)
    assert other.score(0.9, 0.0) == other.score(0.0, 0.0)


def test_the_index_is_measured_by_excerpts_of_its_own(made: Made) -> None:
    random = np.random.default_rng(1)
    for topic in TOPICS:
        words = [f"{topic}{n}" for n in range(60)]
        text = "\n\n".join(" ".join(random.choice(words, 40)) for _ in range(4))
        made.write(f"{topic}.txt", text)
    made.index.sync()
    found = calibration(made)
    assert found.chunks == 38
    assert found.trust > 0.9 and found.related > found.unrelated + 0.2
    assert Calibration.from_json(found.to_json()) == found

    class Blind(WordEmbedder):
        def embed(self, texts: list[str], kind: str, *, stop: object = None) -> np.ndarray:
            vectors = np.zeros((len(texts), self.dimensions), np.float32)
            vectors[:, 0] = 1
            return vectors

    made.embedder = Blind("blind")
    with made.open() as index:
        index.sync()
    assert calibration(made).trust == 0.0


def test_it_is_measured_again_when_much_has_changed(made: Made) -> None:
    made.index.sync()
    first = calibration(made)
    assert first.chunks == 6
    made.write("one.txt", "One more paragraph.")
    made.index.sync()
    assert calibration(made) == first
    made.write("two.txt", "Two.\n\nMore.\n\nParagraphs.\n")
    made.index.sync()
    assert calibration(made).chunks == 10


@pytest.mark.parametrize("texts", [["x"], ["x", "x"], ["", "y"]])
def test_the_smallest_folders_have_a_scale(made: Made, texts: list[str]) -> None:
    for path in (made.folder / "fruit.md", made.folder / "sky/moon.txt"):
        path.unlink()
    for number, text in enumerate(texts):
        made.write(f"{number}.txt", text)
    made.index.sync()
    for mode, floor in itertools.product(("hybrid", "dense", "lexical"), (True, False)):
        hits = made.index.search("x y z", 10**9, mode=mode, floor=floor)
        assert len(hits) <= made.index.chunks
        assert all(0 <= hit.score <= 1 for hit in hits)
