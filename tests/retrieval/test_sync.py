"""Bringing an index up to date: what changed is read, what is new is embedded, all else stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled, CorpusError
from tests.retrieval.conftest import FRUIT, Made
from tests.retrieval.made import Paragraphs, WordEmbedder


def age(made: Made) -> None:
    """Make the files old enough that their times can be believed."""
    for path in made.folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


def contents(made: Made) -> list[tuple[str, int, str]]:
    with made.open() as index:
        return [(hit.source, hit.start, hit.text) for hit in index.all()]


def test_a_new_index_holds_every_chunk(made: Made) -> None:
    report = made.index.sync()
    assert (report.added, report.chunks, report.embedded) == (2, 6, 6)
    assert (made.index.files, made.index.chunks, made.index.tokens) == (2, 6, 47)
    for hit in made.index.all():
        document = (made.folder / hit.source).read_text("utf-8")
        assert document[hit.start : hit.end] == hit.text
        assert document.splitlines()[hit.line - 1].startswith(hit.text.splitlines()[0])
    assert [hit.text for hit in made.index.all(limit=1)] == ["# Fruit"]


def test_what_did_not_change_is_not_read_again(made: Made) -> None:
    age(made)
    made.index.sync()
    made.source.loaded.clear()
    report = made.index.sync()
    assert (report.unchanged, report.added, report.embedded) == (2, 0, 0)
    assert made.source.loaded == []


def test_a_touched_file_is_compared_by_content(made: Made) -> None:
    age(made)
    made.index.sync()
    made.source.loaded.clear()
    made.source.read_.clear()
    os.utime(made.folder / "fruit.md", (1_600_000_100, 1_600_000_100))
    os.utime(made.folder / "fruit.md", (1_600_000_100, 1_600_000_100))
    for _ in range(2):  # the second time its new time is known
        report = made.index.sync()
        assert (report.unchanged, report.changed, report.embedded) == (2, 0, 0)
        assert made.source.loaded == ["fruit.md"]
    assert made.source.read_ == []


def test_a_file_written_this_moment_is_compared_again(made: Made) -> None:
    made.index.sync()  # within the same time stamp it may change and keep its size
    path = made.folder / "fruit.md"
    status = path.stat()
    path.write_text(FRUIT.replace("Apples", "Quince"), "utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert made.index.sync().changed == 1
    assert "Quince" in made.index.search("Quince", 1, floor=False)[0].text


def test_of_a_changed_file_only_new_text_is_embedded(made: Made) -> None:
    made.index.sync()
    made.embedder.texts.clear()
    made.write("fruit.md", FRUIT.replace("Bananas", "Plantains") + "\nPears are late.\n")
    report = made.index.sync()
    assert (report.changed, report.unchanged, report.embedded, report.chunks) == (1, 1, 2, 7)
    assert [text.split()[1] for text in made.embedder.texts] == ["Plantains", "Pears"]
    texts = [hit.text for hit in made.index.all()]
    assert [text.split()[0] for text in texts[:5]] == ["#", "Apples", "Plantains", "The", "Pears"]
    assert not any("Bananas" in hit.text for hit in made.index.search("Bananas", 9, floor=False))


def test_a_renamed_file_keeps_its_vectors(made: Made) -> None:
    made.index.sync()
    (made.folder / "fruit.md").rename(made.folder / "obst.md")
    report = made.index.sync()
    assert (report.added, report.removed, report.embedded, report.chunks) == (1, 1, 0, 6)
    assert {hit.source for hit in made.index.all()} == {"obst.md", "sky/moon.txt"}


def test_a_deleted_file_leaves_nothing(made: Made) -> None:
    made.index.sync()
    (made.folder / "fruit.md").unlink()
    report = made.index.sync()
    assert (report.removed, report.chunks) == (1, 2)
    assert made.index.search("Apples", 9, mode="lexical", floor=False) == []
    assert {hit.source for hit in made.index.search("Apples", 9, floor=False)} == {"sky/moon.txt"}


def test_a_file_that_cannot_be_read_is_tried_again_when_it_changes(made: Made) -> None:
    made.write("bad.txt", "!")
    for reads in (1, 1):
        report = made.index.sync()
        assert (report.failed, report.chunks) == (1, 6)
        assert str(report.skipped.examples["damaged"][0]).startswith("bad.txt: damaged (it begins")
        assert made.source.read_.count("bad.txt") == reads
    made.write("bad.txt", "Good now.")
    assert made.index.sync().changed == 1
    made.write("bad.txt", "!")
    report = made.index.sync()
    assert (report.failed, report.chunks) == (1, 6)


def test_files_that_failed_are_tried_again_with_new_abilities(made: Made) -> None:
    made.write("bad.txt", "!")
    made.index.sync()
    made.source.abilities = "more"
    made.source.read_.clear()
    assert made.index.sync().unchanged == 2
    assert made.source.read_ == ["bad.txt"]


@pytest.mark.fault("F71")
def test_a_file_that_cannot_be_opened_is_named_and_not_remembered(made: Made) -> None:
    made.index.sync()
    (made.folder / "fruit.md").unlink()
    (made.folder / "fruit.md").symlink_to("/etc/passwd")
    report = made.index.sync()
    assert dict(report.skipped.counts) == {"outside": 1}
    assert (report.failed, report.removed, report.chunks) == (0, 1, 2)


@pytest.mark.fault("F73")
def test_another_embedder_makes_the_index_anew_and_says_so(made: Made) -> None:
    made.index.sync()
    other = WordEmbedder("words-2", 32)
    with made.open(other) as index:
        with pytest.raises(CorpusError, match="made with the embedder words words-1, not words w"):
            index.search("apples")
        report = index.sync()
        assert report.rebuilt == "it was made with the embedder words words-1"
        assert (report.added, report.embedded) == (2, 6)
        assert index.search("Apples grow on trees", 1, floor=False)[0].source == "fruit.md"
    with pytest.raises(CorpusError, match="words words-2"):  # the other one notices
        made.index.search("apples")


def test_another_reader_makes_the_index_anew(made: Made) -> None:
    made.index.sync()
    made.source.version = "2"
    report = made.index.sync()
    assert report.rebuilt == "files are read or cut in another way now"
    assert report.embedded == 6
    assert made.index.sync().rebuilt == ""


def test_an_embedder_that_gives_no_numbers_changes_nothing(made: Made) -> None:
    class Broken(WordEmbedder):
        def embed(self, texts: list[str], kind: str, *, stop: object = None) -> np.ndarray:
            return np.full((len(texts), self.dimensions), np.nan, np.float32)

    with made.open(Broken()) as index:
        with pytest.raises(CorpusError, match="not finite"):
            index.sync()
        assert index.chunks == 0


def test_progress_goes_from_nothing_to_all(made: Made) -> None:
    told: list[tuple[str, int, int]] = []
    made.index.sync(lambda *state: told.append(state))
    size = sum(path.stat().st_size for path in made.folder.rglob("*.*"))
    assert told[0] == ("indexing", 0, size)
    assert told[-1] == ("indexing", size, size)
    assert told == sorted(told)


def test_a_stopped_sync_keeps_the_files_that_were_done(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.retrieval.writer._COMMIT_SECONDS", 0.0)
    stop = StopFlag()

    class Stopping(Paragraphs):
        def read(self, entry, loaded):  # type: ignore[no-untyped-def]
            if entry.name == "sky/moon.txt":
                stop.set()
            return super().read(entry, loaded)

    made.source = Stopping(made.folder)
    with made.open() as index:
        with pytest.raises(Cancelled, match="files that were done are kept"):
            index.sync(stop=stop)
        assert {hit.source for hit in index.all()} == {"fruit.md"}
        assert made.index.sync().embedded == 2


@pytest.mark.fault("F73")
@pytest.mark.timeout(60)
def test_two_syncs_at_once_make_one_index(made: Made) -> None:
    for n in range(40):
        made.write(f"more/{n}.txt", f"Paragraph {n} of many.\n\nAnother one, number {n}.\n")
    reports = []

    def run() -> None:
        with made.open(WordEmbedder()) as index:
            reports.append(index.sync())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # Whoever searches meanwhile sees some whole files.
        with made.open() as index:
            if index.path.exists() and reports:
                assert index.search("Another number", 3, floor=False)
    assert sorted(report.added for report in reports) == [0, 0, 42]
    assert all(report.chunks == 86 for report in reports)


CHILD = """
import sys
from pathlib import Path
from cactus.retrieval import writer
from cactus.retrieval.index import Index
from tests.retrieval.made import Paragraphs, WordEmbedder
writer._COMMIT_SECONDS = 0.0
folder, cache = map(Path, sys.argv[1:])
class Slow(Paragraphs):
    def read(self, entry, loaded):
        print(entry.name, flush=True)
        return super().read(entry, loaded)
Index(folder, Slow(folder), WordEmbedder(), cache).sync()
"""


@pytest.mark.fault("F73")
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.timeout(120)
def test_a_killed_sync_leaves_whole_files_and_is_continued(made: Made, tmp_path: Path) -> None:
    for n in range(30):
        made.write(f"more/{n:02}.txt", f"Paragraph {n} of many.\n\nAnother, number {n}.\n")
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, made.folder, made.cache],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    for _ in range(7):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    files: dict[str, int] = {}
    for source, _, _ in contents(made):
        files[source] = files.get(source, 0) + 1
    assert all(count == 2 for name, count in files.items() if name != "fruit.md")
    report = made.index.sync()
    assert report.added == 32 - len(files)
    assert report.chunks == 66
    whole = contents(made)
    made.cache = tmp_path / "other"
    with made.open() as index:
        index.sync()
    assert contents(made) == whole
