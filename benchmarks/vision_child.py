"""What the child processes of vision.py share: the job, and the clock."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUESTION = "What do you see?"


@dataclass(frozen=True)
class Job:
    """One engine with one model looks at some pictures of one size.

    ``pictures`` are files; each is looked at once, the first one to warm up. ``projector`` is
    llama.cpp's second file.
    """

    engine: str
    kind: str
    model: str
    threads: int
    pictures: list[str]
    projector: str = ""


@dataclass(frozen=True)
class Engine:
    """``look`` begins a conversation about a picture; it returns when the first token is known,
    and says how many tokens the prompt had and how long the tower worked, if that is known."""

    look: Callable[[str], tuple[int, float]]
    versions: dict[str, str] = field(default_factory=dict)


def read_job() -> Job:
    """The job that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))


def run(job: Job, engine: Engine) -> dict[str, Any]:
    """Medians over all pictures but the first."""
    seconds, cpu, tower, tokens = [], [], [], 0
    for picture in job.pictures:
        start, used = time.perf_counter(), time.process_time()
        tokens, encoding = engine.look(picture)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        tower.append(encoding)
    return {
        "seconds": statistics.median(seconds[1:]),
        "cpu_seconds": statistics.median(cpu[1:]),
        "tower_seconds": statistics.median(tower[1:]),
        "tokens": tokens,
        "versions": engine.versions,
    }
