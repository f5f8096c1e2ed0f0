"""openvino-genai as a peer: a model exported and quantised by optimum-intel, driven by a child.

Two environments of their own: what exports needs torch, what runs does not.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import checkpoint
from cases import Case
from runner import Child, Command, Progress, cache_folder, environment, run_child, run_logged
from search import Config

PACKAGE, VERSION = "openvino-genai", "2026.4.1.0"
EXPORTER = ("optimum-intel[openvino]==2.2.0", "transformers==5.4.0", "torch==2.13.0")
# Without torchvision, which it wants as a dependency only, and which has to fit torch's build.
_EXPORT = (
    "import sys; sys.modules['torchvision'] = None; from optimum.commands.optimum_cli import main"
)
CHILD = Path(__file__).with_name("openvino_child.py")
START: Config = {"precision": "bf16", "cache": "u8"}
WHOLE_PROMPT = 1 << 20
"""More tokens than any prompt has: each is read in one step."""


@dataclass(frozen=True)
class OpenVino:
    """An environment that has the package, and a model in its own format.

    Weights have 4 bits, symmetric, with a scale for ``group`` columns; activations become 8 bits in
    groups of as many.
    """

    python: Path
    folder: Path
    group: int

    @staticmethod
    def choices(case: Case) -> Mapping[str, tuple[str, ...]]:
        """What a search tries beyond the start, or beyond what the case it is like has found."""
        if not case.like:
            return {"precision": ("f32",)}
        return {"cache": ("f16",)} if case.has_long_context and not case.rare else {}

    def bench(self, case: Case, threads: int, config: Config) -> tuple[float, Child]:
        """Median tokens/s of a case, and the process that did it."""
        job = {
            "model": str(self.folder),
            "threads": threads,
            "prompt": case.prompt,
            "gen": case.gen,
            "depth": case.depth,
            "rows": case.rows,
            "temperature": case.temperature,
            "repeats": case.repeats,
            # The first call makes the kernels, so that even a long case has a warm-up.
            "warm_up": 1,
            "step": WHOLE_PROMPT,
            "options": {
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(self.group),
                "INFERENCE_PRECISION_HINT": config["precision"],
                "KV_CACHE_PRECISION": config["cache"],
            },
        }
        child = run_child([self.python, CHILD, json.dumps(job)])
        samples = json.loads(child.stdout.splitlines()[-1])["samples"]
        return statistics.median(map(float, samples)), child


def prepare(name: str, weights: Path, progress: Progress) -> OpenVino:
    """Install and export once; later calls find everything in the cache folder.

    ``weights`` is our folder: what is exported is quantised from the numbers that we multiply. One
    scale for 64 columns where 128 do not divide the sizes, and then the embedding has 8 bits, as
    ours has there.
    """
    python = environment("openvino", [f"{PACKAGE}=={VERSION}"], progress)
    exporter = environment("openvino-export", EXPORTER, progress)
    models = cache_folder() / "models"
    source, folder = models / f"{name}-checkpoint", models / f"{name}-openvino"
    if not (source / "model.safetensors").exists():
        progress.show(f"writing {source.name} (once)")
        checkpoint.write(weights, source)
    width = json.loads((source / "config.json").read_text("utf-8"))["hidden_size"]
    group = 128 if width % 128 == 0 else 64
    if not (folder / "complete").exists():
        command: Command = [
            *("env", "HF_HUB_OFFLINE=1", exporter, "-c", f"{_EXPORT}; main()"),
            *("export", "openvino", "-m", source, "--task", "text-generation-with-past"),
            *("--weight-format", "int4", "--sym", "--ratio", "1.0", "--group-size", str(group)),
            *(["--all-layers"] if group == 128 else []),
            folder,
        ]
        title = f"exporting {folder.name} (once, some minutes)"
        run_logged(command, cache_folder() / "export.log", progress, title)
        (folder / "complete").touch()
    return OpenVino(python, folder, group)
