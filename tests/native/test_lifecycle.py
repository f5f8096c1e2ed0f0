"""Handles, limits, threads, forks and damaged input at the native boundary."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus import native
from cactus.errors import (
    CactusError,
    ForkError,
    InvalidRequest,
    ModelClosed,
    ModelFormatError,
    NativeError,
    NonFiniteLogits,
)
from cactus.graph.plan import BUFFER, HEADER, SLOT, SLOTS, WEIGHT, Plan
from cactus.native import Program, Row, Sampler
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.programs import TIERS


@pytest.fixture
def plan(packed: Packed) -> Plan:
    return programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), packed("lfm2", "q4"))


@pytest.fixture
def program(plan: Plan, packed: Packed) -> Iterator[Program]:
    with Program(plan.blob, packed("lfm2", "q4").path, threads=2, chunk=64) as program:
        yield program


@pytest.mark.fault("F52")
def test_use_after_close_is_an_error(program: Program) -> None:
    session = program.session()
    session.close()
    session.close()
    with pytest.raises(ModelClosed, match="session"):
        program.step([Row(session, [1])])
    other = program.session()
    program.close()
    program.close()
    with pytest.raises(ModelClosed, match="program"):
        program.step([Row(other, [1])])
    with pytest.raises(ModelClosed):
        program.session()
    other.close()


@pytest.mark.fault("F52")
def test_a_stale_id_is_recognised(program: Program) -> None:
    """Below the owners too: an id that was destroyed, made up, or of another kind."""
    library = native.library.load()
    session = program.session()
    stale = session.id
    session.close()
    for identifier in (stale, 0, 1, (1 << 64) - 1, program.id):
        with pytest.raises(ModelClosed, match="no such session"):
            native.library.check(library.cactus_session_truncate(identifier, 0, None))


@pytest.mark.parametrize(
    ("tokens", "match"),
    [
        ([], "is empty"),
        ([-1], "token -1"),
        ([1 << 20], "token 1048576"),
        ([1] * 65, "more than 64"),
    ],
)
def test_a_refused_step_changes_nothing(program: Program, tokens: list[int], match: str) -> None:
    session = program.session()
    want = programs.prefill(program, session, [5, 6, 7], 3)
    with pytest.raises(InvalidRequest, match=match):
        program.step([Row(session, tokens)])
    assert session.length == 3
    session.truncate(0)
    np.testing.assert_array_equal(programs.prefill(program, session, [5, 6, 7], 3), want)


def test_tokens_that_are_no_integers(program: Program) -> None:
    for bad in (["a"], [1.5], [None], [1 << 40]):
        with pytest.raises(InvalidRequest, match="integers"):
            program.step([Row(program.session(), bad)])


def test_one_session_twice_or_of_another_program(program: Program, packed: Packed) -> None:
    session = program.session()
    with pytest.raises(InvalidRequest, match="twice"):
        program.step([Row(session, [1]), Row(session, [2])])
    graph = programs.fused(golden.load("llama").graph, "q4")
    with programs.load(graph, packed("llama", "q4")) as other:
        stranger = other.session()
        with pytest.raises(InvalidRequest, match="another program"):
            program.step([Row(stranger, [1])])


def test_a_step_beyond_the_context_is_an_error(packed: Packed) -> None:
    graph = programs.fused(golden.load("llama").graph, "q8")
    with programs.load(graph, packed("llama", "q8"), context=20) as program:
        session = program.session()
        program.step([Row(session, [1] * 20, "none")])
        with pytest.raises(InvalidRequest, match="21 tokens do not fit the context of 20"):
            program.step([Row(session, [1])])
        assert session.length == 20


@pytest.mark.fault("F57")
@pytest.mark.parametrize("threads", [0, -3, 257, 10**6])
def test_threads_out_of_range_are_refused(plan: Plan, packed: Packed, threads: int) -> None:
    with pytest.raises(InvalidRequest, match="threads"):
        Program(plan.blob, packed("lfm2", "q4").path, threads=threads)


@pytest.mark.fault("F57")
def test_more_threads_than_work_or_cores_change_nothing(plan: Plan, packed: Packed) -> None:
    results = []
    for threads in (1, 16):
        with Program(plan.blob, packed("lfm2", "q4").path, threads=threads) as program:
            results.append(programs.prefill(program, program.session(), [1, 2, 3], 2))
    np.testing.assert_array_equal(*results)


# Unknown, or of the other architecture.
@pytest.mark.fault("F57")
@pytest.mark.parametrize("isa", sorted({"avx1024", "Scalar", "neon", "avx2"} - set(TIERS)))
def test_a_tier_that_is_not_there_is_an_error(plan: Plan, packed: Packed, isa: str) -> None:
    possible = ", ".join(reversed(TIERS))
    with pytest.raises(NativeError, match=f'"{isa}" is unknown or .*; possible: {possible}$'):
        Program(plan.blob, packed("lfm2", "q4").path, isa=isa)


@pytest.mark.fault("F57")
def test_the_best_tier_is_the_default(
    plan: Plan, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACTUS_ISA", raising=False)
    with Program(plan.blob, packed("lfm2", "q4").path) as program:
        assert program.info.isa == TIERS[-1]


def test_the_environment_chooses_the_tier(plan: Plan, packed: Packed) -> None:
    code = (
        "import sys; from cactus.native import Program;"
        "print(Program(open(sys.argv[1],'rb').read(), sys.argv[2]).info.isa)"
    )
    path = packed("lfm2", "q4").path
    blob = path.with_suffix(".plan")
    blob.write_bytes(plan.blob)

    def run(isa: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CACTUS_ISA": isa}
        command = [sys.executable, "-c", code, str(blob), str(path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert run("scalar").stdout.strip() == "scalar"
    assert "neverheard" in run("neverheard").stderr


@pytest.mark.fault("F11")
def test_a_file_that_shrinks_after_loading_is_an_error(
    plan: Plan, packed: Packed, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    shutil.copy(packed("lfm2", "q4").path, path)
    with Program(plan.blob, path) as program:
        session = program.session()
        program.step([Row(session, [1])])
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(ModelFormatError, match="truncated after it was loaded"):
            program.step([Row(session, [1])])


@pytest.mark.fault("F21")
def test_a_file_that_is_replaced_stays_as_it_was(
    plan: Plan, packed: Packed, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    shutil.copy(packed("lfm2", "q4").path, path)
    with Program(plan.blob, path) as program:
        want = programs.prefill(program, program.session(), [1, 2], 2)
        (tmp_path / "new").write_bytes(b"something else")
        os.replace(tmp_path / "new", path)
        np.testing.assert_array_equal(programs.prefill(program, program.session(), [1, 2], 2), want)


@pytest.mark.fault("F20")
@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "device"])
def test_what_is_not_a_weights_file_is_refused(plan: Plan, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "device":
        path = Path("/dev/zero")
    with pytest.raises(ModelFormatError, match=str(path)):
        Program(plan.blob, path)


@pytest.mark.fault("F12")
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["llama", "lfm2"])
def test_weights_that_are_not_finite_are_an_error(name: str, poison: float, tmp_path: Path) -> None:
    checkpoint = golden.load(name)
    tensors = {key: value.copy() for key, value in checkpoint.tensors.items()}
    tensors["model.layers.1.ffn_norm.weight" if name == "lfm2" else "model.norm.weight"][3] = poison
    graph = programs.fused(checkpoint.graph, "q8")
    packed = programs.store(graph, tensors, tmp_path / "weights", "q8")
    with programs.load(graph, packed, threads=2) as program:
        session = program.session()
        program.step([Row(session, [1] * 10, "none")])
        with pytest.raises(NonFiniteLogits, match="NaN or infinity"):
            program.step([Row(session, [1, 2, 3])])
        assert session.length == 10


@pytest.mark.fault("F12")
@pytest.mark.parametrize("isa", programs.TIERS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("weight", ["q_proj", "k_proj", "v_proj"])
@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_one_bad_value_in_a_projection_is_an_error(
    kv: str, weight: str, poison: float, isa: str, tmp_path: Path
) -> None:
    """Clamping to f16, int8 and the exponential must not turn what is no number into one."""
    checkpoint = golden.load("llama")
    tensors = {key: value.copy() for key, value in checkpoint.tensors.items()}
    tensors[f"model.layers.0.self_attn.{weight}.weight"][5, 7] = poison
    graph = programs.fused(checkpoint.graph, "f32")
    packed = programs.store(graph, tensors, tmp_path / "weights", "f32")
    with programs.load(graph, packed, kv, threads=1, isa=isa) as program:
        for tokens in ([1], [1, 2, 3]):
            with pytest.raises(NonFiniteLogits):
                program.step([Row(program.session(), tokens)])


def test_a_sampler_that_fails_takes_the_step_back(packed: Packed) -> None:
    for name in ("llama", "lfm2"):
        graph = programs.fused(golden.load(name).graph, "q8")
        with programs.load(graph, packed(name, "q8"), threads=1) as program, Sampler() as sampler:
            session = program.session()
            program.step([Row(session, [1, 2, 3], "none")])
            sampler.allow(np.zeros(8, np.uint32))
            with pytest.raises(InvalidRequest, match="mask allows no token"):
                program.step([Row(session, [4], "last", sampler)])
            assert session.length == 3
            sampler.allow(None)
            got = program.step([Row(session, [4], "last", sampler)])
            assert got == program.step([Row(program.session(), [1, 2, 3, 4])])


def test_reading_after_a_refused_step(program: Program) -> None:
    session = program.session()
    program.step([Row(session, [1, 2])])
    with pytest.raises(InvalidRequest, match="vocabulary"):
        program.step([Row(session, [1] * 40 + [1 << 20], "all")])
    # What lies there is the last step that ran: two rows of the first buffer.
    assert np.isfinite(program.read(0, 2, 64)).all()


def test_a_mask_may_be_set_while_others_sample(program: Program) -> None:
    masks = [np.full(8, 0xFFFFFFFF, np.uint32), np.full(64, 0xFFFFFFFF, np.uint32), None]
    with Sampler(temperature=1.0, seed=1) as sampler:
        done = threading.Event()

        def change() -> None:
            turn = 0
            while not done.is_set():
                sampler.allow(masks[turn % 3])
                sampler.accept([turn % 200])
                turn += 1

        worker = threading.Thread(target=change)
        worker.start()
        session = program.session()
        for _ in range(300):
            program.step([Row(session, [1], "last", sampler)])
        done.set()
        worker.join()


@pytest.mark.fault("F56")
def test_failed_allocations_leave_forks_apart(packed: Packed, tmp_path: Path) -> None:
    """Surplus pages of a step that found no memory must not be written by two sessions."""
    code = """
