"""The native core of another processor, driven over a pipe; see native/tests/remote.cpp.

``Machine.program`` makes objects that do what ``cactus.native.Program`` does as far as tests need
it, so the same test helpers run on either.
"""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.errors import NativeError
from cactus.native import Output, Row
from cactus.native import _signatures as abi


class Machine:
    """One process with the native core. ``command`` starts native/tests/remote.cpp."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)

    def ask(self, *words: object, data: bytes = b"") -> bytes:
        """The answer to one request; NativeError with the message if it is refused."""
        pipe, answers = self.process.stdin, self.process.stdout
        assert pipe is not None and answers is not None
        pipe.write(" ".join(map(str, words)).encode() + b"\n" + data)
        pipe.flush()
        head = answers.read(8)
        assert len(head) == 8, f"{self.process.args} ended with {self.process.wait()}"
        status, size = struct.unpack("<2i", head)
        result = answers.read(size)
        if status:
            raise NativeError(result.decode())
        return result

    def tiers(self) -> list[str]:
        """Names of the kernel tiers that can run there, the plainest first."""
        return self.ask("tiers").decode().split()

    def program(
        self,
        blob: bytes,
        path: Path,
        *,
        isa: str | None = None,
        threads: int = 1,
        chunk: int = 256,
        shares: RemoteProgram | None = None,
        reading: str = "mapped",
    ) -> RemoteProgram:
        """Like ``cactus.native.Program``."""
        base = shares.id if shares else 0
        given = (isa or "-", threads, chunk, base, reading, len(blob), path)
        answer = self.ask("create", *given, data=blob)
        return RemoteProgram(self, answer)

    def close(self) -> None:
        """End the process; it must have done all it was asked for."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


class RemoteSession:
    """A session of a RemoteProgram."""

    def __init__(self, identifier: int) -> None:
        self.id = identifier


class RemoteProgram:
    """A program on a Machine, with the methods of ``cactus.native.Program`` that tests use."""

    def __init__(self, machine: Machine, created: bytes) -> None:
        self.machine = machine
        (self.id,) = struct.unpack("<Q", created[:8])
        self.info = abi.ProgramInfo.from_buffer_copy(created[8:])
        self.vocab_size: int = self.info.vocab_size
        self.output_width: int = self.info.output_width

    def __enter__(self) -> RemoteProgram:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.ask("close", self.id)

    def session(self) -> RemoteSession:
        """A new session without a past."""
        (identifier,) = struct.unpack("<Q", self.machine.ask("session", self.id))
        return RemoteSession(identifier)

    def step(self, rows: Sequence[Row], *, want_logits: bool = False) -> list[Output]:
        """As ``cactus.native.Program.step``."""
        words: list[Any] = []
        arrays: list[tuple[NDArray[Any] | None, str]] = []
        count = 0
        for row in rows:
            kind = {"none": 0, "last": 1, "all": 2}[row.outputs]
            count += (0, 1, row.count)[kind]
            given = (0, 0) if row.features is None else row.features.shape
            axes = 0 if row.positions is None else row.positions.shape[1]
            words += [row.session.id, kind, row.count, *given, axes, len(row.tokens), *row.tokens]
            arrays += [(row.features, "<f4"), (row.positions, "<i4")]
        width = self.output_width if want_logits else 0
        data = b"".join(a.astype(kind).tobytes() for a, kind in arrays if a is not None)
        answer = self.machine.ask("step", self.id, count, width, len(rows), *words, data=data)
        size = ctypes.sizeof(abi.Output)
        logits = np.frombuffer(answer, np.float32, offset=count * size).reshape(count, width)
        return [
            Output(o.token, o.logprob, o.entropy, logits[i] if want_logits else None)
            for i in range(count)
            for o in [abi.Output.from_buffer_copy(answer, i * size)]
        ]

    def read(self, buffer: int, rows: int, width: int) -> NDArray[np.float32]:
        """As ``cactus.native.Program.read``."""
        answer = self.machine.ask("read", self.id, buffer, rows * width)
        return np.frombuffer(answer, np.float32).reshape(rows, width)
