"""The tools of llama.cpp, and of a fork that takes nearly the same arguments: one way to run a case
in a configuration."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cases import Case
from runner import BenchmarkError, Child, Command, cache_folder, run_child
from search import Config

START: Config = {"format": "Q4_0", "repack": "1", "flash": "on", "cache": "f16"}
FORK_START: Config = {"format": "Q4_0_R8", "flash": "1", "cache": "f16"}
"""What a search begins with: of ik_llama.cpp, the fork whose names these are."""

_ANY = {"format": ("IQ4_XS", "Q4_K_S"), "repack": ("0",), "flash": ("off",)}
_FORK_ANY = {"format": ("IQ4_XS", "Q4_0"), "flash": ("0",)}
_FAR = {"flash": ("on", "off"), "cache": ("q8_0",)}
_FORK_FAR = {"flash": ("1", "0"), "cache": ("bf16", "q8_KV/q8_0")}
_RATE = 8
"""Column of llama-batched-bench's table that has the tokens/s of writing."""


@dataclass(frozen=True)
class Tools:
    """A folder of tools; ``kernels`` is one whose libraries go before its own."""

    binaries: Path
    kernels: Path | None = None
    fork: bool = False

    @property
    def start(self) -> Config:
        """Where a search begins."""
        return FORK_START if self.fork else START

    def choices(self, case: Case) -> Mapping[str, tuple[str, ...]]:
        """What a search tries beyond the start, or beyond what the case it is like has found."""
        if not case.like:
            return _FORK_ANY if self.fork else _ANY
        if case.has_long_context and not case.rare:
            return _FORK_FAR if self.fork else _FAR
        return {}

    @staticmethod
    def can_run(case: Case) -> bool:
        """The tools do not sample."""
        return case.temperature == 0

    def bench(self, gguf: Path, case: Case, threads: int, config: Config) -> tuple[float, Child]:
        """Median tokens/s of one case in one process, and that process."""
        keys, _, values = config["cache"].partition("/")
        common: list[str | Path] = ["-m", gguf, "-t", str(threads), "-fa", config["flash"]]
        common += ["-ctk", keys, "-ctv", values or keys]
        run = self._together if case.rows > 1 else self._alone
        return run(case, common, config)

    def _alone(self, case: Case, common: list[str | Path], config: Config) -> tuple[float, Child]:
        command = [self.binaries / "llama-bench", *common]
        command += ["-o", "json", "-r", str(case.repeats), "-p", str(case.prompt)]
        if self.fork:
            command += ["-w", "0" if case.long else "1"]
            written = ["-n", "0", "-gp", f"{case.depth},{case.gen}"]
            command += written if case.depth else ["-n", str(case.gen)]
        else:
            command += ["-n", str(case.gen), "-d", str(case.depth), "--repack", config["repack"]]
            command += ["--no-warmup"] if case.long else []
        child = self._run(command)
        (result,) = json.loads(child.stdout)
        return statistics.median(float(rate) for rate in result["samples_ts"]), child

    def _together(
        self, case: Case, common: list[str | Path], config: Config
    ) -> tuple[float, Child]:
        command = [self.binaries / "llama-batched-bench", *common]
        command += ["-npp", "1", "-ntg", str(case.gen), "-npl", str(case.rows)]
        command += ["-c", str(case.rows * (case.gen + 2) + 256)]
        # the fork writes a log, else into the folder that it is called from
        command += ["--log-file", cache_folder() / "ik"] if self.fork else []
        command += [] if config.get("repack", "1") == "1" else ["--no-repack"]
        child = self._run(command)
        printed = child.errors if self.fork else child.stdout
        rows = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
        if len(rows) != 3:
            raise BenchmarkError(f"llama-batched-bench printed no table of one line:\n{printed}")
        return float(rows[-1][_RATE]), child

    def _run(self, command: Command) -> Child:
        return run_child(command, {"LD_LIBRARY_PATH": str(self.kernels)} if self.kernels else None)
