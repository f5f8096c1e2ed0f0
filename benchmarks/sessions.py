"""What a step of many conversations takes, and how much of it is not matrices.

    python benchmarks/sessions.py starter
    python benchmarks/sessions.py qwen3-0.6b --threads 2 --sessions 1,64

Each conversation has a past of its own and gets one token more in every step, chosen greedily or,
with --sample, by a sampler of its own. The numbers of conversations take turns, round by round; the
figures are medians. "inside" is what the native library's own clocks do not give to one operation:
rotary tables, the statistics of logits, choosing tokens. "Python" is what is built around the call.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter, defaultdict
from typing import Any

from models import NAMES, prepare
from runner import Progress

from cactus.engine.loading import load

ATTENTION = ("attention", "qkv_attention", "memory_attention")
SAMPLED = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}


def kind_of(label: str) -> str:
    """What an operation counts as, by its name in a profile."""
    if label.startswith("linear"):
        return "matrices"
    return "attention" if label in ATTENTION else "row by row"


def read_pasts(engine: Any, count: int, depth: int, seed: int = 0) -> list[Any]:
    """So many sessions, each of which has read `depth` random tokens of its own."""
    source, program = random.Random(seed), engine.program
    sessions = []
    for _ in range(count):
        session = program.session()
        ids = [source.randrange(program.vocab_size) for _ in range(depth)]
        for start in range(0, depth, program.chunk):
            program.step([engine.row(session, ids[start : start + program.chunk], outputs="none")])
        sessions.append(session)
    return sessions


def run(engine: Any, labels: list[str], rows: list[Any]) -> Counter[str]:
    """Seconds of one step by what they are spent on; the sessions are taken back after it."""
    program = engine.program
    program.profile(len(labels), enable=True)
    began = time.perf_counter()
    step = program.prepare(rows)
    called = time.perf_counter()
    step.run()
    returned = time.perf_counter()
    step.outputs()
    total = time.perf_counter() - began
    spent = program.profile(len(labels), enable=False)
    seconds = Counter[str]()
    for label, part in zip(labels, spent, strict=True):
        seconds[kind_of(label)] += part
        seconds["= " + label.partition(" ")[0]] += part
    seconds["inside"] = returned - called - sum(spent)
    seconds["Python"] = total - (returned - called)
    seconds["step"] = total
    return seconds


def main() -> None:
    """Read the arguments, measure, print a line for each number of conversations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", choices=NAMES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sessions", default="1,8,64,128", help="default: 1,8,64,128")
    parser.add_argument("--depth", type=int, default=200, help="positions before (default: 200)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sample", action="store_true", help="with samplers, not greedily")
    parser.add_argument("--ops", action="store_true", help="say how long each kind of op takes")
    given = parser.parse_args()
    counts = [int(count) for count in given.sessions.split(",")]
    folder = prepare(given.model, Progress()).folder
    engine = load(folder, threads=given.threads)
    labels = engine.work().labels
    sessions = read_pasts(engine, max(counts), given.depth)
    samplers = [
        engine.make_sampler(**SAMPLED, seed=n) if given.sample else None for n in range(max(counts))
    ]
    spent: dict[int, list[Counter[str]]] = defaultdict(list)
    for turn in range(given.rounds + 1):
        for count in counts:
            rows = [
                engine.row(session, [1], sampler=sampler)
                for session, sampler in zip(sessions[:count], samplers, strict=False)
            ]
            seconds = run(engine, labels, rows)
            for session in sessions[:count]:
                session.truncate(given.depth)
            if turn:  # the first one makes room
                spent[count].append(seconds)
    print(f"{given.model}, {engine.program.info.isa}, {engine.program.info.threads} threads")
    for count in counts:
        medians = {
            key: statistics.median(each[key] for each in spent[count]) for key in spent[count][0]
        }
        shares = [
            statistics.median(1 - each["matrices"] / each["step"] for each in spent[count]),
            statistics.median(each["attention"] / each["step"] for each in spent[count]),
        ]
        names = ("step", "matrices", "attention", "row by row", "inside", "Python")
        times = ", ".join(f"{name} {medians[name] * 1e3:.2f}" for name in names)
        print(
            f"{count:4} sessions, ms: {times}; outside the matrices {shares[0]:.1%}, "
            f"without attention {shares[0] - shares[1]:.1%}"
        )
        for name, value in medians.items():
            if given.ops and name.startswith("= "):
                print(f"       {name[2:]} {value * 1e3:.2f}")


if __name__ == "__main__":
    main()
