"""Child of compare.py: measure one case of our engine in this process and print it as JSON.

It goes through the layer that the chat API uses (Program and Session), one Python call a step, so
that what a token costs in Python is in the numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from cactus.engine import load_engine
from cactus.native import Row


def measure_ours(
    model_folder: Path,
    threads: int,
    *,
    prompt: int = 0,
    gen: int = 0,
    depth: int = 0,
    repeats: int = 3,
    isa: str | None = None,
) -> list[float]:
    """Tokens/s of every repeat: reading ``prompt`` tokens, or writing ``gen`` after ``depth``.

    One warm-up of the same work comes first and does not count, as in llama-bench. A generated
    token is the greedy one and is fed back; its log-probability and entropy are computed as in
    every real call. Tokens of prompts are random (seed 0).
    """
    if (prompt > 0) == (gen > 0):
        raise ValueError(f"give either prompt or gen, got prompt={prompt}, gen={gen}")
    engine = load_engine(model_folder, threads=threads, isa=isa, context=None)
    program = engine.program
    session = program.session()
    source = random.Random(0)
    if depth:
        _read(program, session, _random_tokens(source, program.vocab_size, depth))
    start = session.snapshot()
    rates = []
    for _ in range(repeats + 1):
        session.restore(start)
        tokens = _random_tokens(source, program.vocab_size, max(prompt, 1))
        begin = time.perf_counter()
        if prompt:
            _read(program, session, tokens)
        else:
            _write(program, session, tokens[0], gen)
        rates.append((prompt or gen) / (time.perf_counter() - begin))
    session.close()
    return rates[1:]


def _random_tokens(source: random.Random, vocabulary: int, count: int) -> list[int]:
    return [source.randrange(vocabulary) for _ in range(count)]


def _read(program: Any, session: Any, tokens: list[int]) -> None:
    chunk = program.chunk
    for begin in range(0, len(tokens), chunk):
        part = tokens[begin : begin + chunk]
        last = begin + chunk >= len(tokens)
        program.step([Row(session, part, outputs="last" if last else "none")])


def _write(program: Any, session: Any, token: int, count: int) -> None:
    for _ in range(count):
        (output,) = program.step([Row(session, [token])])
        token = output.token


def main() -> None:
    """Read the arguments, measure, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt", type=int, default=0)
    parser.add_argument("--gen", type=int, default=0)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--isa")
    given = parser.parse_args()
    samples = measure_ours(
        given.folder,
        given.threads,
        prompt=given.prompt,
        gen=given.gen,
        depth=given.depth,
        repeats=given.repeats,
        isa=given.isa,
    )
    print(json.dumps({"samples": samples}))


if __name__ == "__main__":
    main()
