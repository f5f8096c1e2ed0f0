"""Kills a job at random points, over and over, and sees that each row is there once.

python tools/kill_batch.py MODEL                      20 points of 10,000 chats of 16 tokens
python tools/kill_batch.py MODEL --rows 600 --max-tokens 4 --threads 1     a short form
python tools/kill_batch.py MODEL --job embed --rows 20000 --output out.parquet

A child of this process does the job and is ended by SIGKILL when so many rows are written; then a
few bytes of what it has written last are cut off, as a torn line would be. The next goes on, with
another number of workers. In the end the output must be what one run of the first number of workers
makes, and with --ordered in its order; exit status 1 where it is not. With --folder this program
itself may be ended in any way, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from cactus import batch
from cactus.batch.outputs import open_output


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--job", choices=["chat", "embed"], default="chat")
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--ordered", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="what is in it is gone on with, and stays  [default: a new one]"
    )
    parser.add_argument("--output", default="out.jsonl", help="its ending is the kind of output")
    given = parser.parse_args()
    job: dict[str, Any] = {"job": given.job}
    if given.job == "chat":
        job |= {"prompt": "Say {text}.", "options": {"max_tokens": given.max_tokens}}
    with ExitStack() as stack:
        folder = given.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cactus-kill-")))
        source = folder / "in.jsonl"
        if not source.exists():  # a job knows its input by the time of the last change, too
            folder.mkdir(exist_ok=True)
            rows = [{"text": f"row {n} {'and so on ' * (n % 4)}"} for n in range(given.rows)]
            partial = source.with_suffix(".part")
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
            partial.replace(source)
        options = {name: getattr(given, name) for name in ("model", "threads", "ordered")}

        def work(output: Path, workers: int) -> int:
            """A child that does the job."""
            child = os.fork()
            if child == 0:
                try:
                    batch.run(job, source, output, progress=False, workers=workers, **options)
                except BaseException as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            return child

        whole, output = folder / f"whole{Path(given.output).suffix}", folder / given.output
        if os.waitpid(work(whole, given.workers[0]), 0)[1]:
            return 1
        chance = random.Random(given.seed)
        written = open_output(output).journal
        turns = cycle(given.workers)
        killed: Counter[int] = Counter()
        before = counter(written)()
        for point in sorted(chance.sample(range(given.rows), given.points)):
            workers, count = next(turns), counter(written)
            if point < before:  # an earlier run of this program was there
                continue
            child = work(output, workers)
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                if count() >= point:
                    os.kill(child, signal.SIGKILL)
                    killed[workers] += os.waitpid(child, 0)[1] == signal.SIGKILL
                    print(f"killed at {count()} rows, {workers} workers", flush=True)
                    break
                time.sleep(0.002)
            if written.exists():
                size = written.stat().st_size
                os.truncate(written, max(0, size - chance.randrange(40)))
        if os.waitpid(work(output, next(turns)), 0)[1]:
            return 1
        found, expected = (file.read_bytes().split(b"\n") for file in (output, whole))
        if not given.ordered:
            found, expected = sorted(found), sorted(expected)
        same = found == expected
        times = ", ".join(f"{many} with {workers} workers" for workers, many in killed.items())
        print(
            f"killed {sum(killed.values())} times ({times}); "
            f"the output is {'the same' if same else 'another'}"
        )
        return int(not same)


def counter(path: Path) -> Callable[[], int]:
    """How many lines a file has, each time it is asked; it may grow, or be cut, in between."""
    lines = end = 0

    def count() -> int:
        nonlocal lines, end
        with suppress(FileNotFoundError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < end:
                lines = end = 0
            file.seek(end)
            read = file.read()
            lines, end = lines + read.count(b"\n"), end + len(read)
        return lines

    return count


if __name__ == "__main__":
    sys.exit(main())
