"""A step of a program before, while and after it runs: rows laid out for the core, outputs read."""

from __future__ import annotations

import ctypes
import functools
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


_ROW, _OUTPUT, _TOP = _layout(abi.Row), _layout(abi.Output), _layout(abi.TokenLogprob)

_ROWS = 8
"""Where in a step's block of memory its rows begin: the status stands before them."""


def _with_addresses(name: str) -> Any:
    """A function of the core, which takes addresses as numbers: nothing is made around them."""
    function = load()[name]
    result, arguments = abi.FUNCTIONS[name]
    function.restype = result
    function.argtypes = [
        each if each in _CODES else ctypes.c_void_p  # what is no number is a pointer
        for each in arguments
    ]
    return function


@functools.cache
def _native_step() -> Any:
    return _with_addresses("cactus_program_step")


@functools.cache
def _native_run() -> Any:
    return _with_addresses("cactus_program_generate")


class PendingStep:
    """A step, or several in a row, that is ready to run, once. Made by ``Program.prepare``.

    An exception that arrives from outside, such as KeyboardInterrupt, can come out of ``run`` after
    the core has done its work. ``done`` then says so, and ``outputs`` has what the step gave.
    """

    __slots__ = (
        "_arrays",
        "_block",
        "_ends",
        "_first",
        "_given",
        "_n_outputs",
        "_program",
        "_steps",
        "_stop",
        "_tokens",
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
        steps: int = 1,
        ends: array[int] | None = None,
    ) -> None:
        """``features`` and ``axes`` as in ProgramInfo; ``output_width`` 0: no logits are wanted."""
        self._program, self._stop = program, stop
        self._steps, self._ends = steps, ends
        # What the native rows point to.
        self._given, self._arrays = rows, list[Any]()
        self._tokens = tokens = array("i")
        n_outputs = n_tops = 0
        for row in rows:
            try:
                # array checks the range, a ctypes array would wrap around.
                tokens.extend(row.tokens)
            except (TypeError, OverflowError):
                raise InvalidRequest("tokens must be integers of 32 bits") from None
            if row.features is not None or row.positions is not None:
                _check_arrays(row, features, axes)
            n_row = row.output_count
            n_outputs += n_row
            if row.top_logprobs:
                if not 0 <= row.top_logprobs < 1 << 31:
                    raise InvalidRequest(f"top_logprobs is {row.top_logprobs}, expected 0 or more")
                n_tops += row.top_logprobs * n_row
        self._n_outputs = n_outputs * steps
        self._first = _ROWS + _ROW.size * len(rows)
        # The status and how many steps were made, the rows, their outputs and the likeliest tokens
        # of these, one behind another.
        size = self._first + (_OUTPUT.size * n_outputs + _TOP.size * n_tops) * steps
        self._block = array("i", bytes(size))
        self._block[0] = _NOT_RUN
        self._fill()
        self._values: NDArray[np.float32] | None = None
        if output_width:
            import numpy as np

            self._values = np.empty((n_outputs, output_width), np.float32)

    def _fill(self) -> None:
        """Write the native rows."""
        block = self._block
        address = self._tokens.buffer_info()[0]
        top = block.buffer_info()[0] + self._first + _OUTPUT.size * self._n_outputs
        at = _ROWS
        for row in self._given:
            n_tokens = count = len(row.tokens)
            features = n_features = positions = 0
            if row.features is not None:
                features, n_features = self._address_of(row.features), len(row.features)
                count = count or n_features
            if row.positions is not None:
                positions = self._address_of(row.positions)
            _ROW.pack_into(
                block,
                at,
                row.session.id,
                address if n_tokens else 0,
                count,
                _OUTPUTS[row.outputs],
                0 if row.sampler is None else row.sampler.id,
                features,
                row.top_logprobs,
                n_features,
                top if row.top_logprobs else 0,
                0 if row.stop is None else row.stop.address,
                positions,
            )
            at += _ROW.size
            address += 4 * n_tokens
            if row.top_logprobs:
                top += _TOP.size * row.top_logprobs * row.output_count * self._steps

    def _address_of(self, rows: NDArray[Any]) -> int:
        import numpy as np

        whole = np.ascontiguousarray(rows)
        self._arrays.append(whole)
        return whole.ctypes.data

    @property
    def done(self) -> bool:
        """Whether the step has run and succeeded: sessions have grown, outputs are there."""
        return self._block[0] == abi.OK

    def run(self) -> None:
        """Run the step; see ``Program.step`` for what is raised."""
        block = self._block
        if block[0] != _NOT_RUN:
            raise InvalidRequest("a prepared step runs once: prepare another one")
        address, values = block.buffer_info()[0], self._values
        if self._steps > 1:
            ends, n_ends = (0, 0) if self._ends is None else self._ends.buffer_info()
            _native_run()(
                self._program,
                address + _ROWS,
                len(self._given),
                ends,
                n_ends,
                address + self._first,
                self._steps,
                address + 4,
                address,
            )
        else:
            _native_step()(
                self._program,
                address + _ROWS,
                len(self._given),
                address + self._first,
                self._n_outputs,
                values.ctypes.data if values is not None and values.size else None,
                None if self._stop is None else self._stop.address,
                address,
            )
        if block[0] != abi.OK:
            self._check()

    @property
    def made(self) -> int:
        """How many steps in a row were made."""
        return self._block[1] if self._steps > 1 else 1

    def _check(self) -> None:
        status = self._block[0]
        if status == abi.OK:
            return
        if status == _NOT_RUN:
            raise InvalidRequest("the prepared step has not been run yet")
        try:
            check(status)
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

        Of several steps in a row `made` for each row. Raises what ``run`` raised, or would have
        raised.
        """
        self._check()
        block, first, values, run = self._block, self._first, self._values, self._steps > 1
        top = first + _OUTPUT.size * self._n_outputs
        step = _OUTPUT.size * (len(self._given) if run else 1)
        outputs: list[Output] = []
        for row in self._given:
            likeliest: tuple[tuple[int, float], ...] = ()
            n_top, count = row.top_logprobs, block[1] if run else row.output_count
            for at in range(first, first + count * step, step):
                token, logprob, entropy = _OUTPUT.unpack_from(block, at)
                if n_top:
                    end = top + _TOP.size * n_top
                    likeliest = tuple(
                        [_TOP.unpack_from(block, each) for each in range(top, end, _TOP.size)]
                    )
                    top = end
                logits = None if values is None else values[len(outputs)]
                outputs.append(Output(token, logprob, entropy, logits, likeliest))
            first += _OUTPUT.size if run else count * step
            if run:
                top += _TOP.size * n_top * (self._steps - count)
        return outputs


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
