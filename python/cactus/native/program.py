"""Owners of native handles: Program (a loaded plan), Session (one past), Sampler (one choice).

Each has ``close``, is a context manager, and is closed when it is garbage collected. Closing twice
is harmless; using what is closed raises ModelClosed.
"""

from __future__ import annotations

import ctypes
import secrets
import weakref
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calls.closing import Closing
from ..errors import InvalidRequest, ModelClosed
from ..graph.step import Output, Row
from . import _signatures as abi
from .library import check, load
from .pending import PendingStep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..calls.stop_flag import StopFlag

MAX_SEED = (1 << 64) - 1
MAX_CHUNK = 8192
"""The most rows of a step."""


class _Handle(Closing):
    """A native id with its destructor."""

    _noun = ""

    def __init__(self, destroy: Any) -> None:
        """The core writes the id into `self._id`: made first, so that no interrupt loses it."""
        self._id, self._open, self._destroy = ctypes.c_uint64(), True, destroy
        # The destructor holds no reference to this object, and is safe in a forked child. It
        # ignores an id that is not known, such as 0.
        self._finalizer = weakref.finalize(self, destroy, self._id)
        # At exit the process frees everything at once, while a thread may still be computing.
        self._finalizer.atexit = False

    @property
    def id(self) -> int:
        """The native id; ModelClosed after ``close``."""
        if not self._open:
            raise ModelClosed(f"the {self._noun} has been closed")
        return self._id.value

    def close(self) -> None:
        """Release the native object; a second call does nothing."""
        self._open = False
        # Detached last: where this is interrupted, the finalizer does it.
        self._destroy(self._id)
        self._finalizer.detach()


class Sampler(_Handle):
    """How tokens are chosen, with the random state and the counts of the tokens seen.

    ``temperature`` 0 is greedy. ``top_k`` 0, ``top_p`` 1, ``min_p`` 0 and the penalties' defaults
    switch those off. The repetition penalty sees the last ``repetition_window`` tokens, None: all,
    of ``prompt`` and answer; the other penalties see the answer. Without ``seed`` a fresh one is
    drawn; with one the choices repeat. Raises InvalidRequest naming an option that is out of its
    range.
    """

    _noun = "sampler"

    def __init__(
        self,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repetition_window: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        seed: int | None = None,
        prompt: Sequence[int] = (),
    ) -> None:
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise InvalidRequest(f"seed is {seed}, expected 0 to 2^64 - 1")
        if not 0 <= top_k < 1 << 31:
            raise InvalidRequest(f"top_k is {top_k}, expected 0 to 2^31 - 1")
        if repetition_window is not None and not 1 <= repetition_window < 1 << 31:
            raise InvalidRequest(
                f"repetition_window is {repetition_window}, expected 1 to 2^31 - 1"
            )
        bias = dict(logit_bias or {})
        for token in bias:
            if not 0 <= token < 1 << 31:
                raise InvalidRequest(f"logit_bias names token {token}, expected 0 to 2^31 - 1")
        tokens = (ctypes.c_int32 * len(bias))(*bias)
        values = (ctypes.c_float * len(bias))(*bias.values())
        options = abi.SamplerOptions(
            size=ctypes.sizeof(abi.SamplerOptions),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            seed=secrets.randbits(64) if seed is None else seed,
            bias_tokens=tokens,
            bias_values=values,
            bias_count=len(bias),
            repetition_window=repetition_window or 0,
        )
        library = load()
        super().__init__(library.cactus_sampler_destroy)
        check(library.cactus_sampler_create(options, self._id))
        if prompt and repetition_penalty != 1:
            check(library.cactus_sampler_prompt(self.id, _tokens(prompt), len(prompt)))

    def allow(self, masks: NDArray[np.uint32] | None) -> None:
        """The tokens that the next step may choose, bit t % 32 of word t // 32; None: all.

        [words], or [outputs, words] with a mask for each output of the step's row. A step that
        succeeds ends them, one that fails keeps them.
        """
        import numpy as np

        if masks is None:
            check(load().cactus_sampler_mask(self.id, None, 0, 0))
            return
        if masks.dtype != np.uint32 or masks.ndim not in (1, 2):
            raise InvalidRequest(
                f"masks are {masks.dtype} {list(masks.shape)}, expected uint32 [words] or "
                "[outputs, words]"
            )
        rows = np.ascontiguousarray(np.atleast_2d(masks))
        pointer = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
        check(load().cactus_sampler_mask(self.id, pointer, rows.shape[1], rows.shape[0]))

    def accept(self, tokens: Sequence[int]) -> None:
        """Count tokens of the answer for the penalties; sampled tokens are counted already."""
        check(load().cactus_sampler_accept(self.id, _tokens(tokens), len(tokens)))

    def rewind(self, tokens: int) -> None:
        """Go on as after so many sampled tokens: those behind came after wrong guesses.

        Penalties must be off.
        """
        check(load().cactus_sampler_rewind(self.id, tokens))


