"""The figures of the STS benchmark, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

LINES = """\
news\tMSRpar\t2012\t1\t5.000\tA "cat" sits.\tA cat is sitting.
news\tMSRpar\t2012\t2\t1.500\tA cat.\tShares fell.\tmore\tcolumns
news\tMSRpar\t2012\t3\t3.000\tA dog.\tA cat.
"""


@pytest.fixture
def stsb(load: Any) -> Any:
    return load("stsb")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sts.csv"
    path.write_text(LINES)
    return path


def test_ranks_and_not_values_are_correlated(stsb: Any) -> None:
    assert stsb.spearman([1, 2, 3], [1, 8, 900]) == pytest.approx(1)
    assert stsb.spearman([3, 2, 1], [1, 2, 3]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4.
    assert stsb.spearman([1, 2, 2, 9], [1, 3, 2, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_pairs_are_read_as_they_are_published(stsb: Any, data: Path) -> None:
    pairs = stsb.read_pairs(data)
    assert [pair.score for pair in pairs] == [5, 1.5, 3]
    assert (pairs[0].one, pairs[1].other) == ('A "cat" sits.', "Shares fell.")
    data.write_text("a\tb\n")
    with pytest.raises(SystemExit, match="line 1: 2 columns, expected 7"):
        stsb.read_pairs(data)


def test_the_first_half_is_compared_with_the_second(stsb: Any) -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 3], [2, 2]], np.float32)
    assert stsb.cosines(vectors, 2).tolist() == pytest.approx([0, 1])


def test_a_model_gets_its_figure(
    stsb: Any, data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stsb.main([str(data), str(tiny_model)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(tiny_model)) and -100 <= float(line.split()[-1]) <= 100
