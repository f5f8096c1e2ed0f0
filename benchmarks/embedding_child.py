"""What the child processes of embeddings.py share: the job, the search for batches, the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
BATCHES = (1, 4, 8, 16, 32)
"""Texts a step that are tried, where an engine leaves the choice to its caller."""
TRIED = 32
"""Texts of a try."""


@dataclass(frozen=True)
class Job:
    """One engine, one model, one number of threads, one list of texts.

    ``batch``: texts a step, and how many steps run side by side; None searches the best.
    """

    engine: str
    kind: str
    model: str
    tokenizer: str
    threads: int
    texts: list[str]
    repeats: int
    vectors: str
    batch: list[int] | None = None


@dataclass(frozen=True)
class Engine:
    """Texts to unit vectors; ``embed`` takes the texts, and the two numbers of a Job's batch."""

    embed: Callable[[Sequence[str], int, int], Vectors]
    versions: dict[str, str] = field(default_factory=dict)
    streams: Sequence[int] = (1,)
    batched: bool = True


def run(job: Job, engine: Engine) -> dict[str, Any]:
    """Warm up, look for the best batch, embed ``repeats`` times; the vectors go to a file."""
    batch, streams = job.batch or search(job, engine)
    engine.embed(job.texts[:TRIED], batch, streams)
    seconds, cpu = [], []
    for _ in range(job.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = engine.embed(job.texts, batch, streams)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    np.save(job.vectors, found)
    return {
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu),
        "batch": [batch, streams],
        "versions": engine.versions,
    }


def search(job: Job, engine: Engine) -> tuple[int, int]:
    """The texts a step, and the steps side by side, that are the fastest for a few of the texts."""
    texts = job.texts[:TRIED]
    if len(texts) == 1 or not engine.batched:
        return 1, 1
    best = (float("inf"), 1, 1)
    clock = time.process_time if job.threads == 1 else time.perf_counter  # what others cannot touch
    for streams, batch in product(engine.streams, BATCHES):
        engine.embed(texts, batch, streams)
        start = clock()
        engine.embed(texts, batch, streams)
        best = min(best, (clock() - start, batch, streams))
    return best[1:]


def batches(
    tokenizer: Path, dtype: Any = None
) -> Callable[[Sequence[str], int], Iterator[tuple[int, Any, Any]]]:
    """A function from texts to (index of the first, ids, mask), each [batch, tokens]."""
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(tokenizer))
    fast.no_truncation()
    fast.enable_padding()

    def cut(texts: Sequence[str], batch: int) -> Iterator[tuple[int, Any, Any]]:
        for at in range(0, len(texts), batch):
            found = fast.encode_batch(list(texts[at : at + batch]))
            ids = np.array([each.ids for each in found], dtype or np.int64)
            mask = np.array([each.attention_mask for each in found], dtype or np.int64)
            yield at, ids, mask

    return cut


def pooled(states: Any, mask: Any) -> Vectors:
    """The mean of the states of a text's own tokens, of unit length."""
    weights = mask[..., None].astype(np.float32)
    means = (np.asarray(states, np.float32) * weights).sum(1) / weights.sum(1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)
