"""The models of the comparison, made once and kept in the cache folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import peer as peers
from runner import Progress, cache_folder

STARTER = "starter"
NAMES = (STARTER, "lfm2-350m", "qwen3-0.6b")


@dataclass(frozen=True)
class Model:
    """One model in the two forms that are compared: our folder, and the file it was made from."""

    name: str
    folder: Path
    gguf: Path


def prepare(name: str, progress: Progress) -> Model:
    """The model of that name: the starter as shipped, the others with random weights."""
    if name == STARTER:
        gguf = peers.starter_gguf(progress)
    else:
        gguf = cache_folder() / "models" / f"{name}.gguf"
        if not gguf.exists():
            import random_models  # needs the gguf package, which the others do not

            progress.show(f"writing {gguf.name} (once)")
            gguf.parent.mkdir(exist_ok=True)
            random_models.write(random_models.SHAPES[name], gguf)
    return Model(name, converted(gguf, progress), gguf)


def converted(gguf: Path, progress: Progress) -> Path:
    """Our weights folder of a GGUF file; made once and kept."""
    from cactus.weights.locate import resolve

    progress.show(f"converting {gguf.name} (once)")
    return resolve(gguf)
