"""What is to be seen in images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cactus.batch.rows import Row
from cactus.batch.template import Template
from cactus.batch.works.chat import Chat

PROMPT = "Describe this image."


class Describe(Chat):
    """A chat about the image whose name is `file`; by default the column `file`."""

    KIND = "describe"
    FIELDS = (*Chat.FIELDS, "file")
    ABILITY = "see"

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__({"prompt": PROMPT, **fields}, options)
        self._file = Template("file", fields.get("file", "{file}"))

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        return [*super().needed(columns), *self._file.columns]

    def _messages(self, row: Row, base: Path) -> list[Any]:
        messages = super()._messages(row, base)
        name = self._file.fill(row.values)
        image = name if "://" in name or name.startswith("data:") else str(base / name)
        messages[-1]["images"] = [image]
        return messages
