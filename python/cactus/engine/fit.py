"""What a model would take of the memory, without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cactus.compat import Unpack
from cactus.engine.loading import HEADROOM
from cactus.engine.options import LoadArguments, LoadOptions
from cactus.engine.programs import TOKENS, Programs
from cactus.models.uses import abilities_of
from cactus.weights.locate import read_config


@dataclass(frozen=True)
class Fit:
    """Bytes of memory that a model takes.

    `weights` are those of its file, which the system may give up and read again. `working` is what
    its tokenizer and buffers take beside, about. `position_bytes` are the keys and values of one
    token, of which a conversation has at most `context_length`.
    """

    weights: int
    working: int
    position_bytes: int
    context_length: int

    @property
    def least(self) -> int:
        """With one conversation as long as it can be."""
        return self.weights + self.working + self.position_bytes * self.context_length

    def tokens_in(self, memory: int) -> int:
        """How many tokens can be remembered where so much memory is left."""
        left = memory - self.weights - self.working
        return max(0, left) // max(1, self.position_bytes)


def fit(folder: Path, **arguments: Unpack[LoadArguments]) -> Fit:
    """What the model in a weights folder would take with some options of `Model`.

    Raises ModelFormatError, UnsupportedModel, InvalidRequest.
    """
    from cactus.graph.work import read_work

    options = LoadOptions(**arguments)
    config = read_config(folder)
    programs = Programs(folder, str(config.get("model_type", "")), options)
    plan = programs.plan(TOKENS)
    blob = options.apply(plan.blob, plan.whole_texts)
    remembers = "complete" in abilities_of(config)
    return Fit(
        weights=(folder / "model.safetensors").stat().st_size,
        working=8 * _size(folder / "tokenizer.json") + HEADROOM,
        position_bytes=read_work(blob).position_bytes if remembers else 0,
        context_length=options.context_of(plan.context_length),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