class Session(_Handle):
    """The past of one sequence. Made by ``Program.session``."""

    _noun = "session"

    def __init__(self, program: Program) -> None:
        super().__init__(load().cactus_session_destroy)
        self.program = program

    @property
    def length(self) -> int:
        """Tokens that this session remembers."""
        length = ctypes.c_uint32()
        check(load().cactus_session_length(self.id, length))
        return length.value

    @property
    def memory_length(self) -> int:
        """Rows of features that its tokens attend to."""
        length = ctypes.c_uint32()
        check(load().cactus_session_memory(self.id, length))
        return length.value

    def truncate(self, length: int) -> int:
        """Forget the tokens from ``length`` on; returns the length truly reached.

        A model with recurrent state can land earlier: at most 255 tokens, at a multiple of 256. One
        whose layers see a window only lands at 0 where it was to go back more than 1,024 tokens.
        """
        if length < 0:
            raise InvalidRequest(f"truncate: length is {length}, expected 0 or more")
        reached = ctypes.c_uint32()
        check(load().cactus_session_truncate(self.id, min(length, 0xFFFFFFFF), reached))
        return reached.value

    def fork(self) -> Session:
        """A session with the same past; memory is shared until one of the two writes."""
        copy = Session(self.program)
        check(load().cactus_session_fork(self.id, copy._id))
        return copy

    def snapshot(self) -> Session:
        """The past as it is now, for ``restore``. It is a fork that nobody continues."""
        return self.fork()

    def restore(self, snapshot: Session) -> None:
        """Take on the past of a snapshot of the same program; the snapshot stays usable."""
        check(load().cactus_session_restore(self.id, snapshot.id))


class ProgramInfo(NamedTuple):
    """Facts about a loaded program; sizes in bytes."""

    isa: str
    threads: int
    chunk: int
    vocab_size: int
    context_length: int
    features: int
    axes: int
    output_width: int
    weight_bytes: int
    arena_bytes: int
    page_bytes: int
    page_positions: int
    memory_page_bytes: int


