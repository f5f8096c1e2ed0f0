"""Index folders of documents, search them, touch them, kill the process; on this machine.

    python benchmarks/indexing.py build --embedder all-minilm-l6-v2
                                               chunks/s, memory, size; one file touched
    python benchmarks/indexing.py queries      milliseconds at 20,000 and 200,000 chunks
    python benchmarks/indexing.py kill         kill -9 at 20 random moments

The documents are those of Debian's packages python3.11-doc, linux-doc-6.1 and postgresql-doc-15
(`apt-get install`). Without --embedder, texts get random vectors: what is measured then is reading,
cutting and writing alone, and a query costs what it costs without the embedder.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from indexing_child import DIMENSIONS, Pseudo
from question_sets import FAQS, QuestionSet, load
from report import markdown, publish
from runner import REPOSITORY, BenchmarkError, Busy, Progress, finish, machine, place, run_child

from cactus.documents.types import Chunk
from cactus.documents.walk import FileEntry
from cactus.retrieval.index import Index
from cactus.retrieval.types import Loaded, Mode, Read

HERE = Path(__file__).resolve().parent
DOC = Path("/usr/share/doc")
DOCUMENTS = {
    "python3.11-doc": DOC / "python3.11/html/_sources",
    "postgresql-doc-15": DOC / "postgresql-doc-15/html",
    "linux-doc-6.1": DOC / "linux-doc-6.1/html/_sources",
}
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")
KILLS = 20


def documents(name: str) -> Path:
    """The folder of a set."""
    folder = DOCUMENTS[name]
    if not folder.is_dir():
        raise BenchmarkError(f"{folder} is not there; apt-get install {name}")
    return folder


def build(given: argparse.Namespace, progress: Progress) -> tuple[dict[str, Any], str]:
    """Index each set in a process of its own; then again, and after touching one file."""
    found: dict[str, Any] = {}
    head = "set; files; chunks; chunks/s; MB of memory at 25, 50, 75, 100 %; KB a chunk; again, s"
    rows = [[*head.split("; "), "touched: embedded", "touched, s"]]
    for name in given.set or DOCUMENTS:
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            folder = Path(scratch) / name
            _copy(documents(name), folder, given.files)
            progress.show(f"indexing {name}")
            command = [sys.executable, HERE / "indexing_child.py", folder, Path(scratch) / "cache"]
            command += ["--embedder", given.embedder or "", "--threads", str(given.threads)]
            child = run_child([*command, "--again"])
        result = json.loads(child.stdout.splitlines()[-1])
        found[name] = {**result, "peak_rss_mb": child.peak_rss / 1e6, "others": child.others}
        memory = result["memory_mb"]
        curve = [memory[min(len(memory) - 1, len(memory) * part // 4)] for part in (1, 2, 3, 4)]
        rows.append(
            [
                name,
                f"{result['files']:,}",
                f"{result['chunks']:,}",
                f"{result['chunks'] / result['seconds']:,.0f}",
                ", ".join(f"{value:.0f}" for value in curve),
                f"{result['bytes'] / result['chunks'] / 1000:.2f}",
                f"{result['again_seconds']:.2f}",
                f"{result['touched_embedded']} of {result['touched_chunks']}",
                f"{result['touched_seconds']:.2f}",
            ]
        )
    return found, markdown(rows)


def _copy(source: Path, target: Path, files: int | None) -> None:
    """A copy that may be touched; of each package the first ``files`` only, if that is given."""
    paths = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for path in paths[:files]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


class Pieces:
    """Chunks of real text without files: as many as are wanted, no two alike."""

    version, abilities = "pieces", ""

    def __init__(self, chunks: int, sets: Sequence[QuestionSet]) -> None:
        self._chunks, self._each = chunks, 100
        texts = [p.read_text("utf-8") for each in sets for p in each.folder.rglob("*.*")]
        self._words = " ".join(texts).split()

    def walk(self) -> Any:
        """A hundred chunks a file."""
        for number in range(self._chunks // self._each):
            yield FileEntry(f"{number}", f"{number:05}.txt", 1, 1, number)

    def load(self, entry: FileEntry) -> Loaded:
        """Its number."""
        return Loaded(entry.name.encode(), entry.name.encode())

    def read(self, entry: FileEntry, loaded: Loaded) -> Read:
        """Stretches of 130 words each, about 200 tokens, from places all over the texts."""
        source = random.Random(entry.name)

        def chunks() -> Any:
            for number in range(self._each):
                at = source.randrange(len(self._words) - 130)
                text = " ".join(self._words[at : at + 130])
                start = number * 1000
                yield Chunk(text, start, start + len(text), "", "", None, None, None, 200)

        return Read({}, chunks())


def queries(given: argparse.Namespace, progress: Progress) -> tuple[dict[str, Any], str]:
    """Searches for people's questions, in an index of so many chunks."""
    sets = [load(name) for name in FAQS]
    asked = [question.text for each in sets for question in each.questions]
    asked = random.Random(0).sample(asked, min(given.queries, len(asked)))
    found: dict[str, Any] = {}
    head = "chunks; mode; p50, ms; p95, ms; p50 of processor time, ms; first, ms; MB on disk"
    rows = [head.split("; ")]
    for count in map(int, given.chunks.split(",")):
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            root = Path(scratch) / "documents"
            root.mkdir()
            embedder = Pseudo()
            with Index(root, Pieces(count, sets), embedder, Path(scratch) / "cache") as index:
                progress.show(f"making an index of {count:,} chunks")
                index.sync()
                size = index.path.stat().st_size
                for mode in MODES:
                    took = [_search(index, text, mode) for text in asked]
                    first, rest = took[0][0], sorted(wall for wall, _ in took[1:])
                    times = [median(rest), quantiles(rest, n=20)[-1]]
                    times.append(median(cpu for _, cpu in took[1:]))
                    shown = [f"{milliseconds:.1f}" for milliseconds in times]
                    rows.append([f"{count:,}", mode, *shown, f"{first:.0f}", f"{size / 1e6:.0f}"])
                    found[f"{count} {mode}"] = took
    return found, markdown(rows)


