"""Plans taken apart into their records, or made of nothing, to be put together wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cactus.graph.plan import BUFFER, HEADER, NATIVE_OPS, SLOT, SLOTS, STEP, WEIGHT

NO_STEP = (
    *(0, -1, -1, -1, 0, 0, 0, -1),  # op, inputs, their first columns, output
    *(-1, -1, -1, -1, 0, -1),  # weights and their number, slot
    *(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0),  # the op's integers and floats
    *(0, 0, -1, -1, -1, -1, -1),  # constants, biases, axes
)


@dataclass
class Forge:
    """The records of a plan; ``build`` makes a blob of them without asking whether they fit."""

    vocab_size: int = 0
    context_length: int = 4096
    output: int = 0
    features: int = 0
    weights: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[tuple[int, ...]] = field(default_factory=list)
    steps: list[list[float]] = field(default_factory=list)
    constants: bytes = b""

    @classmethod
    def of(cls, blob: bytes) -> Forge:
        """The records of a plan that ``build`` in cactus.graph.plan has made."""
        _, *counts, vocab, context, output, features = HEADER.unpack_from(blob)
        at = HEADER.size
        parts: list[list[tuple[int, ...]]] = []
        for count, record in zip(counts, (WEIGHT, BUFFER, SLOT, STEP), strict=False):
            end = at + count * record.size
            parts.append(list(record.iter_unpack(blob[at:end])))
            at = end
        weights, buffers, slots, steps = parts
        return cls(
            *(vocab, context, output, features, weights, buffers, slots),
            [list(step) for step in steps],
            blob[at:],
        )

    def build(self) -> bytes:
        """The blob."""
        parts = (self.weights, self.buffers, self.slots, self.steps)
        header = HEADER.pack(
            *(b"CACTPLN1", *map(len, parts), len(self.constants) // 4),
            *(self.vocab_size, self.context_length, self.output, self.features),
        )
        records = (
            record.pack(*values)
            for record, part in zip((WEIGHT, BUFFER, SLOT, STEP), parts, strict=True)
            for values in part
        )
        return header + b"".join(records) + self.constants

    def weight(self, rows: int, cols: int, offset: int = 0) -> int:
        """Add a plain f32 weight; returns its number."""
        self.weights.append((0, rows, cols, 0, offset, 4 * rows * cols))
        return len(self.weights) - 1

    def buffer(self, width: int, rows: int = 0) -> int:
        """Add an f32 buffer with a row for each token (0) or each wanted output (1)."""
        self.buffers.append((0, width, rows, 0))
        return len(self.buffers) - 1

    def slot(self, kind: str, a: int, b: int) -> int:
        """Add a slot: heads and head_dim, or width and taps."""
        self.slots.append((SLOTS[kind], a, b, 0))
        return len(self.slots) - 1

    def step(
        self,
        op: str,
        inputs: tuple[tuple[int, int], ...],
        out: int,
        *,
        weight: int = -1,
        slot: int = -1,
        integers: tuple[int, ...] = (),
        floats: tuple[float, ...] = (),
        rotary: tuple[int, int] = (0, 0),
        axes: int = -1,
    ) -> None:
        """Add a step; ``inputs`` are buffers and their first columns."""
        step = list(NO_STEP)
        step[0], step[7], step[13] = NATIVE_OPS[op], out, slot
        for n, (buffer, column) in enumerate(inputs):
            step[1 + n], step[4 + n] = buffer, column
        if weight >= 0:
            step[8], step[12] = weight, 1
        step[14 : 14 + len(integers)] = integers
        step[20 : 20 + len(floats)] = floats
        step[24], step[25], step[30] = *rotary, axes
        self.steps.append(step)

    def outputs(self, buffer: int) -> bytes:
        """Add the rows that are returned, those of ``buffer``, and build."""
        width = self.buffers[buffer][1]
        self.output = self.buffer(width, rows=1)
        self.step("output_rows", ((buffer, 0),), self.output)
        return self.build()


def floats(values: list[float]) -> bytes:
    """Constants of a plan."""
    return struct.pack(f"<{len(values)}f", *values)
