"""Vectors that a command makes, written as they come: lines of JSON, or one array."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.cli.text import complain
from cactus.inputs.lines import float32_list, json_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.progress import Progress

Block = tuple[Sequence[dict[str, Any]], "NDArray[np.float32]"]
"""The fields that go with some vectors, and the vectors, [n, dimensions]."""


class VectorWriter(ABC):
    """Writes the vectors of what a command is given. `failed`: some of it was left out."""

    failed = False

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """The vectors, as they are made; what has none is reported."""

    @abstractmethod
    def empty(self) -> NDArray[np.float32]:
        """The array of no vectors."""

    def report(self, reason: str) -> None:
        """Say why something has no vector."""
        self.failed = True
        complain(reason)

    def write_lines(self, output: Path | None) -> None:
        """A line of JSON for each vector, after each block."""
        blocks = self.blocks()
        begun = list(islice(blocks, 1))  # before a file is emptied: an option may be wrong
        with ExitStack() as stack:
            target = sys.stdout
            if output is not None:
                target = stack.enter_context(output.open("w", encoding="utf-8"))
            for rows, vectors in chain(begun, blocks):
                for fields, vector in zip(rows, vectors, strict=True):
                    numbers = float32_list(vector.tolist())
                    print(json_line({**fields, "embedding": numbers}), file=target)
                target.flush()

    def write_array(self, output: Path | None) -> None:
        """One array [vectors, dimensions] of all, if nothing was left out."""
        import numpy as np

        blocks = [vectors for _, vectors in self.blocks()]
        if self.failed:
            return
        whole = np.concatenate(blocks) if blocks else self.empty()
        if output is None:
            np.save(sys.stdout.buffer, whole)
        else:
            with output.open("wb") as file:  # np.save would add a suffix to the name
                np.save(file, whole)


def progress_from(shown: Progress | None, done: int) -> Progress | None:
    """Progress of a block as that of all, whose number nobody knows."""
    return shown and (lambda label, count, _: shown(label, done + count, 0))
