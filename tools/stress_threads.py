#!/usr/bin/env python3
"""Use tiny models from many threads at random, and compare every token with what it is alone.

    python tools/stress_threads.py --seconds 600 --seed 1
    python tools/sanitize.py thread tools/stress_threads.py --seconds 300

Sequences join steps and leave them, are cut back, forked, kept and restored; steps and single rows
are stopped; sessions, samplers and programs are closed while others use them; the process forks.
A token that is not the expected one, an error that nothing explains, a child that does not end and
threads that do not come back are findings: exit status 1, with what was found.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
# The package is not put here: it must be the one with the sanitizer, where there is one.
sys.path.insert(0, str(ROOT))

from cactus.calls.stop_flag import StopFlag  # noqa: E402
from cactus.errors import Cancelled, ForkError, ModelClosed  # noqa: E402
from cactus.graph.node import Graph  # noqa: E402
from cactus.graph.plan import build  # noqa: E402
from cactus.native import Program, Row, Sampler, Session, library_path  # noqa: E402
from tests.models import golden, whisper  # noqa: E402
from tests.native import programs  # noqa: E402

CHUNK = 96
ANSWER = 24
LANES = 10
"""Sequences of a model at the same time."""

PATIENCE = 20
"""Seconds for each thread, after which those that have not come back never will."""

CHILD = 60
"""Seconds after which a forked child that has not ended never will."""

Open = Callable[[int], "tuple[Program, Program | None]"]


@dataclass(frozen=True)
class Known:
    """A sequence of which every token is known: those of the prompt, then what follows alone."""

    prompt: int
    tokens: list[int]
    options: dict[str, Any] | None
    features: np.ndarray | None


@dataclass
class Lane:
    """A sequence that somebody continues; ``drawn`` is how many tokens its sampler has chosen."""

    known: Known
    session: Session
    sampler: Sampler | None
    drawn: int = 0

    def row(self, length: int, room: int, chance: random.Random) -> Row | None:
        """Its next tokens, some that it may have read before; None at its end."""
        known = self.known
        end = len(known.tokens) - 1
        if self.sampler is not None:
            end = min(end, known.prompt + self.drawn)
        count = min(end - length, chance.choice((1, 1, 2, 40, CHUNK)), room)
        if count <= 0:
            return None
        outputs = chance.choice(("last", "all", "none"))
        if self.sampler is not None:
            new = length + count == known.prompt + self.drawn
            outputs = "last" if new else "none"
        tokens = known.tokens[length : length + count]
        sampler = self.sampler if outputs != "none" else None
        return Row(self.session, tokens, outputs, sampler, stop=StopFlag())  # type: ignore[arg-type]

    def check(self, length: int, row: Row, outputs: list[Any]) -> None:
        """Compare the outputs of a step."""
        at = length + len(row.tokens) - len(outputs)
        for n, output in enumerate(outputs, at + 1):
            # What would follow inside the prompt is not known.
            if n >= self.known.prompt and output.token != self.known.tokens[n]:
                raise AssertionError(
                    f"token {n} is {output.token}, alone it is {self.known.tokens[n]}: "
                    f"{len(row.tokens)} rows after {length}, options {self.known.options}"
                )
        if self.sampler is not None:
            self.drawn += len(outputs)


@dataclass
class Pool:
    """A model and the sequences that are read by it."""

    name: str
    open: Open
    known: list[Known]
    programs: tuple[Program, Program | None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: list[Lane] = field(default_factory=list)
    busy: list[Lane] = field(default_factory=list)
    flags: list[StopFlag] = field(default_factory=list)

    def take(self, most: int, chance: random.Random) -> list[Lane]:
        """Some lanes that nobody uses, which are this thread's until they are put back."""
        with self.lock:
            chance.shuffle(self.free)
            taken, self.free = self.free[:most], self.free[most:]
            self.busy += taken
            return taken

    def put(self, lanes: list[Lane]) -> None:
        """Give lanes back; those whose session or program was closed are dropped."""
        with self.lock:
            for lane in lanes:
                if lane in self.busy:
                    self.busy.remove(lane)
                if lane.session.program is self.programs[0]:
                    with contextlib.suppress(ModelClosed):
                        _ = lane.session.length, lane.sampler and lane.sampler.id
                        self.free.append(lane)

    def any_busy(self, chance: random.Random) -> Lane | None:
        """A lane that another thread is using."""
        with self.lock:
            return chance.choice(self.busy) if self.busy else None


