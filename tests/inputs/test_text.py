"""Texts from elsewhere, as messages have them."""

from __future__ import annotations

import errno
import os
import re

import pytest

from cactus.inputs.text import one_line, reason_of
from tests.background import ROOT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.bin"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file or directory"),
        (OSError("of a library's own"), "of a library's own"),
        (ValueError("not a number"), "not a number"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_has_no_number_and_is_never_empty(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_what_a_system_says_is_put_in_words_in_one_place() -> None:
    by_hand = re.compile(r"\.strerror\b|\b(error|exc|cause|failure)\.args\[1\]")
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "python" / "cactus").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if by_hand.search(line) and "os.strerror(" not in line
    }
    assert found == set()


def test_a_long_line_is_marked_as_cut() -> None:
    assert one_line("a\nb\x1b[2J") == "a b [2J"
    assert one_line("x" * 301) == "x" * 299 + "…"
