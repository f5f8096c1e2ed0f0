"""How fast documents are read and cut: MB/s of files, for each kind that a folder has.

    python benchmarks/reading.py /usr/share/doc/python3.11/html/_sources [PATTERN ...]

Seconds are processor time, of the process that reads for others, too. Tokens are runs of six
letters and single marks; finding them is not counted, since an embedder's tokenizer does that.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from indexing_child import Pseudo
from report import markdown

from cactus.documents.chunk import chunk
from cactus.documents.read import Reader
from cactus.documents.types import Document, Skipped, Summary
from cactus.documents.walk import walk


@dataclass
class Kind:
    """What the files of one kind took."""

    files: int = 0
    megabytes: float = 0.0
    read: float = 0.0
    cut: float = 0.0
    chunks: int = 0
    tokens: int = 0


class Tokens:
    """Offsets of tokens, and how long it took to find them."""

    seconds = 0.0

    def __call__(self, text: str) -> Sequence[int]:
        began = time.process_time()
        found = Pseudo().token_offsets(text)
        self.seconds += time.process_time() - began
        return found


def main() -> None:
    """Read and cut everything below a folder."""
    kinds: dict[str, Kind] = defaultdict(Kind)
    skipped = Summary()
    with Reader() as reader:
        for entry in walk(sys.argv[1], include=sys.argv[2:]):
            began = time.process_time()
            found = entry if isinstance(entry, Skipped) else reader.read(entry)
            read = time.process_time() - began
            if not isinstance(found, Document) or isinstance(entry, Skipped):
                skipped.add(found)  # type: ignore[arg-type]
                continue
            tokens = Tokens()
            began = time.process_time()
            sizes = [piece.tokens for piece in chunk(found, tokens)]
            kind = kinds[found.kind]
            kind.cut += time.process_time() - began - tokens.seconds
            kind.read += read
            kind.files += 1
            kind.megabytes += entry.size / 1e6
            kind.chunks += len(sizes)
            kind.tokens += sum(sizes)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # the reader's process has ended
    rows = [["kind", "files", "MB", "read, MB/s", "cut, MB/s", "chunks", "tokens a chunk"]]
    for name, kind in sorted(kinds.items()):
        rows.append(
            [
                name,
                f"{kind.files:,}",
                f"{kind.megabytes:.1f}",
                f"{kind.megabytes / max(kind.read, 1e-9):.1f}",
                f"{kind.megabytes / max(kind.cut, 1e-9):.1f}",
                f"{kind.chunks:,}",
                f"{kind.tokens / max(kind.chunks, 1):.0f}",
            ]
        )
    print(markdown(rows))
    print(f"{skipped}. The process that reads for others took {children.ru_utime:.1f} s.")


if __name__ == "__main__":
    main()
