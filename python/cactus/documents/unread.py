"""Why a reader gave nothing."""

from __future__ import annotations

from cactus.documents.types import Reason


class Unread(Exception):
    """A file is not read, for one of `REASONS`. It never leaves this room."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail
