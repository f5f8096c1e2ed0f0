"""Server-sent events, as they come in pieces of bytes."""

from __future__ import annotations


class EventReader:
    """Cuts a stream of bytes into the `data` of its events; how it comes in pieces is the same."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[str]:
        """The data of the events that `piece` completes. Raises UnicodeDecodeError."""
        self._buffer += piece
        # A line that ends in "\r" may go on with "\n".
        *lines, self._buffer = self._buffer.split(b"\n")
        found: list[str] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data).decode("utf-8"))
                self._data.clear()
        return found
