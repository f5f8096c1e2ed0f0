"""Child of compare.py: measure one case of our engine in this process and print it as JSON.

It goes through the layer that the chat API uses (Program and Session), and writes as that does: as
many steps in one Python call as fit into its time. What a call costs in Python is in the numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from cactus.engine.loading import load
from cactus.generate.schedule import RUN
from cactus.native import Row, Sampler


def measure_ours(
    model_folder: Path,
    threads: int,
    *,
    prompt: int = 0,
    gen: int = 0,
    depth: int = 0,
    repeats: int = 3,
    rows: int = 1,
    warm_up: bool = True,
    isa: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    temperature: float = 0.0,
) -> list[float]:
    """Tokens/s of every repeat: reading ``prompt`` tokens, or writing ``gen`` after ``depth``.

    One warm-up of the same work comes first and does not count, as in llama-bench. ``rows``
    conversations write together, one token each a step; the rate is that of all. A generated
    token is the greedy one, or drawn with ``temperature`` and top_p 0.95, and is fed back; its
    log-probability and entropy are computed as in every real call. Tokens of prompts are random
    (seed 0).
    """
    if (prompt > 0) == (gen > 0):
        raise ValueError(f"give either prompt or gen, got prompt={prompt}, gen={gen}")
    given = {"activations": activations, "kv": kv}
    own: dict[str, Any] = {name: value for name, value in given.items() if value}
    engine = load(model_folder, threads=threads, isa=isa, **own)
    program = engine.program
    sessions = [program.session() for _ in range(rows)]
    drawing = {"temperature": temperature, "top_p": 0.95}
    samplers = [Sampler(**drawing, seed=i) if temperature else None for i in range(rows)]
    source = random.Random(0)
    for session in sessions:
        if depth:
            _read(program, session, _random_tokens(source, program.vocab_size, depth))
    starts = [session.snapshot() for session in sessions]
    rates = []
    for _ in range(repeats + warm_up):
        for session, start in zip(sessions, starts, strict=True):
            session.restore(start)
        tokens = _random_tokens(source, program.vocab_size, max(prompt, rows))
        begin = time.perf_counter()
        if prompt:
            _read(program, sessions[0], tokens)
        else:
            _write(program, sessions, samplers, tokens, gen)
        rates.append((prompt or gen * rows) / (time.perf_counter() - begin))
    engine.close()
    return rates[warm_up:]


def _random_tokens(source: random.Random, vocabulary: int, count: int) -> list[int]:
    return [source.randrange(vocabulary) for _ in range(count)]


def _read(program: Any, session: Any, tokens: list[int]) -> None:
    chunk = program.chunk
    for begin in range(0, len(tokens), chunk):
        part = tokens[begin : begin + chunk]
        last = begin + chunk >= len(tokens)
        program.step([Row(session, part, outputs="last" if last else "none")])


def _write(
    program: Any, sessions: list[Any], samplers: list[Any], tokens: list[int], count: int
) -> None:
    made, run = 0, 1
    while made < count:
        each = zip(sessions, tokens, samplers, strict=True)
        rows = [Row(session, [token], "last", sampler) for session, token, sampler in each]
        begin = time.perf_counter()
        pending = program.prepare(rows, steps=min(run, count - made))
        pending.run()
        outputs = pending.outputs()
        steps = len(outputs) // len(rows)  # a row's outputs follow each other
        tokens = [output.token for output in outputs[steps - 1 :: steps]]
        made += steps
        seconds = (time.perf_counter() - begin) / steps
        run = max(1, min(program.longest_run, int(RUN / seconds)))


def main() -> None:
    """Read the arguments, measure, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt", type=int, default=0)
    parser.add_argument("--gen", type=int, default=0)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--isa")
    parser.add_argument("--activations", help="default: what the engine takes by itself")
    parser.add_argument("--kv", help="default: what the engine takes by itself")
    parser.add_argument("--temperature", type=float, default=0.0)
    given = parser.parse_args()
    samples = measure_ours(
        given.folder,
        given.threads,
        prompt=given.prompt,
        gen=given.gen,
        depth=given.depth,
        repeats=given.repeats,
        rows=given.rows,
        warm_up=not given.no_warm_up,
        isa=given.isa,
        activations=given.activations,
        kv=given.kv,
        temperature=given.temperature,
    )
    print(json.dumps({"samples": samples}))


if __name__ == "__main__":
    main()
