"""Child of indexing.py: index a folder, print a line of JSON.

python indexing_child.py FOLDER CACHE [--embedder MODEL] [--again] [--say-begin]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cactus.retrieval.index import Index

DIMENSIONS = 384


class Pseudo:
    """An embedder whose vectors are random, and the same for the same text."""

    name, fingerprint, dimensions, max_tokens = "pseudo", "00", DIMENSIONS, 256

    def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"], **_: object
    ) -> NDArray[np.float32]:
        """Unit vectors."""
        rows = [np.random.default_rng(zlib.crc32(text.encode())) for text in texts]
        found = np.array([row.standard_normal(DIMENSIONS, np.float32) for row in rows])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def token_offsets(self, text: str) -> Sequence[int]:
        """About as many as a tokenizer finds."""
        return [match.start() for match in re.finditer(r"\w{1,6}|[^\w\s]", text)]


def main() -> None:
    """Index it; with --again also without changes, and with a line more in one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--embedder", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--say-begin", action="store_true")
    given = parser.parse_args()
    embedder: Any = Pseudo()
    if given.embedder:
        from cactus.embed.embedder import ModelEmbedder
        from cactus.weights.resolve import resolve

        folder = resolve(given.embedder, ability="embed")
        embedder = ModelEmbedder.load(folder, threads=given.threads)
    if given.say_begin:
        print("begins", flush=True)
    memory: list[float] = []
    looked = 0.0

    def look(label: str, done: int, total: int) -> None:
        nonlocal looked
        if time.monotonic() - looked >= 0.5:
            looked = time.monotonic()
            memory.append(resident())

    with Index.open(given.folder, embedder, given.cache) as index:
        start = time.perf_counter()
        report = index.sync(look)
        seconds = time.perf_counter() - start
        found = {
            "files": report.added,
            "skipped": dict(report.skipped.counts),
            "chunks": report.chunks,
            "tokens": index.tokens,
            "seconds": seconds,
            "bytes": index.path.stat().st_size,
            "memory_mb": [*memory, resident()],
        }
        if given.again:
            found |= again(index, given.folder)
    print(json.dumps(found))


def again(index: Index, folder: Path) -> dict[str, Any]:
    """Sync without changes, and after a change in one file of middle size."""
    start = time.perf_counter()
    report = index.sync()
    found: dict[str, Any] = {"again_seconds": time.perf_counter() - start}
    assert not (report.embedded or report.changed), report
    paths = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    touched = paths[len(paths) * 3 // 4]
    with touched.open("a", encoding="utf-8") as file:
        file.write("\n\nOne more paragraph, which was not there before.\n")
    start = time.perf_counter()
    report = index.sync()
    name = touched.relative_to(folder).as_posix()
    chunks = sum(hit.source == name for hit in index.all())
    found |= {
        "touched_seconds": time.perf_counter() - start,
        "touched_embedded": report.embedded,
        "touched_chunks": chunks,
    }
    assert report.changed == 1, report
    return found


def resident() -> float:
    """MB of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
