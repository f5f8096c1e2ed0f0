"""The measures of a ranking, on rankings whose worth is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bench(load: Any) -> Any:
    return load("retrieval")


def test_one_answer_counts_by_its_place(bench: Any) -> None:
    assert bench.measures(["a", "b", "c"], {"a": 1}) == (1.0, 1.0, 1.0)
    recall, mrr, ndcg = bench.measures(["a", "b", "c"], {"b": 1})
    assert (recall, mrr) == (1.0, 0.5) and ndcg == pytest.approx(1 / math.log2(3))
    assert bench.measures(["a", *"bcdef"], {"f": 1})[:2] == (0.0, 1 / 6)
    assert bench.measures(list("abcdefghijk"), {"k": 1}) == (0.0, 0.0, 0.0)
    assert bench.measures([], {"a": 1}) == (0.0, 0.0, 0.0)


def test_several_answers_count_by_their_worth(bench: Any) -> None:
    recall, mrr, ndcg = bench.measures(["x", "b", "a"], {"a": 4, "b": 1, "c": 2})
    assert (recall, mrr) == (2 / 3, 0.5)
    best = 4 + 2 / math.log2(3) + 1 / 2
    assert ndcg == pytest.approx((1 / math.log2(3) + 4 / 2) / best)
    assert bench.measures(list("abcde"), dict.fromkeys("abcdefgh", 1)).recall == 1.0


def test_the_table_has_a_line_for_each_mode(bench: Any) -> None:
    found = bench.Found(0.5, 0.25, 0.125)
    row = {"set": "s", "chunks": 3, **dict.fromkeys(bench.MODES, found), "strangers refused": 0.9}
    lines = bench.table([row]).splitlines()
    assert "| s | 3 | hybrid | 0.500 | 0.250 | 0.125 |" in lines
    assert lines[-1] == "| s |  |  | 90.0% |"


def test_a_set_that_cannot_be_measured_fails_the_command(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path
) -> None:
    words = ["retrieval", str(tiny_model), "--sets", "cranfield", "--data", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    assert bench.main() == 1
