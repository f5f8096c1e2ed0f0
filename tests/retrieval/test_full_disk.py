"""A disk that takes no more at any moment of a sync: what is said, and what is there then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.retrieval.conftest import Made
from tests.retrieval.test_sync import contents

# A file may not grow beyond the limit, as on a disk without room: SQLite cannot tell them apart.
CHILD = """
import resource, sys
from pathlib import Path
from cactus.errors import CorpusError
from cactus.retrieval import writer
from cactus.retrieval.index import Index
from tests.retrieval.made import Paragraphs, WordEmbedder
writer._COMMIT_SECONDS = 0.0
folder, cache = map(Path, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
with Index(folder, Paragraphs(folder), WordEmbedder(), cache) as index:
    try:
        index.sync()
        print("done")
    except CorpusError as error:
        print(error)
"""


@pytest.mark.fault("F65", "F73")
@pytest.mark.parametrize("size", [0, 100, 4096, 10_000, 33_000, 50_000, 100_000, 150_000])
def test_the_error_says_so_and_the_next_sync_goes_on(made: Made, tmp_path: Path, size: int) -> None:
    for n in range(30):
        made.write(f"more/{n:02}.txt", f"Paragraph {n} of many.\n\nAnother, number {n}.\n" * 9)
    root = Path(__file__).parents[2]
    printed = subprocess.run(
        [sys.executable, "-c", CHILD, made.folder, made.cache, str(size)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    ).stdout
    assert str(made.cache) in printed and ("disk" in printed or "too large" in printed)
    made.index.sync()
    whole, found = contents(made), made.index.search("another number")
    made.cache = tmp_path / "other"
    with made.open() as index:
        index.sync()
        assert found and index.search("another number") == found
    assert len(whole) > 300 and contents(made) == whole
