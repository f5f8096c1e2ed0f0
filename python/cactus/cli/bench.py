"""``cactus bench``: tokens per second, reading a prompt and writing an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_chat
from cactus.cli.options import (
    Whole,
    activations_option,
    json_option,
    kv_option,
    resident_option,
    threads_option,
)
from cactus.cli.text import megabytes, printable
from cactus.weights.catalog import STARTER

if TYPE_CHECKING:
    from cactus.cli.measure import Speed
    from cactus.engine.loaded import Loaded
    from cactus.native import MachinePeaks

DEPTHS = (0, 1024, 4096)
"""Where nothing else is asked for: those that fit the model's context."""


class Depths(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic since 8.4
    """Whole numbers with commas between them."""

    name = "depths"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The numbers, each once, in the order given; a usage error for anything else."""
        try:
            numbers = tuple(dict.fromkeys(int(part) for part in str(value).split(",")))
        except ValueError:
            numbers = (-1,)
        if min(numbers) < 0:
            self.fail(f"{value!r} is not a list of whole numbers such as 0,1024.", param, ctx)
        return numbers


@click.command("bench", short_help="Measure the speed of a model.")
@click.argument("model", default=STARTER.name, shell_complete=complete_chat)
@threads_option
@click.option(
    "--prompt",
    type=Whole(1),
    metavar="N",
    default=512,
    show_default=True,
    help="Tokens of the prompt that is read.",
)
@click.option(
    "--tokens",
    type=Whole(1),
    metavar="N",
    default=128,
    show_default=True,
    help="Tokens that are written.",
)
@click.option(
    "--depth",
    type=Depths(),
    metavar="N,...",
    multiple=True,
    help="Tokens that are in the cache before; may be repeated.  [default: 0,1024,4096, as far as "
    "the model's context goes]",
)
@click.option(
    "--repeat",
    type=Whole(1),
    metavar="N",
    default=3,
    show_default=True,
    help="Runs of each.",
)
@kv_option
@activations_option
@resident_option
@click.option("--profile", is_flag=True, help="Show where the time goes, by kind of step.")
@json_option
def command(
    model: str,
    threads: int | None,
    prompt: int,
    tokens: int,
    depth: tuple[tuple[int, ...], ...],
    repeat: int,
    kv: str | None,
    activations: str | None,
    resident: bool,
    profile: bool,
    as_json: bool,
) -> None:
    """Measure how many tokens per second MODEL reads (prefill) and writes (decode).

    Beside them stand the bytes of weights and cache that have to be read, the operations of the
    matrices, and the shares of what this machine can do at most, which is measured first: reading
    memory, int8 dots (matrices of q4 and q8) and f32 multiply-adds (others). Weights that fit the
    processor's cache can exceed the memory's share. Quantised matrices need up to two int8 dots a
    product (one with --activations int8), and some arithmetic for their scales.

    The tokens are random, the figures medians over --repeat runs after one that is not counted.
    """
    from cactus.cli.measure import measure, measure_peaks
    from cactus.cli.models import find_or_fetch
    from cactus.cli.progress import show_status
    from cactus.engine.loading import load
    from cactus.machine import choose_threads

    kv, activations = kv or "int8", activations or "int12"  # what a model that writes has
    threads = choose_threads(threads)
    folder = find_or_fetch(model, ability="chat")
    engine = load(folder, threads=threads, kv=kv, activations=activations, resident=resident)
    try:
        depths = _fitting(engine, max(prompt, tokens), tuple(dict.fromkeys(sum(depth, ()))))
        with show_status() as progress:
            progress("measuring the machine")
            peaks = measure_peaks(threads)
            speeds = measure(
                engine, prompt=prompt, tokens=tokens, depths=depths, repeat=repeat,
                profile=profile, progress=progress,
            )  # fmt: skip
    finally:
        engine.close()
    if as_json:
        given = {"kv": kv, "activations": activations, "resident": resident}
        click.echo(json.dumps(_as_json(folder, given, peaks, speeds)))
    else:
        kept = [f"a cache in {kv}"] if kv != "int8" else []
        kept += [f"activations in {activations}"] if activations != "int12" else []
        kept += ["resident weights"] if resident else []
        click.echo(_as_text(folder, " and ".join(kept), peaks, speeds, repeat))


def _fitting(engine: Loaded, count: int, depths: tuple[int, ...]) -> tuple[int, ...]:
    """The depths to measure at; a usage error for one that was asked for and does not fit."""
    wanted = depths or DEPTHS[:1]
    if max(wanted) + count > engine.context_length:
        raise click.UsageError(
            f"{max(wanted) + count} tokens do not fit the model's context of "
            f"{engine.context_length}."
        )
    return depths or tuple(d for d in DEPTHS if d + count <= engine.context_length)


def _as_text(folder: Path, kept: str, peaks: MachinePeaks, speeds: list[Speed], repeat: int) -> str:
    from cactus.machine import cpu_name

    size = megabytes((folder / "model.safetensors").stat().st_size)
    different = f" with {kept}" if kept else ""
    unit = "thread" if peaks.threads == 1 else "threads"
    lines = [
        f"{printable(folder.name)} ({size}){different}, {peaks.threads} {unit}, {peaks.isa}, "
        f"{printable(cpu_name())}",
        f"at most {peaks.bytes_per_second / 1e9:,.1f} GB/s, "
        f"{peaks.int8_per_second / 1e9:,.0f} GOP/s int8, "
        f"{peaks.float_per_second / 1e9:,.0f} GOP/s f32; median of {repeat}",
        "",
        f"{'':<25}{'tok/s':>10}{'ms':>10}{'GB/s':>8}{'share':>7}{'GOP/s':>9}{'share':>7}",
    ]
    for speed in speeds:
        # One token is what a reader waits for while an answer is written.
        seconds = speed.median / (speed.tokens if speed.what == "decode" else 1)
        after = f" after {speed.depth}" if speed.depth else ""
        lines.append(
            f"{f'{speed.what} {speed.tokens}{after}':<25}{speed.tokens / speed.median:>10,.1f}"
            f"{seconds * 1e3:>10,.2f}{speed.read_bytes / speed.median / 1e9:>8,.1f}"
            f"{speed.of_memory(peaks):>7.0%}{speed.operations / speed.median / 1e9:>9,.1f}"
            f"{speed.of_arithmetic(peaks):>7.0%}"
        )
    lines += ["", "ms: prefill the whole prompt, decode one token"]
    for speed in speeds:
        lines += _profile(speed)
    return "\n".join(lines)


def _profile(speed: Speed) -> list[str]:
    total = sum(speed.profile.values())
    if not total:
        return []
    lines = ["", f"{speed.what} {speed.tokens} after {speed.depth}: {total * 1e3:,.2f} ms in steps"]
    lines += [
        f"  {label:<36}{seconds * 1e3:>10,.2f} ms{seconds / total:>7.1%}"
        for label, seconds in speed.profile.items()
    ]
    return lines


def _as_json(
    folder: Path, given: dict[str, Any], peaks: MachinePeaks, speeds: list[Speed]
) -> dict[str, Any]:
    from cactus.machine import cpu_name, memory_bytes, physical_cores

    return {
        "model": folder.name,
        **given,
        "threads": peaks.threads,
        "isa": peaks.isa,
        "machine": {
            "cpu": cpu_name(),
            "cores": physical_cores(),
            "memory_bytes": memory_bytes(),
            "read_bytes_per_second": round(peaks.bytes_per_second),
            "int8_operations_per_second": round(peaks.int8_per_second),
            "f32_operations_per_second": round(peaks.float_per_second),
            "buffer_bytes": peaks.buffer_bytes,
        },
        "results": [
            {
                "what": speed.what,
                "tokens": speed.tokens,
                "depth": speed.depth,
                "tokens_per_second": round(speed.tokens / speed.median, 2),
                "runs": [round(rate, 2) for rate in speed.rates],
                "seconds": speed.median,
                "read_bytes": speed.read_bytes,
                "matrix_operations": speed.operations,
                "of_read_bandwidth": round(speed.of_memory(peaks), 4),
                "of_arithmetic": round(speed.of_arithmetic(peaks), 4),
                **({"profile_seconds": speed.profile} if speed.profile else {}),
            }
            for speed in speeds
        ],
    }
