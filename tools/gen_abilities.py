"""Writes python/cactus/models/abilities.py: the `ABILITIES` of all model files in one table.

    python tools/gen_abilities.py [--check]

So that a list, a completion or a refusal needs no import of the models themselves.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path

from generated import finish

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "python/cactus/models/abilities.py"

HEAD = '''"""What each architecture can do, by the `ABILITIES` of its model file.

Written by tools/gen_abilities.py; do not edit. It imports nothing, so that lists and refusals are
quick. An ability is named after the method of `cactus.Model` that asks for it.
"""

from __future__ import annotations

from typing import Literal
'''


def collect() -> dict[str, tuple[str, ...]]:
    """The abilities that the model files state, by `model_type`."""
    package = importlib.import_module("cactus.models")
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    modules = {name: importlib.import_module(f"cactus.models.{name}") for name in names}
    models = {name: module for name, module in modules.items() if hasattr(module, "Config")}
    models.pop("base")
    return {
        getattr(module, "MODEL_TYPE", name): _whole(module.ABILITIES)
        for name, module in models.items()
    }


def _whole(stated: tuple[str, ...]) -> tuple[str, ...]:
    """What a model file states, and what follows: hidden states of a language model embed text."""
    return (*stated, "embed") if "complete" in stated else stated


def generate(abilities: Mapping[str, tuple[str, ...]]) -> str:
    known = sorted({each for several in abilities.values() for each in several})
    lines = [HEAD, "Ability = Literal["]
    lines += [f'    "{each}",' for each in known]
    lines += ["]", "", "ABILITIES: dict[str, tuple[Ability, ...]] = {"]
    for name, several in abilities.items():
        if len(several) == 1:
            lines.append(f'    "{name}": ("{several[0]}",),')
            continue
        # One item a line with a comma after the last: the formatter leaves that as it is.
        lines += [f'    "{name}": (', *(f'        "{each}",' for each in several), "    ),"]
    return "\n".join([*lines, "}", ""])


def main() -> int:
    return finish(TARGET, generate(collect()), __file__)


if __name__ == "__main__":
    sys.exit(main())