class Worker:
    """A thread that does one thing after another to the pools."""

    def __init__(self, pools: list[Pool], seed: int, end: float, forks: threading.Lock) -> None:
        self.pools, self.end, self.forks = pools, end, forks
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.error: str | None = None
        self.actions = [
            *[self.step] * 30,
            *[self.join] * 6,
            *(self.truncate, self.fork, self.restore, self.leave) * 2,
            *(self.close_busy, self.fork_busy, self.look, self.stop, self.stop),
        ]

    def run(self) -> None:
        """Until the end, or a finding."""
        try:
            while time.monotonic() < self.end:
                rare = self.chance.random()
                pool = self.chance.choice(self.pools)
                if rare < 0.001:
                    self.reopen(pool)
                elif rare < 0.002:
                    self.fork_process(pool)
                else:
                    with contextlib.suppress(ModelClosed):
                        self.chance.choice(self.actions)(pool)
        except BaseException:
            self.error = traceback.format_exc()

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def join(self, pool: Pool) -> None:
        """A new sequence."""
        if len(pool.free) + len(pool.busy) >= LANES:
            return
        known, program = self.chance.choice(pool.known), pool.programs[0]
        sampler = None if known.options is None else Sampler(**known.options)
        pool.put([Lane(known, program.session(), sampler)])
        self.count("join")

    def leave(self, pool: Pool) -> None:
        """A sequence ends wherever it is."""
        for lane in pool.take(1, self.chance):
            lane.session.close()
            pool.put([lane])
            self.count("leave")

    def step(self, pool: Pool) -> None:
        """Some sequences go on together."""
        lanes = pool.take(self.chance.randint(1, 6), self.chance)
        try:
            self._step(pool, lanes)
        finally:
            pool.put(lanes)

    def _step(self, pool: Pool, lanes: list[Lane]) -> None:
        program, encoder = pool.programs
        rows: list[tuple[Lane, int, Row]] = []
        for lane in lanes:
            if lane.session.program is not program:
                continue  # of one that was closed since
            if encoder is not None and lane.session.memory_length == 0:
                self._encode(pool, encoder, lane)
                if lane.session.memory_length == 0:
                    continue  # stopped
            room = CHUNK - sum(len(row.tokens) for *_, row in rows)
            length = lane.session.length
            row = lane.row(length, room, self.chance)
            if row is not None:
                rows.append((lane, length, row))
            elif room:
                lane.session.close()  # at its end
        if not rows:
            return
        flag = StopFlag()
        flags = [flag, *(row.stop for *_, row in rows if row.stop)]
        for each in flags[1:]:
            if self.chance.random() < 0.1:
                each.set()
        outputs = self._run(pool, program, [row for *_, row in rows], flags)
        if outputs is None:
            return
        for lane, length, row in rows:
            n = {"none": 0, "last": 1, "all": len(row.tokens)}[row.outputs]
            lane.check(length, row, outputs[:n])
            outputs = outputs[n:]

    def _run(
        self, pool: Pool, program: Program, rows: list[Row], flags: list[StopFlag]
    ) -> list[Any] | None:
        """The step, whose flags others may set; None where it was stopped."""
        with pool.lock:
            pool.flags += flags
        try:
            outputs = program.step(rows, stop=flags[0])
            self.count("steps")
            self.counts["rows"] += len(rows)
            return outputs
        except Cancelled:
            assert flags[0] or all(row.stop for row in rows)
            self.count("stopped steps")
            return None
        finally:
            with pool.lock:
                pool.flags = [each for each in pool.flags if each not in flags]

    def _encode(self, pool: Pool, encoder: Program, lane: Lane) -> None:
        row = Row(lane.session, outputs="none", features=lane.known.features)
        lane.drawn = 0
        self._run(pool, encoder, [row], [StopFlag()])
        self.count("encoded")

    def truncate(self, pool: Pool) -> None:
        """A sequence is cut back."""
        for lane in pool.take(1, self.chance):
            try:
                length = lane.session.length
                wanted = self.chance.randint(0, length)
                reached = lane.session.truncate(wanted)
                assert reached <= wanted == max(reached, wanted), (reached, wanted)
                assert lane.session.length == reached
                self.count("truncate")
            finally:
                pool.put([lane])

    def fork(self, pool: Pool) -> None:
        """A second sequence with the same past."""
        for lane in pool.take(1, self.chance):
            try:
                if lane.sampler is None:
                    self._branch(pool, lane)
                    self.count("fork")
            finally:
                pool.put([lane])

    def fork_busy(self, pool: Pool) -> None:
        """The same, of one that may be in a step."""
        lane = pool.any_busy(self.chance)
        if lane is not None and lane.sampler is None and len(pool.free) < LANES:
            self._branch(pool, lane)
            self.count("fork of a busy one")

    def _branch(self, pool: Pool, lane: Lane) -> None:
        """A fork that goes on as any sequence that is the same so far: pages must part."""
        session = lane.session.fork()
        past = lane.known.tokens[: session.length]
        same = [
            known
            for known in pool.known
            if known.options is None
            and known.features is lane.known.features
            and known.tokens[: len(past)] == past
        ]
        pool.put([Lane(self.chance.choice(same), session, None)])

    def restore(self, pool: Pool) -> None:
        """A sequence goes on, and back to where it was."""
        for lane in pool.take(1, self.chance):
            try:
                if lane.sampler is not None:
                    continue
                with lane.session.snapshot() as snapshot:
                    length = snapshot.length
                    self._step(pool, [lane])
                    lane.session.restore(snapshot)
                    assert lane.session.length == length
                    self.count("restore")
            finally:
                pool.put([lane])

    def close_busy(self, pool: Pool) -> None:
        """What a step may be using is closed."""
        lane = pool.any_busy(self.chance)
        if lane is None or self.chance.random() < 0.7:
            return
        if lane.sampler is not None and self.chance.random() < 0.5:
            lane.sampler.close()
        else:
            lane.session.close()
        self.count("close a busy one")

    def look(self, pool: Pool) -> None:
        """What never waits."""
        _ = pool.programs[0].kv_bytes
        lane = pool.any_busy(self.chance)
        if lane is not None:
            assert lane.session.length < len(lane.known.tokens)
            lane.session.truncate(1 << 30)  # waits, and changes nothing
        self.count("look")

    def stop(self, pool: Pool) -> None:
        """A step, or a row of it, is stopped."""
        with pool.lock:
            if pool.flags:
                self.chance.choice(pool.flags).set()
        self.count("stop")

    def reopen(self, pool: Pool) -> None:
        """The programs are loaded anew, with other threads, and the old ones closed."""
        new = pool.open(self.chance.randint(1, 4))
        with pool.lock:
            old, pool.programs, pool.free = pool.programs, new, []
        for program in old:
            if program is not None:
                program.close()
        self.count("reopen")

    def fork_process(self, pool: Pool) -> None:
        """A child, in which everything is an error, ends."""
        if not self.forks.acquire(blocking=False):
            return
        try:
            lanes = pool.take(1, self.chance)
            child = os.fork()
            if child == 0:
                os._exit(in_child(pool, lanes))
            pool.put(lanes)
            deadline = threading.Timer(CHILD, os.kill, (child, signal.SIGKILL))
            deadline.start()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            deadline.cancel()
            assert status == 0, f"a forked child ended with {status}"
            self.count("fork of the process")
        finally:
            self.forks.release()


