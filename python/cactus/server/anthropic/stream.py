"""A streamed answer as blocks, each of which is begun, continued and ended in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from cactus.server.anthropic.reply import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Delta,
    InputDelta,
    ReplyBlock,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
    signature,
)
from cactus.server.anthropic.translate import tool_id
from cactus.server.endpoint import sse
from cactus.server.pieces import Piece

BlockKind = Literal["text", "thinking", "tool_use"]


class Blocks:
    """Makes the events of blocks out of the pieces of an answer; `hides` its thoughts or not."""

    def __init__(self, *, hides: bool) -> None:
        self._hides = hides
        self._index = -1
        self._open: BlockKind | None = None
        self._thoughts: list[str] = []

    def take(self, piece: Piece) -> Iterator[bytes]:
        """The events of one piece."""
        if piece.kind == "text":
            if self._open != "text":
                yield from self._begin("text", TextBlock(text=""))
            yield self._delta(TextDelta(text=piece.text))
        elif piece.kind == "reasoning":
            if self._open != "thinking":
                yield from self._begin("thinking", ThinkingBlock(thinking="", signature=""))
            self._thoughts.append(piece.text)
            if not self._hides:
                yield self._delta(ThinkingDelta(thinking=piece.text))
        elif piece.kind == "call":
            block = ToolUseBlock(id=tool_id(piece.id), name=piece.name, input={})
            yield from self._begin("tool_use", block)
        elif piece.kind == "arguments" and piece.text:
            yield self._delta(InputDelta(partial_json=piece.text))
        elif piece.kind == "end":
            yield from self._end()

    def _begin(self, kind: BlockKind, block: ReplyBlock) -> Iterator[bytes]:
        yield from self._end()
        self._index += 1
        self._open = kind
        yield sse(BlockStart(index=self._index, content_block=block), "content_block_start")

    def _end(self) -> Iterator[bytes]:
        if self._open == "thinking":
            yield self._delta(SignatureDelta(signature=signature("".join(self._thoughts))))
            self._thoughts.clear()
        if self._open is not None:
            self._open = None
            yield sse(BlockStop(index=self._index), "content_block_stop")

    def _delta(self, delta: Delta) -> bytes:
        return sse(BlockDelta(index=self._index, delta=delta), "content_block_delta")
