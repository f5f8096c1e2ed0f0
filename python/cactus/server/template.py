"""What the chat template of a model says of it, whether it is loaded or not."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cactus.errors import CactusError
from cactus.weights.format.folder import WeightsFolder

FILE = "chat_template.jinja"
_SWITCHES = ("enable_thinking", "<think>", "</think>")
"""One of them stands in the template of a model that thinks."""


def template_of(folder: Path) -> str:
    """The source of a model's template, read anew when it has changed; "" where there is none."""
    try:
        return _template(folder, (folder / FILE).stat().st_mtime_ns)
    except (CactusError, OSError):  # none, or a damaged folder: whoever loads the model is told
        return ""


@lru_cache(maxsize=256)
def _template(folder: Path, changed: int) -> str:
    with WeightsFolder.open(folder) as weights:
        return weights.chat_template or ""


def thinks(template: str) -> bool:
    """Whether it is of a model that thinks before it answers."""
    return any(switch in template for switch in _SWITCHES)


def calls_tools(template: str) -> bool:
    """Whether it shows the model tools."""
    return "tools" in template
