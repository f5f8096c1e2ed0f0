"""The engines that are compared, each as one way to run a case and to start."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import footprint
import search
from cases import PROMPT, Case
from footprint import Footprint
from llama_tools import Tools
from peer import LlamaCpp, requantize
from peer_openvino import START as OPENVINO_START
from peer_openvino import OpenVino
from runner import Child, Command, Progress, run_child
from search import Config, Found, How

HERE = Path(__file__).resolve().parent
OURS = "ours"
IMPORT = "import time; t = time.perf_counter(); import cactus; print(time.perf_counter() - t)"

Run = Callable[[Case, int, Config], tuple[float, Child]]
"""(case, threads, configuration) -> tokens/s, and the child process that measured it."""
Measure = Callable[[Callable[[], tuple[float, Child]]], tuple[float, bool]]


INT8_KV = 0.53
"""What keys and values take in int8 with a scale for each 64, of their size in f16."""


@dataclass
class Side:
    """One engine on one model: how to run it, and what came out, round by round.

    ``build`` names what a remembered search of configurations belongs to; without it, as of our
    engine, there is one configuration and nothing to search. ``kv_share`` is what K and V take of
    their size in f16.
    """

    name: str
    run: Run
    build: str = ""
    start: Config = field(default_factory=dict)
    choices: Callable[[Case], Mapping[str, tuple[str, ...]]] = lambda case: {}
    can_run: Callable[[Case], bool] = lambda case: True
    footprint: Callable[[Config], Footprint] | None = None
    kv_share: float = 1.0
    first_token: Callable[[int], Child] | None = None
    first_token_bare: Callable[[int], Child] | None = None
    import_time: Callable[[], Child] | None = None
    files: list[Path] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    rates: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    rss: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def configuration(self, case: str) -> Config:
        """What a case is run with: what a search found, else the start."""
        return self.found[case].config if case in self.found else self.start

    def footprint_of(self, case: Case) -> Footprint | None:
        """What it reads for a token in the configuration of a case, where that is known."""
        return self.footprint(self.configuration(case.name)) if self.footprint else None

    def search(self, case: Case, threads: int, how: How, measure: Measure) -> None:
        """Find the best configuration for a case by short runs, or remember it.

        ``measure`` makes such a run, and says whether nothing disturbed it.
        """
        choices = self.choices(case)
        start = self.configuration(case.like)
        if not choices:
            self.found[case.name] = Found(dict(start))
            return
        short = replace(case, repeats=1, long=case.long or case.depth > 0)

        def rate(config: Config) -> tuple[float, bool]:
            return measure(partial(self.run, short, threads, config))

        key = [self.build, case.name, f"{threads} threads", search.text(start), repr(choices)]
        self.found[case.name] = search.remembered(
            key, lambda: search.along_axes(rate, start, choices), how, Found(dict(start))
        )


def ours(folder: Path, isa: str | None, *, name: str = OURS, int8: bool = False) -> Side:
    """Our engine on a weights folder, as it is by default, or with activations in int8.

    How it starts is measured by default alone.
    """
    found = footprint.of_folder(folder)
    side = Side(name, partial(_run_ours, folder, isa, int8), footprint=lambda _: found)
    side.kv_share = INT8_KV
    if not int8:
        side.first_token = partial(_first_token_ours, folder, isa)
        side.import_time = lambda: run_child([sys.executable, "-c", IMPORT])
        side.files = [path for path in folder.iterdir() if path.is_file()]
    return side


def _run_ours(
    folder: Path, isa: str | None, int8: bool, case: Case, threads: int, _: Config
) -> tuple[float, Child]:
    command: list[str | Path] = [sys.executable, HERE / "ours.py", folder]
    command += ["--threads", str(threads), "--prompt", str(case.prompt)]
    command += ["--gen", str(case.gen), "--depth", str(case.depth)]
    command += ["--repeats", str(case.repeats), "--rows", str(case.rows)]
    command += ["--temperature", str(case.temperature)]
    command += ["--activations", "int8"] if int8 else []
    command += ["--no-warm-up"] if case.long else []
    command += ["--isa", isa] if isa else []
    child = run_child(command)
    samples = [float(rate) for rate in json.loads(child.stdout)["samples"]]
    return statistics.median(samples), child


def _first_token_ours(folder: Path, isa: str | None, threads: int) -> Child:
    command: Command = [sys.executable, HERE / "first_token_ours.py", folder, str(threads), PROMPT]
    return run_child(command, {"CACTUS_ISA": isa} if isa else None)


def llama_cpp(built: LlamaCpp, gguf: Path, name: str, build: str, progress: Progress) -> Side:
    """llama.cpp on files of its own making; it starts with the one in Q4_0."""
    side = llama_tools(built.tools, gguf, name, build, progress)
    file = requantize(built.binaries, gguf, side.start["format"], progress)
    side.files = [file]
    side.first_token = partial(built.first_token, file)
    side.first_token_bare = partial(built.first_token_bare, file)
    return side


def llama_tools(tools: Tools, gguf: Path, name: str, build: str, progress: Progress) -> Side:
    """The tools of llama.cpp, or of a fork, on files that they make of a GGUF."""

    def file(config: Config) -> Path:
        return requantize(tools.binaries, gguf, config["format"], progress)

    def run(case: Case, threads: int, config: Config) -> tuple[float, Child]:
        return tools.bench(file(config), case, threads, config)

    side = Side(name, run, f"{build}, {gguf.name}", tools.start, tools.choices, tools.can_run)
    if not tools.fork:  # which has types of its own, whose sizes nobody else knows
        side.footprint = lambda config: footprint.of_gguf(file(config))[0]
    return side


def openvino(built: OpenVino, name: str, build: str) -> Side:
    """openvino-genai on a model in its own format."""
    key = f"{build}, {built.folder.name}, groups of {built.group}"
    return Side(name, built.bench, key, OPENVINO_START, built.choices)
