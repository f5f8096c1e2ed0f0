"""What a token costs outside the native core: microseconds between the end of a step and the next.

    python benchmarks/python_cost.py weights/smollm2-135m-instruct --threads 1
    python benchmarks/python_cost.py tiny                  a small random model, made on the spot

A step is the core's work for one token of each conversation, and one call may make several in a
row. What lies between two calls that only write is what Python does for the tokens of the second
one: outputs are read, become text and events, reach their reader, and rows are laid out. ``wall``
is the median of these gaps on the clock, ``CPU`` that of the time that the driving thread was busy,
each for one token of one conversation.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tools"))

from cactus import Model  # noqa: E402
from cactus.native import pending  # noqa: E402

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class Gaps:
    """The times between two steps of the core, and the tokens that the second one chose."""

    def __init__(self) -> None:
        self._step, self._run = pending._native_step(), pending._native_run()
        self._last: tuple[int, int, float, float] | None = None
        self.found: list[tuple[int, float, float]] = []

    def step(self, *arguments: Any) -> Any:
        """The core's step with a clock on both sides."""
        cpu, wall = time.thread_time(), time.perf_counter()
        thread, rows, outputs = threading.get_ident(), arguments[2], arguments[4]
        if self._last is not None and rows == outputs and self._last[:2] == (thread, rows):
            self._add(rows, 1, wall, cpu)
        result = self._step(*arguments)
        self._last = (thread, rows, time.perf_counter(), time.thread_time())
        return result

    def run(self, *arguments: Any) -> Any:
        """The same for several steps in a row."""
        cpu, wall = time.thread_time(), time.perf_counter()
        thread, rows = threading.get_ident(), arguments[2]
        result = self._run(*arguments)
        steps = ctypes.c_uint32.from_address(arguments[7]).value
        if self._last is not None and self._last[:2] == (thread, rows):
            self._add(rows, steps, wall, cpu)
        self._last = (thread, rows, time.perf_counter(), time.thread_time())
        return result

    def _add(self, rows: int, steps: int, wall: float, cpu: float) -> None:
        assert self._last is not None
        gap = ((wall - self._last[2]) / steps, (cpu - self._last[3]) / steps)
        self.found += [(rows, *gap)] * steps

    def idle(self) -> tuple[float, float]:
        """What the clocks themselves take."""
        self._step, real = lambda *_: None, self._step
        self.found.clear()
        for _ in range(2000):
            self.step(0, 0, 1, 0, 1)
        self._step = real
        return self._medians()[:2]

    def _medians(self) -> tuple[float, float, int]:
        most = max(rows for rows, _, _ in self.found)
        gaps = [(wall / rows, cpu / rows) for rows, wall, cpu in self.found if rows == most]
        gaps = gaps[len(gaps) // 4 :]  # behind what is done once
        wall, cpu = (1e6 * statistics.median(each) for each in zip(*gaps, strict=True))
        return wall, cpu, most

    def of(self, work: Callable[[], object]) -> tuple[float, float, int]:
        """Median microseconds a token, on the clock and busy, and the rows of a step of `work`."""
        clocks = self.idle()
        self.found.clear()
        self._last = None
        work()
        wall, cpu, rows = self._medians()
        return wall - clocks[0] / rows, cpu - clocks[1] / rows, rows


def read(stream: Any) -> None:
    """Read a stream to its end."""
    for _ in stream:
        pass


def cases(model: Model, tokens: int, threads: ThreadPoolExecutor) -> Iterator[tuple[str, Any]]:
    """Names and calls."""
    engine = model._engine
    plain: dict[str, Any] = {
        "max_tokens": tokens,
        "speculation": False,
        "temperature": 1.0,
        "seed": 1,
        "logit_bias": {token: -100 for token in engine.end_tokens},
    }
    text = "Tell me a long story about a lighthouse."
    yield "a completion", lambda: model.complete(text, **plain)
    yield "a chat", lambda: model.chat(text, **plain)
    yield "streamed", lambda: read(model.stream(text, **plain))
    yield "streamed, greedy", lambda: read(model.stream(text, max_tokens=tokens))
    yield "streamed, stop strings", lambda: read(model.stream(text, stop=["§§", "###"], **plain))
    yield (
        "streamed, logprobs",
        lambda: read(model.stream(text, top_logprobs=5, logprobs=True, **plain)),
    )
    yield "streamed, tools", lambda: read(model.stream(text, tools=[TOOL], **plain))
    yield "streamed, a schema", lambda: read(model.stream(text, schema=TEXT, **plain))
    for count in (8, 32):
        texts = [f"{text} It is number {n}." for n in range(count)]
        yield f"{count} in a list", lambda texts=texts: model.chat_many(texts, **plain)
        yield (
            f"{count} streamed by threads",
            lambda texts=texts: list(
                threads.map(lambda text: read(model.stream(text, **plain)), texts)
            ),
        )


@contextmanager
def folder_of(name: str) -> Iterator[str]:
    """The weights folder; "tiny" is made."""
    if name != "tiny":
        yield name
        return
    from make_random_checkpoint import write
    from published_models import find, tiny

    from cactus.weights.convert import convert

    with tempfile.TemporaryDirectory() as made:
        write(
            tiny(find("smollm2-135m").config) | {"max_position_embeddings": 8192},
            Path(made) / "checkpoint",
        )
        convert(Path(made) / "checkpoint", Path(made) / "weights", "INT8")
        yield str(Path(made) / "weights")


def main() -> None:
    """Read the arguments, measure, print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a weights folder, or tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--case", default="", help="only those with this in their name")
    given = parser.parse_args()
    gaps = Gaps()
    with (
        folder_of(given.model) as folder,
        mock.patch.object(pending, "_native_step", lambda: gaps.step),
        mock.patch.object(pending, "_native_run", lambda: gaps.run),
        Model(folder, threads=given.threads) as model,
        ThreadPoolExecutor(32) as threads,
    ):
        print(f"{'us a token':26} {'wall':>7} {'CPU':>7} {'rows':>5}")
        for name, call in cases(model, given.tokens, threads):
            if given.case in name:
                wall, cpu, rows = gaps.of(call)
                print(f"{name:26} {wall:7.1f} {cpu:7.1f} {rows:5}", flush=True)


if __name__ == "__main__":
    main()
