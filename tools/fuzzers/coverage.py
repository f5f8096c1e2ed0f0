"""Which lines of the package have run: what tells a case that does something new from others."""

from __future__ import annotations

import sys
from types import CodeType, FrameType, TracebackType
from typing import Any

from cactus import __file__ as package_file

PACKAGE = package_file.rpartition("__init__")[0]


class Coverage:
    """Used in a ``with`` statement around what runs; `new` are the lines that had not run before.

    A function of which every line has run costs no more than its call.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.new = 0
        self._left: dict[CodeType, set[int]] = {}

    def __enter__(self) -> Coverage:
        self.new = 0
        sys.settrace(self._call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.settrace(None)
        self.lines += self.new

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            left = self._left[code] = set()
            if code.co_filename.startswith(PACKAGE):
                left |= {line for *_, line in code.co_lines() if line is not None}
                left.discard(code.co_firstlineno)
        return self._line if left else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        left = self._left[frame.f_code]
        if event == "line" and frame.f_lineno in left:
            left.discard(frame.f_lineno)
            self.new += 1
        return self._line
