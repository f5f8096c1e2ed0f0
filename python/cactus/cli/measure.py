"""The runs behind ``cactus bench``: what is timed, and what it is divided by."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cactus.native import MachinePeaks, Program, Row, Session, machine_peaks

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

BUFFER_BYTES = 512 << 20
SMALLEST_BUFFER = 1 << 20


@dataclass
class Speed:
    """One measurement: `tokens` read or written, with `depth` tokens before them.

    `read_bytes` is what one run has to read of weights and cache; `quantized` and `floating` are
    the products of its matrices. `seconds` holds a time for each run, `profile` the seconds of
    each kind of step.
    """

    what: str
    tokens: int
    depth: int
    read_bytes: int = 0
    quantized: int = 0
    floating: int = 0
    seconds: list[float] = field(default_factory=list)
    profile: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Seconds of one run."""
        return statistics.median(self.seconds)

    @property
    def rates(self) -> list[float]:
        """Tokens per second of each run."""
        return [self.tokens / seconds for seconds in self.seconds]

    @property
    def operations(self) -> int:
        """Of the matrices in one run; a product that is added up counts as two."""
        return 2 * (self.quantized + self.floating)

    def of_memory(self, peaks: MachinePeaks) -> float:
        """The share of the machine's read bandwidth."""
        return self.read_bytes / self.median / peaks.bytes_per_second

    def of_arithmetic(self, peaks: MachinePeaks) -> float:
        """The share of the machine's int8 and f32 rates, each for the matrices of its kind."""
        best = self.quantized / peaks.int8_per_second + self.floating / peaks.float_per_second
        return 2 * best / self.median


def measure_peaks(threads: int) -> MachinePeaks:
    """The machine's peaks, with a buffer that takes an eighth of the memory that is free."""
    from cactus.machine import available_bytes

    free = available_bytes()
    size = BUFFER_BYTES if free is None else min(BUFFER_BYTES, free // 8)
    return machine_peaks(threads, None, max(size, SMALLEST_BUFFER))


def measure(
    engine: Loaded,
    *,
    prompt: int,
    tokens: int,
    depths: Sequence[int],
    repeat: int,
    profile: bool,
    progress: Callable[[str], None],
) -> list[Speed]:
    """Prefill of `prompt` tokens and decode of `tokens`, each after each of `depths`.

    The runs of all measurements are interleaved, so that a slow moment of the machine does not
    fall on one of them alone; the first of each is not counted. With `profile` one more run of
    each is taken apart; it is not counted either, reading clocks takes time too.
    """
    speeds = [Speed(what, n, d) for d in depths for what, n in _amounts(prompt, tokens)]
    for speed in speeds:
        _add_work(engine, speed)
    pasts: dict[int, Session] = {}
    try:
        for depth in depths:
            progress(f"reading {depth} tokens")
            pasts[depth] = engine.tokens.session()
            _read(engine.tokens, pasts[depth], depth, "none")
        for run in range(repeat + 1):
            for speed in speeds:
                progress(f"run {run} of {repeat}: {speed.what} after {speed.depth}")
                seconds = _time(engine.tokens, pasts[speed.depth], speed)
                if run:  # the first one pages the weights in
                    speed.seconds.append(seconds)
        for speed in speeds if profile else []:
            progress(f"profile: {speed.what} after {speed.depth}")
            with _profiling(engine, speed):
                _time(engine.tokens, pasts[speed.depth], speed)
    finally:
        for past in pasts.values():
            past.close()
    return speeds


def _amounts(prompt: int, tokens: int) -> list[tuple[str, int]]:
    return [("prefill", prompt), ("decode", tokens)]


def _add_work(engine: Loaded, speed: Speed) -> None:
    work, chunk = engine.work(), engine.program.chunk
    for rows in (work.rows, work.outputs) if speed.what == "decode" else (work.rows,):
        speed.quantized += rows.quantized * speed.tokens
        speed.floating += rows.floating * speed.tokens
    step = chunk if speed.what == "prefill" else 1
    for start in range(0, speed.tokens, step):
        end = min(start + step, speed.tokens)
        speed.read_bytes += work.rows.weight_bytes + (speed.depth + end) * work.position_bytes
        if speed.what == "decode" or end == speed.tokens:
            speed.read_bytes += work.outputs.weight_bytes
    if speed.what == "prefill":
        speed.quantized += work.outputs.quantized
        speed.floating += work.outputs.floating


def _time(program: Program, past: Session, speed: Speed) -> float:
    session = past.fork()
    try:
        began = time.perf_counter()
        if speed.what == "prefill":
            _read(program, session, speed.tokens, "last")
        else:
            token = 1 % program.vocab_size
            for _ in range(speed.tokens):
                (output,) = program.step([Row(session, [token])])
                token = output.token
        return time.perf_counter() - began
    finally:
        session.close()


def _read(program: Program, session: Session, count: int, outputs: Literal["none", "last"]) -> None:
    """Puts `count` random tokens into the session, in chunks as a chat does."""
    source = random.Random(0)
    ids = [source.randrange(program.vocab_size) for _ in range(count)]
    for start in range(0, count, program.chunk):
        part = ids[start : start + program.chunk]
        wanted = outputs if start + len(part) == count else "none"
        program.step([Row(session, part, wanted)])


@contextmanager
def _profiling(engine: Loaded, speed: Speed) -> Iterator[None]:
    """Adds the time of each kind of step within the block to the speed's profile."""
    labels = engine.work().labels
    program = engine.tokens
    program.profile(len(labels), enable=True)
    try:
        yield
    finally:
        seconds: dict[str, float] = {}
        for label, part in zip(labels, program.profile(len(labels), enable=False), strict=True):
            seconds[label] = seconds.get(label, 0.0) + part
        speed.profile = dict(sorted(seconds.items(), key=lambda each: -each[1]))