class Program(_Handle):
    """A plan with its weights mapped and its threads running.

    ``threads`` None means one per core this process may use; ``isa`` None means CACTUS_ISA or the
    best tier of this CPU; ``chunk`` is the most tokens of one step; ``preload`` reads the
    weights in the background, not as they are needed. ``kv_bytes`` is the most memory that the
    keys and values of all sessions may take together; 0 means as long as the machine, or the
    container, has some left. ``resident`` copies the weights into memory of this process first: the
    file may then be changed or removed. ``shares`` is a program of the same weights file whose
    threads and sessions this one uses, too, and its tier where ``isa`` is None: an encoder beside
    its decoder.

    Raises NativeError for a plan or tier that does not work here, ModelFormatError for the weights
    file, InsufficientMemory.
    """

    _noun = "program"

    def __init__(
        self,
        plan_blob: bytes,
        data_path: Path | str,
        *,
        threads: int | None = None,
        isa: str | None = None,
        chunk: int = 256,
        preload: bool = False,
        kv_bytes: int = 0,
        resident: bool = False,
        shares: Program | None = None,
    ) -> None:
        if threads is not None and not 1 <= threads <= 256:
            raise InvalidRequest(f"threads is {threads}, expected 1 to 256")
        if not 1 <= chunk <= MAX_CHUNK:
            raise InvalidRequest(f"chunk is {chunk}, expected 1 to {MAX_CHUNK}")
        if not 0 <= kv_bytes < 1 << 63:
            raise InvalidRequest(f"kv_bytes is {kv_bytes}, expected 0 to 2^63 - 1")
        library = load()
        options = abi.ProgramOptions(
            size=ctypes.sizeof(abi.ProgramOptions),
            threads=threads or 0,
            plan=ctypes.cast(ctypes.c_char_p(plan_blob), ctypes.c_void_p),
            plan_size=len(plan_blob),
            weights_path=str(data_path).encode("utf-8", "surrogateescape"),
            isa=isa.encode() if isa else None,
            max_rows=chunk,
            preload=preload,
            kv_bytes=kv_bytes,
            resident=resident,
            shares=shares.id if shares else 0,
        )
        super().__init__(library.cactus_program_destroy)
        check(library.cactus_program_create(options, self._id))
        info = self._native_info()
        self.info = ProgramInfo(
            info.isa.decode(),
            info.threads,
            info.max_rows,
            info.vocab_size,
            info.context_length,
            info.features,
            info.axes,
            info.output_width,
            info.weight_bytes,
            info.arena_bytes,
            info.page_bytes,
            info.page_positions,
            info.memory_page_bytes,
        )

    @property
    def chunk(self) -> int:
        """The most tokens of one step."""
        return self.info.chunk

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return self.info.vocab_size

    @property
    def context_length(self) -> int:
        """The most tokens of one session."""
        return self.info.context_length

    @property
    def kv_bytes(self) -> int:
        """Memory that the keys and values of all sessions take now."""
        return int(self._native_info().kv_bytes)

    def _native_info(self) -> Any:
        info = abi.ProgramInfo(size=ctypes.sizeof(abi.ProgramInfo))
        check(load().cactus_program_info_get(self.id, info))
        return info

    def session(self) -> Session:
        """A new session without a past."""
        session = Session(self)
        check(load().cactus_session_create(self.id, session._id))
        return session

    def step(
        self, rows: Sequence[Row], *, want_logits: bool = False, stop: StopFlag | None = None
    ) -> list[Output]:
        """Append each row's tokens to its session; one Output per wanted token, in order.

        A row's ``top_logprobs`` adds so many of the likeliest tokens to its outputs.
        ``want_logits`` adds the raw logits ([vocab_size] f32) to every Output; or its states, where
        the program has no vocabulary. ``stop`` ends the step after the operation in hand, and so do
        the flags of the rows once all of them are set. A row whose flag is set while others go on
        is computed like them, and has its outputs.

        A step that fails leaves the sessions as they were, but for two cases: after
        NonFiniteLogits or Cancelled one with recurrent state may be shorter, and after these or
        InsufficientMemory one of features may have neither memory nor tokens.
        """
        pending = self.prepare(rows, want_logits=want_logits, stop=stop)
        pending.run()
        return pending.outputs()

    longest_run = 8
    """Steps in a row that may be prepared at once; sessions can go back so far exactly."""

    def prepare(
        self,
        rows: Sequence[Row],
        *,
        want_logits: bool = False,
        stop: StopFlag | None = None,
        steps: int = 1,
        ends: array[int] | None = None,
    ) -> PendingStep:
        """A step as ``step`` runs it, for whoever must know what an exception has left of it.

        Or up to ``steps`` in a row, each of which is given what the one before has chosen: where
        rows have tokens alone and their last output is wanted. They end early where a row has
        chosen one of ``ends``, or is stopped, or a later step fails, which is then met again.
        """
        info = self.info
        width = info.output_width if want_logits else 0
        return PendingStep(self.id, rows, info.features, info.axes, width, stop, steps, ends)

    def read(self, buffer: int, rows: int, width: int) -> NDArray[np.float32]:
        """The values that the last step left in a plan's buffer, [rows, width].

        They are an output's, or any node's where the plan was built with ``keep``.
        """
        import numpy as np

        values = np.empty((rows, width), np.float32)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        check(load().cactus_program_read(self.id, buffer, pointer, values.size))
        return values

    def profile(self, n_steps: int, *, enable: bool) -> list[float]:
        """Seconds spent in each of the plan's steps since profiling was last switched on."""
        seconds = (ctypes.c_double * n_steps)()
        check(load().cactus_program_profile(self.id, int(enable), seconds, n_steps))
        return list(seconds)


def _tokens(ids: Sequence[int]) -> Any:
    try:
        # array checks the range, a ctypes array would wrap around.
        return (ctypes.c_int32 * len(ids)).from_buffer(array("i", ids))
    except (TypeError, OverflowError):
        raise InvalidRequest("tokens must be integers of 32 bits") from None
