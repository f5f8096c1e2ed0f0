"""What a job gains over a loop of single calls.

    python benchmarks/batch.py --chat weights/smollm2-135m-instruct --embed weights/all-minilm-l6-v2

Chats of 16 tokens, and vectors of sentences: `cactus batch` over JSON lines, beside a loop that
reads the same lines, calls the model for each and writes a line. Both load the model first, and
that time counts. The loop does a share of the rows (`--share`), whose rows must be the job's. The
two take turns `--rounds` times; what is told is the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cactus import Model, batch

SUBJECTS = ("the sea", "bread", "a clock", "winter", "the moon", "a bridge", "music", "a garden")
KINDS = ("a fact", "a question", "a rhyme", "a warning", "a joke", "a title", "a name")


def write_rows(path: Path, count: int) -> None:
    """So many different questions, one a line."""
    with path.open("w") as file:
        for number in range(count):
            kind, subject = KINDS[number % 7], SUBJECTS[number // 7 % 8]
            text = f"Write {kind} about {subject}, number {number}."
            file.write(json.dumps({"text": text}) + "\n")


def chat(model: Model, text: str) -> dict[str, Any]:
    """The columns of one call of chat."""
    answer = model.chat(text, max_tokens=16)
    return {"answer": answer.text, "finish_reason": answer.finish_reason}


def embed(model: Model, text: str) -> dict[str, Any]:
    """The columns of one call of embed."""
    return {"embedding": model.embed(text).tolist()}


Call = Callable[[Model, str], dict[str, Any]]


def loop(
    call: Call, source: Path, output: Path, model: str, threads: int | None, rows: int
) -> None:
    """One call after another for the first rows."""
    with Model(model, threads=threads) as loaded, source.open() as lines, output.open("w") as file:
        for index, line in zip(range(rows), lines, strict=False):
            row = json.loads(line)
            made = call(loaded, row["text"])
            file.write(json.dumps({"index": index, **row, **made, "error": None}) + "\n")


def rows_of(path: Path) -> dict[int, Any]:
    """The lines of an output by their indices; vectors as the bytes of their float32 numbers."""
    rows = {}
    for row in map(json.loads, path.read_text().splitlines()):
        if "embedding" in row:
            row["embedding"] = array("f", row["embedding"]).tobytes()
        rows[row["index"]] = row
    return rows


def measure(name: str, job: dict[str, Any], call: Call, model: str, given: Any, rows: int) -> None:
    """Print both rates and their ratio; end the program where the rows differ."""
    ratios, rates = [], []
    with tempfile.TemporaryDirectory(prefix="cactus-batch-") as home:
        source, ours, theirs = (Path(home, f"{kind}.jsonl") for kind in ("in", "job", "loop"))
        write_rows(source, rows)
        some = max(1, int(rows * given.share))
        for _ in range(given.rounds):
            began = time.perf_counter()
            batch.run(
                job, source, ours, model=model, threads=given.threads, workers=given.workers,
                restart=True, progress=False,
            )  # fmt: skip
            middle = time.perf_counter()
            loop(call, source, theirs, model, given.threads, some)
            single = some / (time.perf_counter() - middle)
            rates.append(rows / (middle - began))
            ratios.append(rates[-1] / single)
            together = rows_of(ours)
            if any(together[index] != row for index, row in rows_of(theirs).items()):
                raise SystemExit(f"{name}: the job's rows are others than the loop's")
    print(
        f"{name}, {rows} rows: {statistics.median(rates):.1f} rows/s, "
        f"{statistics.median(ratios):.2f} times a loop ({min(ratios):.2f}..{max(ratios):.2f})"
    )


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chat", help="a model that chats")
    parser.add_argument("--embed", help="an embedder")
    parser.add_argument("--chats", type=int, default=10_000)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, help="default: as many as the job takes")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.chat:
        job = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 16}}
        measure("chat of 16 tokens", job, chat, given.chat, given, given.chats)
    if given.embed:
        measure("vectors", {"job": "embed"}, embed, given.embed, given, given.vectors)


if __name__ == "__main__":
    main()
