"""Compare our text embeddings with other engines', in interleaved rounds on this machine.

    python benchmarks/embeddings.py                       everything
    python benchmarks/embeddings.py --case short --peer openvino --threads 1

Text goes in, vectors of unit length come out: tokenizing and pooling count. all-MiniLM-L6-v2 embeds
one short text, and 256 texts of 128 tokens; nomic-embed-text-v1.5 one text of 2,000 tokens. Peers
whose caller chooses how many texts make a step take what was the fastest in their first round. The
cosine is that to sentence-transformers in f32, the mean and the smallest over a case's texts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import embedding_models
import numpy as np
from embedding_child import Job
from embedding_models import Prepared
from embedding_report import CASES, OURS, REFERENCE, SIDES, Case, Found, SideKey, plain, text
from report import publish, thread_text
from rounds import BUSY_LIMIT, Quiet, add_rounds
from runner import (
    REPOSITORY,
    BenchmarkError,
    Child,
    Command,
    Progress,
    finish,
    machine,
    place,
    run_child,
)

HERE = Path(__file__).resolve().parent


class Source:
    """Words of this project's documents, cut into texts of exact numbers of tokens."""

    def __init__(self, tokenizer: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        pages = sorted((REPOSITORY / "docs").glob("*.md"))
        self.words = " ".join(page.read_text("utf-8") for page in pages).split()

    def texts(self, case: Case) -> list[str]:
        """The texts of a case, the tokens at their ends counted; the short one is a question."""
        if case.tokens < 20:
            return ["How do I find the largest file in a folder?"]
        found: list[str] = []
        at = 0
        while len(found) < case.count:
            words: list[str] = []
            room = case.tokens - 2
            while room >= (size := self._size(word := self.words[at % len(self.words)])):
                words.append(word)
                room -= size
                at += 1
            found.append(" ".join([*words, *["."] * room]))
        return found

    def _size(self, word: str) -> int:
        return len(self.tokenizer.encode(word, add_special_tokens=False).ids)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    engines = list(dict.fromkeys(engine for engine, _ in SIDES))
    add("--case", action="append", choices=list(CASES), help="only these cases")
    add("--peer", action="append", choices=engines, help="only these engines, and the reference")
    add_rounds(parser)
    add("--cpu", action="store_true", help="ratios of processor time, for one thread when busy")
    add("--publish", action="store_true", help="put the tables into docs/embeddings-performance.md")
    add("--prepare", action="store_true", help="only make what is needed")
    return parser.parse_args()


def run(given: argparse.Namespace, progress: Progress) -> None:
    """Prepare, measure, print."""
    start = machine()
    cases = [CASES[name] for name in given.case or CASES]
    names = list(dict.fromkeys(case.model for case in cases))
    prepared = embedding_models.prepare(names, _paragraphs(), progress)
    if given.prepare:
        return
    source = Source(prepared.tokenizer)
    texts = {case.name: source.texts(case) for case in cases}
    wanted = [
        side for side in SIDES if not given.peer or side[0] in given.peer or side == REFERENCE
    ]
    counts = [int(count) for count in given.threads.split(",")]
    todo = [
        (case, threads, side)
        for case in cases
        for threads in counts
        for side in wanted
        if (case.model, *side) in prepared.models
    ]
    progress.total = len(todo) * given.rounds
    found, quiet = Found(), Quiet(given.retries)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for case, threads, side in todo if number % 2 == 0 else todo[::-1]:
                label = f"{case.name}, {thread_text(threads)}, {' '.join(side)}"
                progress.step(f"round {number + 1}: {label}")
                _sample(found, quiet, prepared, case, texts[case.name], threads, side, folder)
    progress.close()
    shown = "\n\n".join(
        [_heading(start, found, quiet), *(text(found, case, counts, given.cpu) for case in cases)]
    )
    print(shown)
    if given.publish:
        publish(REPOSITORY / "docs" / "embeddings-performance.md", shown, "embeddings.py")
    if given.json:
        given.json.write_text(json.dumps(plain(start, found, quiet), indent=1) + "\n")


def _heading(start: dict[str, object], found: Found, quiet: Quiet) -> str:
    """What was measured on what, and whether it was quiet."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items()))
    disturbed = sum(others > BUSY_LIMIT for others in quiet.disturbance)
    return (
        f"{place(start)}; {versions}. "
        f"{disturbed} of {len(quiet.disturbance)} measurements were disturbed: others kept up to "
        f"{max(quiet.disturbance):.2f} cores busy."
    )


def _sample(
    found: Found,
    quiet: Quiet,
    prepared: Prepared,
    case: Case,
    texts: list[str],
    threads: int,
    side: SideKey,
    folder: str,
) -> None:
    """One child process, added to what was found."""
    key, (engine, kind) = (case.name, threads), side
    vectors, path = Path(folder) / "vectors.npy", Path(folder) / "job.json"
    job = Job(
        engine=engine,
        kind=kind,
        model=str(prepared.models[case.model, engine, kind]),
        tokenizer=str(prepared.tokenizer),
        threads=threads,
        texts=texts,
        repeats=case.repeats,
        vectors=str(vectors),
        batch=found.batches[side].get(key),
    )
    path.write_text(json.dumps(asdict(job)), "utf-8")
    command, env = _command(prepared, engine, path, threads)
    try:
        child: Child = quiet.measure(lambda: run_child(command, env), lambda child: child)
    except BenchmarkError as error:
        # A peer whose kernels end the process on some machine is a finding, not an end.
        if engine == OURS:
            raise
        found.failed[side][key] = str(error)[-300:]
        return
    result = json.loads(child.stdout.splitlines()[-1])
    found.seconds[side][key].append(result["seconds"])
    found.cpu[side][key].append(result["cpu_seconds"])
    found.memory[side][key].append(child.peak_rss / 1e6)
    found.vectors[side].setdefault(key, np.load(vectors))
    found.batches[side].setdefault(key, result["batch"])
    found.versions |= result["versions"]


def _command(
    prepared: Prepared, engine: str, job: Path, threads: int
) -> tuple[Command, dict[str, str]]:
    env = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if engine == OURS:
        return [sys.executable, HERE / "embedding_ours.py", job], env
    if engine != "llama.cpp":
        return [prepared.python, HERE / "embedding_peer.py", job], env
    llama = prepared.llama_cpp
    env |= {"PYTHONPATH": str(llama.source), "LLAMA_CPP_LIB_PATH": str(llama.binaries)}
    return [llama.python, HERE / "embedding_peer.py", job], env


def _paragraphs() -> list[str]:
    """What activations are calibrated on: paragraphs of this project's documents."""
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    found = [part for page in pages for part in page.read_text("utf-8").split("\n\n")]
    long = [part for part in found if len(part) > 100]
    return long[:: max(1, len(long) // 64)][:64]


def main() -> int:
    """Run it; errors go to standard error."""
    given, progress = arguments(), Progress()
    return finish("embeddings", lambda: run(given, progress), progress)


if __name__ == "__main__":
    sys.exit(main())
