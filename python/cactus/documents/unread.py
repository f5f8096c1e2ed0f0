"""Why a reader gave nothing."""

from __future__ import annotations

from cactus.documents.types import Reason
from cactus.inputs.text import one_line


class Unread(Exception):
    """A file is not read, for one of `REASONS`. It never leaves this room."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason: Reason = reason
        self.detail = one_line(detail)  # it may hold names and bytes of the file
        super().__init__(reason, self.detail)
