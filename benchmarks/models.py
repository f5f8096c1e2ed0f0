"""The models of the comparison, made once and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import peer as peers
from runner import Progress, cache_folder

import cactus.models
import cactus.weights

STARTER = "starter"
NAMES = (STARTER, "lfm2-350m", "lfm2-1.2b", "qwen3-0.6b", "gemma-3-270m")


@dataclass(frozen=True)
class Model:
    """One model in the two forms that are compared: our folder, and the file it was made from."""

    name: str
    folder: Path
    gguf: Path

    @property
    def context_length(self) -> int:
        """Tokens that a conversation may have."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        return int(config["max_position_embeddings"])


def converted(name: str, source: Path, precision: str, progress: Progress) -> Path:
    """Our weights folder of a checkpoint; made anew whenever the converter's code changes."""
    from cactus.weights.convert import convert
    from cactus.weights.locate import is_weights_folder

    code = hashlib.sha256()
    for room in (cactus.models, cactus.weights):
        for file in sorted(Path(str(room.__file__)).parent.rglob("*.py")):
            code.update(file.read_bytes())
    folder = cache_folder() / "models" / f"{name}-{precision}-{code.hexdigest()[:8]}"
    if not is_weights_folder(folder):
        progress.show(f"converting {folder.name} (once)")
        convert(source, folder, precision)
    return folder


def prepare(name: str, progress: Progress) -> Model:
    """The model of that name: the starter as shipped, the others with random weights.

    The random ones are Q4_0 throughout: the peer runs the very file that ours is converted from.
    """
    if name == STARTER:
        from cactus.weights.resolve import resolve

        gguf = peers.starter_gguf(progress)
        progress.show(f"converting {gguf.name} (once)")
        return Model(name, resolve(gguf), gguf)
    gguf = cache_folder() / "models" / f"{name}-random.Q4_0.gguf"
    folder = gguf.with_suffix("")
    if not gguf.exists():
        import random_models  # needs the gguf package, which the others do not

        progress.show(f"writing {gguf.name} (once)")
        gguf.parent.mkdir(exist_ok=True)
        random_models.write(random_models.find(name).config, gguf)
    if not folder.exists():
        from cactus.weights.convert import convert

        progress.show(f"converting {gguf.name} (once)")
        convert(gguf, folder)
    return Model(name, folder, gguf)