def in_child(pool: Pool, lanes: list[Lane]) -> int:
    """What a forked child does; 0 where each use is the error that it should be."""
    try:
        for lane in lanes:
            for use in (
                lambda lane=lane: lane.session.length,
                lambda lane=lane: lane.session.truncate(0),
                lambda lane=lane: lane.session.fork(),
                lambda lane=lane: pool.programs[0].step([Row(lane.session, [1])]),
            ):
                try:
                    use()
                    return 2
                except (ForkError, ModelClosed):
                    continue
            lane.session.close()
        pool.programs[0].close()
        return 0
    except BaseException:
        traceback.print_exc()
        return 3


def known_sequences(open_: Open, prompts: list[list[int]], features: Any) -> list[Known]:
    """What each prompt is continued with when nobody else is there."""
    program, encoder = open_(1)
    found = []
    memories = [None if features is None else features * (1 + n / 8) for n in range(2)]
    for n, prompt in enumerate(prompts):
        own = memories[n % 2]
        seeded = {"temperature": 1.5, "seed": n, "presence_penalty": 1.0, "top_p": 0.9}
        for options in (None, None, seeded) if features is None else (None,):
            sampler = None if options is None else Sampler(**options)
            session, tokens = program.session(), list(prompt)
            if encoder is not None:
                encoder.step([Row(session, outputs="none", features=own)])
            for first in range(0, len(prompt) - 1, CHUNK):
                program.step(
                    [Row(session, prompt[first : min(first + CHUNK, -1 + len(prompt))], "none")]
                )
            for _ in range(ANSWER):
                (output,) = program.step([Row(session, tokens[-1:], "last", sampler)])
                tokens.append(output.token)
            found.append(Known(len(prompt), tokens, options, own))
    for each in (encoder, program):
        if each is not None:
            each.close()
    return found


