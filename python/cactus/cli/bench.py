"""``cactus bench``: tokens per second, reading a prompt and writing an answer."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cactus.cli.text import printable
from cactus.weights.catalog import STARTER

if TYPE_CHECKING:
    from cactus.engine import Engine


class Speed(NamedTuple):
    """One measurement: `tokens` read or written, with `depth` tokens before them."""

    what: str
    tokens: int
    depth: int
    rates: list[float]

    @property
    def median(self) -> float:
        """Tokens per second."""
        return statistics.median(self.rates)


@click.command("bench", short_help="Measure the speed of a model.")
@click.argument("model", default=STARTER.name)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads to compute with.")
@click.option(
    "--prompt",
    type=click.IntRange(1),
    metavar="N",
    default=512,
    show_default=True,
    help="Tokens of the prompt that is read.",
)
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    default=128,
    show_default=True,
    help="Tokens that are written.",
)
@click.option(
    "--depth",
    type=click.IntRange(0),
    metavar="N",
    multiple=True,
    default=(0,),
    show_default=True,
    help="Tokens that are in the cache before writing begins; may be repeated.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    metavar="N",
    default=3,
    show_default=True,
    help="Runs of each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: str,
    threads: int | None,
    prompt: int,
    tokens: int,
    depth: tuple[int, ...],
    repeat: int,
    as_json: bool,
) -> None:
    """Measure how many tokens per second MODEL reads (prefill) and writes (decode).

    The tokens are random, the rates are medians over --repeat runs after one that is not counted.
    """
    from cactus.cli.models import find_or_fetch
    from cactus.engine import load_engine
    from cactus.machine import choose_threads

    threads = choose_threads(threads)
    folder = find_or_fetch(model)
    engine = load_engine(folder, threads=threads)
    try:
        longest = max(prompt, max(depth) + tokens)
        if longest > engine.context_length:
            raise click.UsageError(
                f"{longest} tokens do not fit the model's context of {engine.context_length}."
            )
        speeds = measure(engine, prompt=prompt, tokens=tokens, depths=depth, repeat=repeat)
    finally:
        engine.close()
    if as_json:
        click.echo(json.dumps(_as_json(folder, threads, speeds)))
        return
    unit = "thread" if threads == 1 else "threads"
    click.echo(f"{printable(folder.name)}, {threads} {unit}, median of {repeat}")
    for speed in speeds:
        after = f" after {speed.depth}" if speed.depth else ""
        spread = f"{min(speed.rates):,.1f} to {max(speed.rates):,.1f}"
        label = f"{speed.what} {speed.tokens} tokens{after}"
        click.echo(f"{label:<32} {speed.median:>10,.1f} tok/s   ({spread})")


def measure(
    engine: Engine, *, prompt: int, tokens: int, depths: Sequence[int], repeat: int
) -> list[Speed]:
    """Prefill of `prompt` tokens, and decode of `tokens` after each of `depths`.

    The runs of all measurements are interleaved, so that a slow moment of the machine does not
    fall on one of them alone.
    """
    speeds = [Speed("prefill", prompt, 0, [])]
    speeds += [Speed("decode", tokens, depth, []) for depth in depths]
    for run in range(repeat + 1):
        for speed in speeds:
            if speed.what == "prefill":
                seconds = _time_prefill(engine, speed.tokens)
            else:
                seconds = _time_decode(engine, speed.tokens, speed.depth)
            if run:  # the first one pages the weights in
                speed.rates.append(speed.tokens / seconds)
    return speeds


def _time_prefill(engine: Engine, count: int) -> float:
    session = engine.program.session()
    try:
        began = time.perf_counter()
        _read(engine, session, count)
        return time.perf_counter() - began
    finally:
        session.close()


def _time_decode(engine: Engine, count: int, depth: int) -> float:
    session = engine.program.session()
    try:
        if depth:
            _read(engine, session, depth)
        token = 1 % engine.program.vocab_size
        began = time.perf_counter()
        for _ in range(count):
            (output,) = engine.program.step([engine.row(session, [token])])
            token = output.token
        return time.perf_counter() - began
    finally:
        session.close()


def _read(engine: Engine, session: Any, count: int) -> None:
    """Puts `count` random tokens into the session, in chunks as a chat does."""
    program = engine.program
    source = random.Random(0)
    ids = [source.randrange(program.vocab_size) for _ in range(count)]
    for start in range(0, count, program.chunk):
        part = ids[start : start + program.chunk]
        outputs = "last" if start + len(part) == count else "none"
        program.step([engine.row(session, part, outputs=outputs)])


def _as_json(folder: Path, threads: int, speeds: list[Speed]) -> dict[str, Any]:
    return {
        "model": folder.name,
        "threads": threads,
        "results": [
            {
                "what": speed.what,
                "tokens": speed.tokens,
                "depth": speed.depth,
                "tokens_per_second": round(speed.median, 2),
                "runs": [round(rate, 2) for rate in speed.rates],
            }
            for speed in speeds
        ],
    }
