"""The C interface, called at random from several threads.

A case is a list of calls for each of one to three threads, on handles that they share: programs of
tokens, of features and of both, sessions, samplers; ids that are stale, of another kind or made up;
sizes and options at their limits. Pointers are good, as the interface asks. Each call gives a
status that is not INTERNAL, an error has a message, and where one thread works alone, sessions are
as long as what was done to them. `tools/sanitize.py thread tools/fuzz.py capi` looks for races.
"""

from __future__ import annotations

import ctypes
import json
import random
import threading
from ctypes import POINTER, byref, c_double, c_float, c_int32, c_uint16, c_uint32, c_uint64, sizeof
from pathlib import Path
from typing import Any

from cactus.graph.node import Graph
from cactus.graph.plan import build
from cactus.native import _signatures as abi
from cactus.native.library import load
from fuzzers.base import Case, Fuzzer, change_json
from tests.models import golden, whisper
from tests.native import programs

MOST = 300
"""Tokens of a row."""

SIZES = (0, 1, 1, 1, 2, 3, 8, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257, 300)
TOKENS = (0, 1, 2, 5, 50, 199, 200, 319, 320, -1, -2, 2**31 - 1, -(2**31))
NUMBERS = (0.0, 1.0, 0.5, -1.0, 1e-30, 1e30, "nan", "inf", 2.0)
OPERATIONS = {
    "program": 2, "info": 2, "step": 30, "generate": 8, "read": 2, "profile": 1, "end_program": 1,
    "session": 8, "length": 4, "memory": 1, "truncate": 5, "fork": 4, "restore": 3,
    "end_session": 3, "sampler": 4, "mask": 4, "prompt": 2, "accept": 2, "rewind": 2,
    "end_sampler": 1, "stop": 4, "dot": 1,
}  # fmt: skip
MALFORMED = (TypeError, ValueError, AttributeError, OverflowError, IndexError,
             ctypes.ArgumentError)  # fmt: skip
"""What comes of a changed call whose arguments are too few or of another type."""

STRANGE = (0, 1, 2**64 - 1, 2**63, 0xDEADBEEF)