def _search(index: Index, text: str, mode: Mode) -> tuple[float, float]:
    """Milliseconds of a search, by the clock and of processors."""
    start, used = time.perf_counter(), time.process_time()
    # Random vectors are like nothing: with the floor there would be no hit to be read.
    index.search(text, 5, mode=mode, floor=False)
    return (time.perf_counter() - start) * 1000, (time.process_time() - used) * 1000


def kill(given: argparse.Namespace, progress: Progress) -> tuple[dict[str, Any], str]:
    """Kill the indexing process at random moments; what is finished equals an undisturbed index.

    Each process goes on with what the one before left. When all is there, an empty index is begun.
    """
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        folder = Path(scratch) / "documents"
        _copy(documents("python3.11-doc"), folder, given.files)
        clean, seconds, files = _indexed(folder, Path(scratch) / "clean")
        rounds: list[list[int]] = [[]]
        for number in range(KILLS):
            cache = Path(scratch) / f"killed-{len(rounds)}"
            delay = moments.uniform(0, seconds / 4)
            progress.show(f"kill {number + 1} of {KILLS}, after {delay:.2f} s of indexing")
            command = [sys.executable, HERE / "indexing_child.py", folder, cache, "--say-begin"]
            with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                child.stdout.readline()  # it begins
                time.sleep(delay)
                child.send_signal(signal.SIGKILL)
            whole, fault = _state(cache)
            if fault or whole < max(rounds[-1], default=0):
                raise BenchmarkError(f"after kill {number + 1}, {whole} files: {fault or 'fewer'}")
            rounds[-1].append(whole)
            if whole == files or number == KILLS - 1:
                if _indexed(folder, cache)[0] != clean:
                    raise BenchmarkError(f"after kill {number + 1} the finished index differs")
                rounds.append([])
    done = [", ".join(map(str, each)) for each in rounds[:-1]]
    shown = (
        f"Of {files} files, so many were whole after each of {KILLS} kills: "
        f"{'; anew: '.join(done)}. Every finished index equals an undisturbed one."
    )
    return {"whole": rounds[:-1], "files": files}, shown


