"""The engines that are compared, each as one way to run a case and to start."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import footprint
from cases import PROMPT, Case
from footprint import Footprint
from peer import LlamaCpp
from peer_openvino import OpenVino
from report import Spread
from runner import Child, Command, run_child

HERE = Path(__file__).resolve().parent
OURS = "ours"
TOGETHER = 8
IMPORT = "import time; t = time.perf_counter(); import cactus; print(time.perf_counter() - t)"

Run = Callable[[Case, int, str], tuple[float, Child]]
"""(case, threads, attention) -> tokens/s, and the child process that measured it."""


@dataclass
class Side:
    """One engine on one model: how to run it, and what came out, round by round."""

    name: str
    run: Run
    footprint: Footprint | None = None
    first_token: Callable[[int], Child] | None = None
    first_token_bare: Callable[[int], Child] | None = None
    import_time: Callable[[], Child] | None = None
    files: list[Path] = field(default_factory=list)
    attentions: tuple[str, ...] = ("auto",)
    rates: dict[tuple[str, int, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rss: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def variants(self, case: Case) -> tuple[str, ...]:
        """The attention kernels to try for a case."""
        return self.attentions if case.both_attentions else ("auto",)

    def best(self, case: Case, threads: int) -> tuple[list[float], str]:
        """The rates of the variant with the highest median, and that variant's name."""
        found = {
            variant: rates
            for (name, count, variant), rates in self.rates.items()
            if (name, count) == (case.name, threads)
        }
        if not found:
            return [], ""
        variant = max(found, key=lambda key: Spread.of(found[key]).median)
        return found[variant], variant


def ours(
    folder: Path,
    isa: str | None,
    *,
    name: str = OURS,
    rows: int = 1,
    activations: str = "int12",
) -> Side:
    """Our engine on a weights folder; ``rows`` conversations at once."""
    return Side(
        name,
        partial(_run_ours, folder, isa, rows, activations),
        footprint.of_folder(folder),
        partial(_first_token_ours, folder, isa),
        import_time=lambda: run_child([sys.executable, "-c", IMPORT]),
        files=[path for path in folder.iterdir() if path.is_file()],
    )


def _run_ours(
    folder: Path,
    isa: str | None,
    rows: int,
    activations: str,
    case: Case,
    threads: int,
    attention: str,
) -> tuple[float, Child]:
    command: list[str | Path] = [sys.executable, HERE / "ours.py", folder]
    command += ["--threads", str(threads), "--prompt", str(case.prompt)]
    command += ["--gen", str(case.gen), "--depth", str(case.depth)]
    command += ["--repeats", str(case.repeats), "--rows", str(rows)]
    command += ["--activations", activations]
    command += ["--no-warm-up"] if case.long else []
    command += ["--isa", isa] if isa else []
    child = run_child(command)
    samples = [float(rate) for rate in json.loads(child.stdout)["samples"]]
    return Spread.of(samples).median, child


def _first_token_ours(folder: Path, isa: str | None, threads: int) -> Child:
    command: Command = [sys.executable, HERE / "first_token_ours.py", folder, str(threads), PROMPT]
    return run_child(command, {"CACTUS_ISA": isa} if isa else None)


def llama_cpp(built: LlamaCpp, gguf: Path, name: str) -> Side:
    """llama.cpp on its own file."""
    return Side(
        name,
        partial(built.bench, gguf),
        footprint.of_gguf(gguf)[0],
        partial(built.first_token, gguf),
        partial(built.first_token_bare, gguf),
        files=[gguf],
        # Neither of its two is the faster everywhere; our engine has one.
        attentions=("on", "off"),
    )


def openvino(built: OpenVino, gguf: Path, name: str) -> Side:
    """openvino-genai on the GGUF file of llama.cpp; it only reads prompts here."""
    return Side(name, lambda case, threads, _: built.prefill(gguf, case, threads))