import resource, sys
from cactus.errors import InsufficientMemory
from cactus.native import Program, Row
program = Program(open(sys.argv[1], "rb").read(), sys.argv[2], threads=1, chunk=8192)
page = program.info.page_bytes
session = program.session()
program.step([Row(session, [1, 2, 3], "none")])
want = [program.step([Row(f, [n] * 600)])[0].token for n in (4, 5) for f in (session.fork(),)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
failed = 0
for room in range(0, 40 * page, page):
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    try:
        program.step([Row(session, [7] * 6000, "none")])
        session.truncate(3)
    except InsufficientMemory:
        failed += 1
        assert session.length == 3
    except MemoryError:  # Python itself found none
        assert session.length == 3
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
fork = session.fork()
got = [program.step([Row(s, [n] * 600)])[0].token for n, s in ((4, session), (5, fork))]
again = [program.step([Row(s, [9])])[0] for s in (session, fork)]
print(got == want, failed > 0)
"""
    graph = programs.fused(golden.load("llama").graph, "q4")
    store = packed("llama", "q4")
    blob = tmp_path / "plan"
    blob.write_bytes(programs.plan_of(graph, store, context=8192).blob)
    command = [sys.executable, "-c", code, str(blob), str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("True True", "")


@pytest.mark.fault("F55")
def test_a_forked_child_can_load_its_own_model(plan: Plan, packed: Packed, tmp_path: Path) -> None:
    """The child's threads may get the ids that the parent's had; dropping those must not matter."""
    code = """
import os, sys
from cactus.native import Program, Row
blob, path = open(sys.argv[1], "rb").read(), sys.argv[2]
parent = Program(blob, path, threads=4)
parent.step([Row(parent.session(), [1, 2])])
child = os.fork()
if child == 0:
    own = Program(blob, path, threads=4)
    token = own.step([Row(own.session(), [1, 2])])[0].token
    parent.close()
    own.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    blob = tmp_path / "plan"
    blob.write_bytes(plan.blob)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        code,
        str(blob),
        str(packed("lfm2", "q4").path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_an_op_that_needs_every_row_is_not_given_fewer(packed: Packed) -> None:
    """A plan whose attention reads a buffer of wanted rows only."""
    plan = programs.plan_of(golden.load("llama").graph, packed("llama", "f32"), keep=True)
    blob = bytearray(plan.blob)
    weights, buffers = struct.unpack_from("<2I", blob, 8)
    first = 64 + 32 * weights  # the buffer records: 16 bytes, the third word says which rows
    refused = 0
    for n in range(buffers):
        (rows,) = struct.unpack_from("<I", blob, first + 16 * n + 8)
        struct.pack_into("<I", blob, first + 16 * n + 8, 0 if rows == 1 else 1)
        with pytest.raises(NativeError, match=r"rows|logits"):
            Program(bytes(blob), packed("llama", "f32").path, threads=1)
        struct.pack_into("<I", blob, first + 16 * n + 8, rows)
        refused += 1
    assert refused == buffers


@pytest.mark.fault("F55")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork exists on POSIX only")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_gets_an_error_and_the_parent_goes_on(program: Program) -> None:
    session = program.session()
    want = program.step([Row(session, [1, 2, 3])])
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            try:
                program.step([Row(session, [1])])
            except ForkError:
                session.close()
                program.close()
                code = 0
        os._exit(code)
    deadline = threading.Timer(20, os.kill, (child, signal.SIGKILL))
    deadline.start()
    _, status = os.waitpid(child, 0)
    deadline.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
    session.truncate(0)
    assert program.step([Row(session, [1, 2, 3])]) == want


@pytest.mark.fault("F50")
def test_threads_share_a_program(program: Program) -> None:
    want = [golden.greedy(program, [seed, 7], 10) for seed in range(4)]
    got: list[list[int]] = [[] for _ in range(4)]

    def work(seed: int) -> None:
        got[seed] = golden.greedy(program, [seed, 7], 10)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert got == want


@pytest.mark.fault("F52")
def test_closing_while_others_compute_is_safe(plan: Plan, packed: Packed) -> None:
    for _ in range(20):
        program = Program(plan.blob, packed("lfm2", "q4").path, threads=2)
        started = threading.Barrier(3)

        def work(program: Program = program, started: threading.Barrier = started) -> None:
            session = program.session()
            started.wait()
            with contextlib.suppress(ModelClosed):
                while True:
                    program.step([Row(session, [1] * 30, "none")])
                    session.truncate(0)

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        started.wait()
        program.close()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()


@pytest.mark.fault("F62")
def test_many_programs_and_sessions_leave_nothing_behind(plan: Plan, packed: Packed) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def round_trip() -> None:
        with Program(plan.blob, packed("lfm2", "q4").path, threads=2) as program:
            for _ in range(4):
                with program.session() as session, session.fork() as fork:
                    program.step([Row(session, [1] * 100), Row(fork, [2])])

    for _ in range(30):
        round_trip()
    gc.collect()
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        round_trip()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert resident() - before < 8 << 20


@pytest.mark.fault("F55")
def test_interpreter_exit_while_a_thread_computes(plan: Plan, packed: Packed) -> None:
    code = """
import sys, threading
from cactus.native import Program, Row
program = Program(open(sys.argv[1], 'rb').read(), sys.argv[2], threads=2)
def work():
    session = program.session()
    while True:
        program.step([Row(session, [1] * 100, "none")])
        session.truncate(0)
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
import time; time.sleep(0.2)
"""
    path = packed("lfm2", "q4").path
    blob = path.with_suffix(".plan")
    blob.write_bytes(plan.blob)
    command = [sys.executable, "-c", code, str(blob), str(path)]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_convolution_cannot_be_kept_in_int8(plan: Plan, packed: Packed) -> None:
    blob = bytearray(plan.blob)
    weights, buffers, slots = HEADER.unpack_from(blob)[1:4]
    first = HEADER.size + weights * WEIGHT.size + buffers * BUFFER.size
    kinds = [SLOT.unpack_from(blob, first + i * SLOT.size)[0] for i in range(slots)]
    index = kinds.index(SLOTS["conv"])
    at = first + index * SLOT.size + SLOT.size - 4
    blob[at : at + 4] = (1).to_bytes(4, "little")
    with pytest.raises(NativeError, match=f"slot {index}: a convolution's columns are f32"):
        Program(bytes(blob), packed("lfm2", "q4").path)


@pytest.mark.fault("F07")
def test_damaged_plans_are_refused_or_harmless(plan: Plan, packed: Packed) -> None:
    """Bytes changed anywhere: an error, or a program whose steps stay inside their memory."""
    rng = random.Random(15)
    refused = 0
    for _ in range(1500):
        blob = bytearray(plan.blob)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(blob) // 4) * 4
            value = rng.choice((0, 1, 2, 16, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
            blob[at : at + 4] = value.to_bytes(4, "little")
        try:
            program = Program(bytes(blob), packed("lfm2", "q4").path, threads=1, chunk=8)
        except (CactusError, MemoryError):
            refused += 1
            continue
        with program, contextlib.suppress(CactusError):
            program.step([Row(program.session(), [1, 2, 3], "all")])
    assert refused > 700


@pytest.mark.fault("F07")
@pytest.mark.parametrize("cut", [0, 7, 63, 64, 100, -1, -4])
def test_cut_plans_are_refused(plan: Plan, packed: Packed, cut: int) -> None:
    with pytest.raises(NativeError, match="plan"):
        Program(plan.blob[:cut], packed("lfm2", "q4").path)
    with pytest.raises(NativeError, match="after its end"):
        Program(plan.blob + b"\0" * 4, packed("lfm2", "q4").path)


def test_buffers_that_are_never_live_together_share_memory(packed: Packed) -> None:
    graph, store = golden.load("llama").graph, packed("llama", "f32")
    plan, kept = (programs.plan_of(graph, store, keep=keep) for keep in (False, True))

    def separately(plan: Plan) -> int:
        widths = [buffer.width for buffer in plan.buffers if not buffer.output_rows]
        return sum(256 * 4 * (-(-width // 16) * 16) for width in widths)

    with Program(plan.blob, store.path, threads=1, chunk=256) as program:
        # At its peak a layer has the residual, what it was normed to, and both halves of the MLP.
        assert 0 < program.info.arena_bytes < 0.8 * separately(plan)
    with Program(kept.blob, store.path, threads=1, chunk=256) as program:
        assert program.info.arena_bytes == separately(kept)