def text_pool(name: str, dtype: str, folder: Path) -> Pool:
    """A language model."""
    checkpoint = golden.load(name)
    graph = programs.fused(checkpoint.graph, dtype)
    store = programs.store(graph, checkpoint.tensors, folder / name, dtype)
    blob = programs.plan_of(graph, store).blob

    def open_(threads: int) -> tuple[Program, Program | None]:
        return Program(blob, store.path, threads=threads, chunk=CHUNK), None

    chance = random.Random(name)
    whole = [chance.randrange(200) for _ in range(300)]
    prompts = [[chance.randrange(200) for _ in range(n)] for n in (1, 64)]
    # The same up to here and there.
    prompts += [whole, *([*whole[:n], 200, *whole[n : n + 50]] for n in (5, 63, 130, 255))]
    return Pool(name, open_, known_sequences(open_, prompts, None), open_(2))


def speech_pool(folder: Path) -> Pool:
    """An encoder and a decoder that share sessions."""
    found = whisper.load()
    decoder, encoder = found.decoder, found.encoder
    nodes, weights = decoder.nodes + encoder.nodes, decoder.weights | encoder.weights
    both = Graph(nodes, (), decoder.slots, weights)
    store = programs.store(both, found.tensors, folder / "whisper", "q8")
    graphs = (programs.fused(decoder, "q8"), programs.fused(encoder, "q8"))
    said = build(graphs[0], store.tensors, vocab_size=320, context_length=64).blob
    heard = build(graphs[1], store.tensors, vocab_size=0, context_length=50).blob

    def open_(threads: int) -> tuple[Program, Program | None]:
        program = Program(said, store.path, threads=threads, chunk=CHUNK)
        return program, Program(heard, store.path, shares=program)

    prompts = [[*found.tokens[:n], *range(n)] for n in range(1, 9)]
    return Pool("whisper", open_, known_sequences(open_, prompts, found.features), open_(2))


def stress(seconds: float, seed: int, threads: int) -> int:
    """Run; 0 where nothing was found."""
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    with tempfile.TemporaryDirectory() as folder:
        kinds = (("llama", "q4"), ("lfm2", "q8"), ("gemma3_text", "f16"))
        pools = [text_pool(*kind, Path(folder)) for kind in kinds] + [speech_pool(Path(folder))]
        print(f"library {library_path()}, seed {seed}, {threads} threads", flush=True)
        faulthandler.dump_traceback_later(seconds + PATIENCE * threads, exit=True)
        end, forks = time.monotonic() + seconds, threading.Lock()
        workers = [Worker(pools, 1000 * seed + n, end, forks) for n in range(threads)]
        running = [threading.Thread(target=worker.run) for worker in workers]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        faulthandler.cancel_dump_traceback_later()
        for pool in pools:
            for program in pool.programs[::-1]:
                if program is not None:
                    program.close()
    total: Counter[str] = sum((worker.counts for worker in workers), Counter())
    print(", ".join(f"{what} {count}" for what, count in total.most_common()))
    errors = [worker.error for worker in workers if worker.error]
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=6)
    arguments = parser.parse_args()
    return stress(arguments.seconds, arguments.seed, arguments.threads)


if __name__ == "__main__":
    sys.exit(main())
