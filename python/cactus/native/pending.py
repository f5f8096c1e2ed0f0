"""A step of a program before, while and after it runs: rows laid out for the core, outputs read."""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InsufficientMemory, InvalidRequest
from ..graph.step import Output, Row
from . import _signatures as abi
from .library import check, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..calls.stop_flag import StopFlag

_OUTPUTS = {
    "none": abi.OUTPUTS_NONE,
    "last": abi.OUTPUTS_LAST,
    "all": abi.OUTPUTS_ALL,
    "first": abi.OUTPUTS_FIRST,
    "sum": abi.OUTPUTS_SUM,
}

_NOT_RUN = -1
"""No status of the core."""

_CODES = {ctypes.c_int32: "i", ctypes.c_uint32: "I", ctypes.c_uint64: "Q", ctypes.c_float: "f"}


def _layout(structure: type[ctypes.Structure]) -> struct.Struct:
    """A ctypes structure as ``struct`` knows it, which fills and reads one several times faster."""
    layout = struct.Struct("@" + "".join(_CODES.get(field[1], "P") for field in structure._fields_))
    assert layout.size == ctypes.sizeof(structure)
    return layout


_ROW, _OUTPUT = _layout(abi.Row), _layout(abi.Output)


class PendingStep:
    """A step that is ready to run, once. Made by ``Program.prepare``.

    An exception that arrives from outside, such as KeyboardInterrupt, can come out of ``run`` after
    the core has done its work. ``done`` then says so, and ``outputs`` has what the step gave.
    """

    __slots__ = (
        "_arrays",
        "_count",
        "_given",
        "_n_outputs",
        "_outputs",
        "_program",
        "_rows",
        "_status",
        "_stop",
        "_tokens",
        "_tops",
        "_values",
    )

    def __init__(
        self,
        program: int,
        rows: Sequence[Row],
        features: int,
        axes: int,
        output_width: int,
        stop: StopFlag | None,
    ) -> None:
        """``features`` and ``axes`` as in ProgramInfo; ``output_width`` 0: no logits are wanted."""
        self._program, self._stop, self._count = program, stop, len(rows)
        # What the native rows point to.
        self._given, self._arrays = rows, list[Any]()
        self._tops: list[tuple[int, Any]] = []  # the first output and the room of a row
        self._tokens = _tokens(rows)
        for row in rows:
            _check_arrays(row, features, axes)
        self._rows = (abi.Row * self._count)()
        self._n_outputs = self._fill(rows)
        self._outputs = (abi.Output * self._n_outputs)()
        self._values: NDArray[np.float32] | None = None
        if output_width:
            import numpy as np

            self._values = np.empty((self._n_outputs, output_width), np.float32)
        self._status = ctypes.c_int32(_NOT_RUN)

    def _fill(self, rows: Sequence[Row]) -> int:
        """Write the native rows; returns how many outputs they have."""
        address, n_outputs, at = self._tokens.buffer_info()[0], 0, 0
        for row in rows:
            count, n_row, top = row.count, row.output_count, 0
            features, n_features, positions = 0, 0, 0
            if row.top_logprobs:
                top = self._make_top(row.top_logprobs, n_outputs, n_row)
            if row.features is not None:
                features, n_features = self._address_of(row.features), len(row.features)
            if row.positions is not None:
                positions = self._address_of(row.positions)
            _ROW.pack_into(
                self._rows,
                at,
                row.session.id,
                address if len(row.tokens) else 0,
                count,
                _OUTPUTS[row.outputs],
                0 if row.sampler is None else row.sampler.id,
                features,
                row.top_logprobs,
                n_features,
                top,
                0 if row.stop is None else row.stop.address,
                positions,
            )
            at += _ROW.size
            address += 4 * len(row.tokens)
            n_outputs += n_row
        return n_outputs

    def _make_top(self, count: int, first: int, outputs: int) -> int:
        """Room for the ``count`` likeliest tokens of each output of a row; its address."""
        if not 0 <= count < 1 << 31:
            raise InvalidRequest(f"top_logprobs is {count}, expected 0 or more")
        room = ((abi.TokenLogprob * count) * outputs)()
        self._tops.append((first, room))
        return ctypes.addressof(room)

    def _address_of(self, rows: NDArray[Any]) -> int:
        import numpy as np

        whole = np.ascontiguousarray(rows)
        self._arrays.append(whole)
        return whole.ctypes.data

    @property
    def done(self) -> bool:
        """Whether the step has run and succeeded: sessions have grown, outputs are there."""
        return self._status.value == abi.OK

    def run(self) -> None:
        """Run the step; see ``Program.step`` for what is raised."""
        if self._status.value != _NOT_RUN:
            raise InvalidRequest("a prepared step runs once: prepare another one")
        pointer = flag = None
        if self._values is not None and self._values.size:
            pointer = ctypes.c_float.from_buffer(self._values.data)
        if self._stop is not None:
            flag = ctypes.c_int32.from_address(self._stop.address)
        load().cactus_program_step(
            self._program,
            self._rows,
            self._count,
            self._outputs,
            self._n_outputs,
            pointer,
            flag,
            self._status,
        )
        self._check()

    def _check(self) -> None:
        if self._status.value == abi.OK:
            return
        if self._status.value == _NOT_RUN:
            raise InvalidRequest("the prepared step has not been run yet")
        try:
            check(self._status.value)
        except InsufficientMemory as error:
            tokens = sum(row.count for row in self._given)
            raise InsufficientMemory(f"no memory for {tokens} more tokens: {error}") from None

    @property
    def values(self) -> NDArray[np.float32]:
        """The logits or states of all outputs, [outputs, width]; they must have been wanted."""
        self._check()
        if self._values is None:
            raise InvalidRequest("the step was not asked for logits")
        return self._values

    def outputs(self) -> list[Output]:
        """One Output for each token of the rows that one was wanted for, in order.

        Raises what ``run`` raised, or would have raised.
        """
        self._check()
        outputs = [Output(*each) for each in _OUTPUT.iter_unpack(self._outputs)]
        if self._values is not None:
            outputs = [o._replace(logits=v) for o, v in zip(outputs, self._values, strict=True)]
        for first, room in self._tops:
            for n, likeliest in enumerate(room, first):
                top = tuple((each.token, each.logprob) for each in likeliest)
                outputs[n] = outputs[n]._replace(top=top)
        return outputs


def _tokens(rows: Sequence[Row]) -> array[int]:
    """The tokens of all rows, one after another."""
    tokens = array("i")
    for row in rows:
        try:
            # array checks the range, a ctypes array would wrap around.
            tokens.extend(row.tokens)
        except (TypeError, OverflowError):
            raise InvalidRequest("tokens must be integers of 32 bits") from None
    return tokens


def _check_arrays(row: Row, features: int, axes: int) -> None:
    """The core is given addresses: what lies there must be as long as it takes it for."""
    if row.features is not None:
        if features == 0:
            raise InvalidRequest("features were given to a program whose rows are tokens")
        given = row.features
        if given.ndim != 2 or given.shape[1] != features or given.dtype != "float32":
            raise InvalidRequest(
                f"features are {given.dtype} {list(given.shape)}, "
                f"expected float32 [rows, {features}]"
            )
    if row.positions is not None:
        if axes == 0:
            raise InvalidRequest("positions were given to a program that takes none")
        at = row.positions
        if at.shape != (row.count, axes) or at.dtype != "int32":
            raise InvalidRequest(
                f"positions are {at.dtype} {list(at.shape)}, expected int32 [{row.count}, {axes}]"
            )
