"""What an index was made with, so that it is opened in the same way without being told again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cactus.corpus.models import name_of
from cactus.errors import CactusError, CorpusError, InvalidRequest
from cactus.inputs.checks import boolean, expected
from cactus.inputs.files import find_json
from cactus.inputs.text import reason_of


@dataclass(frozen=True)
class Settings:
    """The options of a `Corpus` that decide what is in its index; models by name or folder."""

    embedder: str | None = None
    speech: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False

    @classmethod
    def load(cls, index: Path) -> Settings:
        """Those of an index; defaults where there are none, or they are damaged."""
        try:
            return cls().given(find_json(_beside(index)) or {})
        except CactusError:
            return cls()

    def given(self, options: Mapping[str, Any]) -> Settings:
        """These with what is given of `options`. Raises InvalidRequest."""
        changed: dict[str, Any] = {}
        for name in ("embedder", "speech"):
            if options.get(name) is not None:
                changed[name] = name_of(options[name])
        for name in ("include", "exclude"):
            if options.get(name) is not None:
                changed[name] = _patterns(name, options[name])
        if options.get("hidden") is not None:
            changed["hidden"] = boolean("hidden", options["hidden"])
        return replace(self, **changed)

    def save(self, index: Path) -> None:
        """Keep them beside the index. Raises CorpusError where they cannot be written."""
        from cactus.inputs.files import replace_file

        path = _beside(index)
        data = json.dumps(asdict(self), ensure_ascii=False, indent=1).encode("utf-8", "replace")
        try:
            if not path.is_file() or Settings.load(index) != self:
                replace_file(path, data, mode=0o600)
        except OSError as error:
            raise CorpusError(f"{path} cannot be written: {reason_of(error)}") from None


def _beside(index: Path) -> Path:
    return index.with_suffix(".json")


def _patterns(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise InvalidRequest(expected(name, "a pattern or a list of patterns", value))
    return tuple(value)
