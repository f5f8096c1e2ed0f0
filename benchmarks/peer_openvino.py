"""openvino-genai as a peer, for reading prompts: an environment of its own, and one child."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cases import Case
from runner import Child, Progress, environment, run_child

PACKAGE, VERSION = "openvino-genai", "2026.4.1.0"
CHILD = Path(__file__).with_name("prefill_openvino.py")


@dataclass(frozen=True)
class OpenVino:
    """An environment that has the package."""

    python: Path

    def prefill(self, gguf: Path, case: Case, threads: int) -> tuple[float, Child]:
        """Median tokens/s of reading prompts of a case, and the process that did it."""
        counts = (threads, case.prompt, case.repeats)
        child = run_child([self.python, CHILD, gguf, *(str(count) for count in counts)])
        samples = sorted(json.loads(child.stdout.splitlines()[-1])["samples"])
        return float(samples[len(samples) // 2]), child


def prepare(progress: Progress) -> OpenVino:
    """Install the package once; later calls find it in the cache folder."""
    return OpenVino(environment("openvino", [f"{PACKAGE}=={VERSION}"], progress))
