"""Sizes and times on a command line."""

from __future__ import annotations

import click
import pytest

from cactus.cli.quantities import Duration, Size


def test_sizes_and_times_are_read_as_people_write_them() -> None:
    for text, value in (("4GB", 4 * 10**9), ("1.5 MiB", 3 << 19), ("0", 0), ("32k", 32768)):
        assert Size().convert(text, None, None) == value
    for text, seconds in (("30s", 30), ("5m", 300), ("1h", 3600), ("7", 7), ("200ms", 0.2)):
        assert Duration().convert(text, None, None) == seconds
    assert Duration(forever=True).convert("forever", None, None) == float("inf")
    assert Size(share=True).convert("50%", None, None) > 0
    for kind, text in ((Size(), "50%"), (Size(), "-1"), (Size(), "many"), (Duration(), "forever"),
                       (Duration(), "soon"), (Size(share=True), "150%")):  # fmt: skip
        with pytest.raises(click.BadParameter, match="such as"):
            kind.convert(text, None, None)