class Fuzz(Fuzzer):
    """Calls of the C interface."""

    errors = ()
    by_message = True
    cpu_seconds = 10.0
    memory = 4 << 30  # of addresses: each of 256 threads reserves a stack of 8 MB

    def __init__(self, scratch: Path) -> None:
        self.library = load()
        self.plans: list[tuple[bytes, bytes]] = []
        for name, dtype in (("llama", "q4"), ("lfm2", "q8"), ("gemma3_text", "f16")):
            checkpoint = golden.load(name)
            graph = programs.fused(checkpoint.graph, dtype)
            store = programs.store(graph, checkpoint.tensors, scratch / name, dtype)
            self.plans.append((programs.plan_of(graph, store).blob, bytes(store.path)))
        found = whisper.load()
        both = Graph(
            found.decoder.nodes + found.encoder.nodes,
            (),
            found.decoder.slots,
            found.decoder.weights | found.encoder.weights,
        )
        store = programs.store(both, found.tensors, scratch / "whisper", "q8")
        for graph, size, context in ((found.decoder, 320, 64), (found.encoder, 0, 50)):
            plan = build(programs.fused(graph, "q8"), store.tensors, vocab_size=size,
                         context_length=context)  # fmt: skip
            self.plans.append((plan.blob, bytes(store.path)))

    def make(self, rng: random.Random) -> Case:
        """Lists of calls."""
        threads = rng.choice((1, 1, 2, 3))
        lists = [[self._call(rng) for _ in range(rng.choice((5, 20, 60)))] for _ in range(threads)]
        plan = rng.randrange(4)
        first = [["program", plan, 1, 0, 0, 0, 0], ["session", 0], ["session", 0], ["sampler", {}]]
        if plan == 3:  # the decoder, and its encoder
            first.append(["program", 4, 1, 0, 1, 0, 0])
        return Case("calls", json.dumps([first, *lists]).encode())

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Some calls changed, moved, or taken from the other."""
        lists, more = json.loads(case.data), json.loads(other.data)
        for _ in range(rng.choice((1, 2, 5))):
            calls = rng.choice(lists)
            at = rng.randrange(len(calls) + 1)
            action = rng.randrange(4)
            if action == 0:
                calls[at:at] = rng.choice(more)[: rng.choice((1, 5, 20))]
            elif action == 1:
                calls.insert(at, self._call(rng))
            elif action == 2:
                del calls[at : at + 3]
            elif at < len(calls):
                calls[at] = change_json(rng, calls[at], [0, 1, 2, -1, 3, 255, 2**31, None, []])
        return Case(case.kind, json.dumps([calls[:200] for calls in lists[:4]]).encode())

    def _call(self, rng: random.Random) -> list[Any]:
        name = rng.choices(list(OPERATIONS), OPERATIONS.values())[0]

        def handle() -> int:
            return rng.randrange(6) if rng.random() < 0.95 else -rng.randrange(1, 9)

        if name == "program":
            return [name, rng.randrange(5), rng.choice((0, 1, 1, 1, 1, 2, 257, -1)),
                    rng.choice((0, 8, 64, 300, 2**31)), rng.choice((0, 0, 0, 1, 2)),
                    rng.choice((0, 0, 1, 1 << 16, 1 << 20)), rng.choice((0, 0, 1, 2))]  # fmt: skip
        if name in ("step", "generate"):
            rows = [
                [handle(), rng.choice(SIZES), rng.choice((1, 1, 1, 0, 2, 3, 4, 5)),
                 rng.choice((None, None, handle())), rng.choice((0, 0, 0, 3, 400)),
                 rng.choice((None, None, 0, 1)), rng.choice(TOKENS), rng.choice((0, 0, 0, 1, 2))]
                for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))
            ]  # fmt: skip
            return [name, handle(), rows, rng.choice((None, None, None, 0, 1, 5)),
                    rng.choice((0, 0, 1)), rng.choice((None, None, 0, 1)),
                    rng.choice((1, 2, 8, 0, 100))]  # fmt: skip
        if name == "sampler":
            keys = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
            keys += ("presence_penalty", "frequency_penalty", "repetition_window", "bias")
            options = {key: rng.choice(NUMBERS) for key in rng.sample(keys, rng.randrange(4))}
            return [name, options]
        return [name, handle(), handle(), rng.choice(SIZES), rng.choice(TOKENS)]

    def run(self, case: Case) -> None:
        """Make the calls of the first list, then those of the others at the same time."""
        lists = [each for each in json.loads(case.data) if isinstance(each, list)]
        if not lists:
            return
        calls = Calls(self.library, self.plans)
        calls.alone = len(lists) < 3
        try:
            calls.make(lists[0])
            threads = [threading.Thread(target=calls.make, args=(each,)) for each in lists[1:]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            calls.end()
        if calls.error is not None:
            raise calls.error
        self.said = " ".join(sorted(calls.said))


class Calls:
    """What several threads do to one set of handles."""

    def __init__(self, library: Any, plans: list[tuple[bytes, bytes]]) -> None:
        self.library, self.plans = library, plans
        self.programs: list[int] = []
        self.sessions: list[int] = []
        self.samplers: list[int] = []
        self.flags = [c_int32(), c_int32()]
        self.alone = True
        self.error: BaseException | None = None
        self.said: set[str] = set()

    def make(self, calls: list[Any]) -> None:
        """One thread's calls."""
        for call in calls:
            try:
                name, *arguments = call
                if name in OPERATIONS and name not in ("step", "generate", "program", "sampler"):
                    arguments = [max(-(2**31), min(each, MOST)) for each in arguments]
                    arguments[2:3] = [abs(size) % (MOST + 1) for size in arguments[2:3]]
                if name in OPERATIONS:
                    getattr(self, f"_{name}")(*arguments)
            except MALFORMED:
                continue
            except BaseException as error:
                self.error = error
                return

    def end(self) -> None:
        """Destroy all, twice: the second time is harmless."""
        for _ in range(2):
            for kind, handles in (
                ("sampler", self.samplers),
                ("session", self.sessions),
                ("program", self.programs[::-1]),
            ):
                for handle in handles:
                    getattr(self.library, f"cactus_{kind}_destroy")(handle)

    def _id(self, number: int, own: list[int], others: list[int]) -> int:
        if number >= 0:
            return own[number % len(own)] if own else 0
        strange = (*STRANGE, *others[:2])
        return strange[-number % len(strange)]

    def _program_id(self, number: int) -> int:
        return self._id(number, self.programs, self.sessions)

    def _session_id(self, number: int) -> int:
        return self._id(number, self.sessions, self.programs)

    def _sampler_id(self, number: int) -> int:
        return self._id(number, self.samplers, self.sessions)

    def _check(self, name: str, status: int) -> bool:
        """Whether a call succeeded; AssertionError for a status that none may have."""
        assert 0 <= status <= 11 and status != abi.ERROR_INTERNAL, f"{name} gave {status}"
        if status != 0:
            message = self.library.cactus_last_error()
            assert message, f"{name} gave {status} without a message"
        self.said.add(f"{name}={status}")
        return status == 0

    def _program(
        self, plan: int, threads: int, rows: int, shares: int, kv: int, resident: int
    ) -> None:
        if len(self.programs) >= 6:
            return
        blob, path = self.plans[plan % len(self.plans)]
        options = abi.ProgramOptions(
            size=sizeof(abi.ProgramOptions),
            threads=threads,
            plan=ctypes.cast(ctypes.c_char_p(blob), ctypes.c_void_p),
            plan_size=len(blob),
            weights_path=path,
            max_rows=min(rows, 2**32 - 1),
            shares=self._program_id(shares - 1) if shares else 0,
            kv_bytes=kv,
            resident=resident,
        )
        found = c_uint64()
        if self._check("program", self.library.cactus_program_create(byref(options), byref(found))):
            self.programs.append(found.value)

    def _info(self, program: int, *_: Any) -> None:
        self._info_of(self._program_id(program))

    def _info_of(self, handle: int) -> abi.ProgramInfo | None:
        info = abi.ProgramInfo(size=sizeof(abi.ProgramInfo))
        good = self._check("info", self.library.cactus_program_info_get(handle, byref(info)))
        return info if good else None

    def _rows(self, rows: list[Any], info: abi.ProgramInfo) -> tuple[Any, list[int], list[Any]]:
        """Rows, how many outputs each has, and what they point to."""
        made, outputs, kept = (abi.Row * max(1, len(rows)))(), list[int](), list[Any]()
        for row, values in zip(made, rows, strict=False):
            session, count, wanted, sampler, top, flag, token, features = values
            count = min(abs(int(count)), MOST)
            tokens = (c_int32 * max(1, count))(*([token, *range(1, count)][:count]))
            row.session, row.count, row.outputs = self._session_id(session), count, wanted
            row.tokens = tokens
            row.sampler = 0 if sampler is None else self._sampler_id(sampler)
            row.n_top = min(abs(int(top)), 400)
            entries = (abi.TokenLogprob * max(1, count * row.n_top))()
            row.top = entries
            kept += [tokens, entries]
            if info.features and (features or not info.vocab_size):
                row.n_features = count
                given = (c_float * max(1, count * info.features))()
                row.features = given
                kept.append(given)
            if features == 2:
                row.tokens = POINTER(c_int32)()
            if info.axes:
                places = (c_int32 * max(1, count * info.axes))()
                row.positions = places
                kept.append(places)
            if flag is not None:
                row.stop = ctypes.pointer(self.flags[flag % 2])
            outputs.append({0: 0, 2: count}.get(row.outputs, 1))
        return made, outputs, kept

    def _step(
        self, program: int, rows: list[Any], outputs: int | None, values: int, flag: int | None,
        *_: Any,
    ) -> None:  # fmt: skip
        handle = self._program_id(program)  # once: another thread may add one meanwhile
        info = self._info_of(handle) or abi.ProgramInfo()
        made, wanted, kept = self._rows(rows, info)
        count = sum(wanted) if outputs is None else outputs
        count = min(abs(int(count)), 3 * MOST)
        given = (abi.Output * max(1, count))()
        logits = (c_float * max(1, count * info.output_width))() if values else None
        stop = None if flag is None else byref(self.flags[flag % 2])
        before = [self._length_of(made[n].session) for n in range(len(rows))]
        told = c_int32(-1)
        status = self.library.cactus_program_step(
            *(handle, made, len(rows), given, count, logits, stop, byref(told))
        )
        assert told.value == status, f"step gave {status} and told {told.value}"
        if not self._check("step", status) or not self.alone or not info.vocab_size:
            return
        for n, length in enumerate(before):
            expected = None if length is None else length + made[n].count
            assert self._length_of(made[n].session) == expected, "a session of another length"
        kept.clear()

    def _generate(
        self, program: int, rows: list[Any], outputs: Any, values: Any, flag: Any, steps: int
    ) -> None:
        handle = self._program_id(program)
        info = self._info_of(handle) or abi.ProgramInfo()
        steps = min(abs(int(steps)), 100)
        for row in rows:
            row[4] = min(abs(int(row[4])), 5)
        made, _, kept = self._rows(rows, info)
        for n in range(len(rows)):
            entries = (abi.TokenLogprob * max(1, steps * made[n].n_top))()
            made[n].top = entries
            kept.append(entries)
        ends, done = (c_int32 * 2)(2, 5), c_uint32()
        given = (abi.Output * max(1, steps * len(rows)))()
        told = c_int32(-1)
        status = self.library.cactus_program_generate(
            *(handle, made, len(rows), ends, 2, given, steps, byref(done), byref(told))
        )
        assert told.value == status and done.value <= steps
        self._check("generate", status)
        kept.clear()

    def _read(self, program: int, buffer: int, size: int, *_: Any) -> None:
        out = (c_float * max(1, size))()
        handle = self._program_id(program)
        self._check("read", self.library.cactus_program_read(handle, abs(buffer), out, size))

    def _profile(self, program: int, enable: int, size: int, *_: Any) -> None:
        out = (c_double * max(1, size))()
        handle = self._program_id(program)
        self._check("profile", self.library.cactus_program_profile(handle, enable % 2, out, size))

    def _end_program(self, program: int, *_: Any) -> None:
        self._check("end", self.library.cactus_program_destroy(self._program_id(program)))

    def _session(self, program: int, *_: Any) -> None:
        found = c_uint64()
        handle = self._program_id(program)
        status = self.library.cactus_session_create(handle, byref(found))
        if self._check("session", status):
            self.sessions.append(found.value)

    def _length_of(self, session: int) -> int | None:
        length = c_uint32()
        status = self.library.cactus_session_length(session, byref(length))
        return length.value if self._check("length", status) else None

    def _length(self, session: int, *_: Any) -> None:
        self._length_of(self._session_id(session))

    def _memory(self, session: int, *_: Any) -> None:
        length, handle = c_uint32(), self._session_id(session)
        self._check("memory", self.library.cactus_session_memory(handle, byref(length)))

    def _truncate(self, session: int, other: int, size: int, *_: Any) -> None:
        handle, reached = self._session_id(session), c_uint32()
        before = self._length_of(handle)
        status = self.library.cactus_session_truncate(handle, size, byref(reached))
        if self._check("truncate", status) and self.alone:
            assert reached.value <= size or reached.value == before
            assert self._length_of(handle) == reached.value

    def _fork(self, session: int, *_: Any) -> None:
        if len(self.sessions) > 40:
            return
        handle, found = self._session_id(session), c_uint64()
        if self._check("fork", self.library.cactus_session_fork(handle, byref(found))):
            if self.alone:
                assert self._length_of(found.value) == self._length_of(handle)
            self.sessions.append(found.value)

    def _restore(self, session: int, other: int, *_: Any) -> None:
        one, two = self._session_id(session), self._session_id(other)
        if self._check("restore", self.library.cactus_session_restore(one, two)) and self.alone:
            assert self._length_of(one) == self._length_of(two)

    def _end_session(self, session: int, *_: Any) -> None:
        self._check("end", self.library.cactus_session_destroy(self._session_id(session)))

    def _sampler(self, given: dict[str, Any]) -> None:
        if len(self.samplers) > 20:
            return
        options = abi.SamplerOptions(
            size=sizeof(abi.SamplerOptions), top_p=1.0, repetition_penalty=1.0
        )
        for key, value in given.items():
            number = float(value)
            if key == "bias":
                options.bias_tokens, options.bias_count = (c_int32 * 2)(1, int(number)), 2
                options.bias_values = (c_float * 2)(number, 1.0)
            elif key in ("top_k", "seed", "repetition_window"):
                setattr(options, key, abs(int(number)) % 2**32)
            else:
                setattr(options, key, number)
        found = c_uint64()
        if self._check("sampler", self.library.cactus_sampler_create(byref(options), byref(found))):
            self.samplers.append(found.value)

    def _mask(self, sampler: int, masks: int, size: int, token: int) -> None:
        masks = abs(masks) % 4
        words = (c_uint32 * max(1, size * masks))(*([token % 2**32] * (size * masks)))
        handle = self._sampler_id(sampler)
        self._check("mask", self.library.cactus_sampler_mask(handle, words, size, masks))

    def _prompt(self, sampler: int, other: int, size: int, token: int) -> None:
        tokens = (c_int32 * max(1, size))(*([token] * size))
        handle = self._sampler_id(sampler)
        self._check("prompt", self.library.cactus_sampler_prompt(handle, tokens, size))

    def _accept(self, sampler: int, other: int, size: int, token: int) -> None:
        tokens = (c_int32 * max(1, size))(*([token] * size))
        handle = self._sampler_id(sampler)
        self._check("accept", self.library.cactus_sampler_accept(handle, tokens, size))

    def _rewind(self, sampler: int, other: int, size: int, *_: Any) -> None:
        handle = self._sampler_id(sampler)
        self._check("rewind", self.library.cactus_sampler_rewind(handle, size))

    def _end_sampler(self, sampler: int, *_: Any) -> None:
        self._check("end", self.library.cactus_sampler_destroy(self._sampler_id(sampler)))

    def _stop(self, flag: int, value: int, *_: Any) -> None:
        self.flags[flag % 2].value = int(value % 3 == 0)

    def _dot(self, count: int, threads: int, size: int, *_: Any) -> None:
        count, width = abs(count) % MOST, 16 * (size % 5) + (size % 7 == 3)
        vectors = (c_uint16 * max(1, count * width))()
        query, out = (c_float * max(1, width))(), (c_float * max(1, count))()
        status = self.library.cactus_dot_f16(vectors, count, width, query, out, threads, None)
        self._check("dot", status)
