"""The fuzzers that `tools/fuzz.py` runs, one module for each kind of input."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from runpy import run_path

from fuzzers.base import Fuzzer

NAMES = (
    *("weights", "plans", "images", "audio", "documents"),
    *("templates", "calls", "grammars", "folders", "rows", "indexes", "servers", "http", "capi"),
)
"""In the order in which they take turns; each is a module here with a class `Fuzz`."""


def load(name: str, scratch: Path) -> Fuzzer:
    """The fuzzer of that name, or in that file; `scratch` is an empty folder of its own."""
    if name.endswith(".py"):
        made: Fuzzer = run_path(name)["Fuzz"](scratch)
    else:
        made = import_module(f"fuzzers.{name}").Fuzz(scratch)
    return made


def about(name: str) -> str:
    """What it feeds, in one line."""
    return (import_module(f"fuzzers.{name}").__doc__ or "").partition("\n")[0]