def _indexed(folder: Path, cache: Path) -> tuple[list[Any], float, int]:
    """All that an index says after a whole run, its seconds, and how many files there are."""
    start = time.perf_counter()
    run_child([sys.executable, HERE / "indexing_child.py", folder, cache])
    seconds = time.perf_counter() - start
    with closing(sqlite3.connect(_file(cache))) as db:
        rows = db.execute(
            "SELECT f.name, c.start, c.stop, c.heading, c.text, v.vector, f.digest FROM files f"
            " JOIN chunks c ON c.file = f.id JOIN vectors v ON v.chunk = c.id"
            " ORDER BY f.name, c.id"
        ).fetchall()
        (words,) = db.execute("SELECT count(*) FROM words").fetchone()
    return [*rows, ("words", words)], seconds, len({row[0] for row in rows})


def _state(cache: Path) -> tuple[int, str]:
    """How many files are whole, and what is wrong with the index."""
    try:
        path = _file(cache)
    except BenchmarkError:
        return 0, ""  # killed before it made one
    with closing(sqlite3.connect(path)) as db:
        (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return 0, ""
        checks = {
            "chunks without a file": "SELECT count(*) FROM chunks WHERE file NOT IN"
            " (SELECT id FROM files)",
            "chunks without a vector": "SELECT count(*) FROM chunks WHERE id NOT IN"
            " (SELECT chunk FROM vectors)",
            "vectors without a chunk": "SELECT count(*) FROM vectors WHERE chunk NOT IN"
            " (SELECT id FROM chunks)",
        }
        faults = [what for what, query in checks.items() if db.execute(query).fetchone()[0]]
        faults += [] if verdict == "ok" else [verdict]
        return db.execute("SELECT count(*) FROM files").fetchone()[0], "; ".join(faults)


def _file(cache: Path) -> Path:
    found = sorted(cache.rglob("*.sqlite"))
    if len(found) != 1:
        raise BenchmarkError(f"{cache} has {len(found)} indexes, expected 1")
    return found[0]


WORKS = {"build": build, "queries": queries, "kill": kill}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=WORKS)
    add("--embedder", help="a model (default: random vectors)")
    add("--set", action="append", choices=DOCUMENTS, help="only these documents")
    add("--files", type=int, help="only the first files of each set")
    add("--threads", type=int, default=2, help="threads of the embedder (default: 2)")
    add("--chunks", default="20000,200000", help="sizes of indexes to be searched")
    add("--queries", type=int, default=200, help="searches of each kind (default: 200)")
    add("--seed", type=int, default=0, help="of the moments of killing")
    add("--scratch", type=Path, help="where temporary folders are made")
    add("--publish", action="store_true", help="put it into docs/embeddings-performance.md")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    return parser.parse_args()


def run(given: argparse.Namespace, progress: Progress) -> None:
    """Do what was asked for, and print it."""
    start, busy = machine(), Busy()
    found, shown = WORKS[given.what](given, progress)
    progress.close()
    how = f"embedder: {given.embedder or 'none (random vectors)'}"
    text = f"{place(start)}; {how}; {busy}.\n\n{shown}"
    print(text)
    if given.publish:
        page = REPOSITORY / "docs" / "embeddings-performance.md"
        publish(page, text, f"indexing.py {given.what}")
    if given.json:
        kept = {"machine": start, "dimensions": DIMENSIONS, given.what: found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    """Run it; errors go to standard error."""
    given, progress = arguments(), Progress()
    return finish("indexing", lambda: run(given, progress), progress)


if __name__ == "__main__":
    sys.exit(main())
