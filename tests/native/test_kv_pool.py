"""The memory of keys and values: a limit, sharing, and what windowed layers give back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import InsufficientMemory, InvalidRequest, NativeError
from cactus.native import Program, Row
from tests.control_groups import memory_group
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.plan_forge import Forge

PAGE = 64


def load(packed: Packed, name: str, kv_bytes: int = 0, kv: str = "f16") -> Program:
    graph = programs.fused(golden.load(name).graph, "q8")
    return programs.load(
        graph, packed(name, "q8"), kv, context=8192, threads=1, chunk=512, kv_bytes=kv_bytes
    )


@pytest.fixture
def page_bytes(packed: Packed) -> int:
    with load(packed, "llama") as program:
        return program.info.page_bytes


def tokens(count: int) -> list[int]:
    return [n * 7 % 50 for n in range(count)]


@pytest.mark.fault("F56")
def test_the_limit_is_an_error_that_changes_nothing(packed: Packed, page_bytes: int) -> None:
    with load(packed, "llama", kv_bytes=3 * page_bytes) as program:
        session = program.session()
        want = programs.prefill(program, session, tokens(100), 50)
        assert program.kv_bytes == 2 * page_bytes
        limit, used = 3 * page_bytes / 2**20, 2 * page_bytes / 2**20
        match = rf"no memory for 100 more tokens: .*take .* MiB, .*limit of {limit:.1f} MiB"
        for _ in range(3):
            with pytest.raises(InsufficientMemory, match=match):
                program.step([Row(session, tokens(100), "none")])
            assert session.length == 100
            assert program.kv_bytes == 2 * page_bytes, f"what was reserved of it: {used}"
        # Up to the last position of the third page; then it must end another one's.
        program.step([Row(session, tokens(92), "none")])
        with pytest.raises(InsufficientMemory), program.session() as other:
            program.step([Row(other, [1])])
        session.truncate(0)
        assert program.kv_bytes == 0
        np.testing.assert_array_equal(programs.prefill(program, session, tokens(100), 50), want)


def test_a_step_of_several_sessions_is_reserved_whole_or_not(
    packed: Packed, page_bytes: int
) -> None:
    with load(packed, "llama", kv_bytes=5 * page_bytes) as program:
        sessions = [program.session() for _ in range(3)]
        with pytest.raises(InsufficientMemory):
            program.step([Row(session, tokens(100), "none") for session in sessions])
        assert program.kv_bytes == 0
        program.step([Row(session, tokens(64), "none") for session in sessions])


def test_closed_sessions_make_room(packed: Packed, page_bytes: int) -> None:
    with load(packed, "llama", kv_bytes=4 * page_bytes) as program:
        for _ in range(20):
            with program.session() as session:
                program.step([Row(session, tokens(256), "none")])
            assert program.kv_bytes == 0


def test_columns_of_convolutions_count(packed: Packed) -> None:
    with load(packed, "lfm2") as program:
        session = program.session()
        program.step([Row(session, tokens(256), "none")])
        assert program.kv_bytes == 4 * program.info.page_bytes


@pytest.mark.parametrize("kv_bytes", [-1, 1 << 63])
def test_a_limit_that_is_none(packed: Packed, kv_bytes: int) -> None:
    with pytest.raises(InvalidRequest, match="kv_bytes"):
        load(packed, "llama", kv_bytes)


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("length", [1, 15, 16, 63, 64, 65, 100, 256, 300])
def test_a_fork_copies_one_page_and_only_when_it_writes(
    packed: Packed, length: int, kv: str
) -> None:
    with load(packed, "llama", kv=kv) as program:
        page = program.info.page_bytes
        session = program.session()
        programs.prefill(program, session, tokens(length), 512)
        pages = -(-length // PAGE)
        assert program.kv_bytes == pages * page
        forks = [session.fork() for _ in range(4)]
        assert program.kv_bytes == pages * page
        got = [
            program.step([Row(fork, [n])], want_logits=True)[0].logits
            for n, fork in enumerate(forks)
        ]
        assert program.kv_bytes == (pages + 4) * page
        session.close()
        assert program.kv_bytes == (pages + 4 - (length % PAGE != 0)) * page
        for n, logits in enumerate(got):
            alone = programs.prefill(program, program.session(), [*tokens(length), n], 512)
            assert logits is not None
            np.testing.assert_array_equal(logits, alone[-1])


def test_recycled_pages_are_of_no_meaning(packed: Packed, tmp_path: Path) -> None:
    """A page comes back full of NaN, which nobody may see."""
    checkpoint = golden.load("llama_untied")
    tensors = {name: value.copy() for name, value in checkpoint.tensors.items()}
    name = next(name for name in tensors if "embed" in name)
    tensors[name][3] = np.nan
    graph = programs.fused(checkpoint.graph, "f32")
    store = programs.store(graph, tensors, tmp_path / "weights", "f32")
    for kv in ("f16", "int8"):
        with programs.load(graph, store, kv, threads=1, chunk=512) as program:
            want = programs.prefill(program, program.session(), [1, 2, 5] * 30, 7)
            for _ in range(3):
                with program.session() as poisoned:
                    program.step([Row(poisoned, [3] * 300, "none")])
                session = program.session()
                got = programs.prefill(program, session, [1, 2, 5] * 30, 7)
                np.testing.assert_array_equal(got, want)
                session.close()


# Windows


@pytest.fixture
def windowed() -> Iterator[Forge]:
    """One layer that sees 16 positions and one that sees all, over keys and values of 16."""
    plan = Forge(context_length=1 << 16)
    plan.weights.append((0, 16, 48, 1, 0, 64 * 48))
    rows, out, sums = plan.buffer(48), plan.buffer(16), plan.buffer(16)
    plan.step("embed", (), rows, weight=0)
    inputs = ((rows, 0), (rows, 16), (rows, 32))
    for target, window in ((out, 16), (sums, 0)):
        slot = plan.slot("kv", 1, 16)
        integers = (1, 1, 16, 0, window)
        plan.step("attention", inputs, target, slot=slot, integers=integers, floats=(0.25,))
    plan.step("add", ((out, 0), (sums, 0)), out)
    yield plan


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(np.random.default_rng(1).standard_normal(4096).astype(np.float32).tobytes())
    return path


def outputs_at(program: Program, length: int) -> np.ndarray:
    session = program.session()
    return programs.prefill(program, session, [n % 16 for n in range(length)], 256)


def test_layers_with_a_window_give_back_what_they_no_longer_see(
    windowed: Forge, numbers: Path
) -> None:
    with Program(windowed.outputs(1), numbers, threads=1, chunk=256) as program:
        half = program.info.page_bytes // 2
        session = program.session()
        programs.prefill(program, session, [n % 16 for n in range(8192)], 256)
        everything, pages = 8192 // PAGE, program.kv_bytes / half
        # The window, how far it can be taken back, and the step that was made.
        kept = pages - everything
        assert (16 + 1024 + 256) / PAGE <= kept <= (16 + 1024 + 256) / PAGE + 1


def test_going_back_within_what_is_there_is_exact(windowed: Forge, numbers: Path) -> None:
    with Program(windowed.outputs(1), numbers, threads=1, chunk=256) as program:
        want = outputs_at(program, 4000)
        session = program.session()
        ids = [n % 16 for n in range(4000)]
        programs.prefill(program, session, ids, 256)
        for back in (1, 63, 64, 65, 700, 1000):
            at = session.length - back
            assert session.truncate(at) == at
            got = programs.prefill(program, session, ids[at:], 100)
            np.testing.assert_array_equal(got, want[at:])
        # Further back the window's pages are gone, and everything is read again.
        assert session.truncate(1500) == 0
        assert session.length == 0
        np.testing.assert_array_equal(programs.prefill(program, session, ids, 256), want)


def test_a_fork_keeps_what_its_origin_gives_back(windowed: Forge, numbers: Path) -> None:
    with Program(windowed.outputs(1), numbers, threads=1, chunk=256) as program:
        want = outputs_at(program, 3000)
        session = program.session()
        ids = [n % 16 for n in range(3000)]
        programs.prefill(program, session, ids[:500], 256)
        snapshot = session.snapshot()
        programs.prefill(program, session, ids[500:], 256)
        session.restore(snapshot)
        got = programs.prefill(program, session, ids[500:], 256)
        np.testing.assert_array_equal(got, want[500:])


def test_a_program_that_shares_sees_no_further(windowed: Forge, numbers: Path) -> None:
    blob = windowed.outputs(1)
    wider = Forge.of(blob)
    wider.steps[1][18] = 17
    wider.weights.append((0, 1, 1, 0, 0, 4))  # another plan, whatever the first one was
    with (
        Program(blob, numbers, threads=1) as program,
        pytest.raises(NativeError, match="sees further back"),
    ):
        Program(wider.build(), numbers, shares=program)


# What the system allows


PRESSED = """
    import sys
    from cactus.errors import InsufficientMemory
    from cactus.native import Program, Row
    with Program(open(sys.argv[1], "rb").read(), sys.argv[2], threads=1, chunk=64) as program:
        LIMIT
        sessions, failed = [], 0
        for _ in range(80):
            sessions.append(program.session())
            try:
                program.step([Row(sessions[-1], [1] * 64, "none")])
            except InsufficientMemory as error:
                assert "MiB" in str(error), error
                failed += 1
                sessions.pop().close()
        done = len(sessions)
        sessions[-1].close()
        program.step([Row(sessions[0], [2])])
        print(done > 2, failed > 2)
"""


def wide_plan(folder: Path) -> list[str]:
    """A plan whose keys and values take 256 KiB a position, 16 MiB a page."""
    width = 65536
    plan = Forge(context_length=1 << 16)
    plan.weights.append((0, 16, 3 * width, 1, 0, 64 * 3 * width))
    rows, out = plan.buffer(3 * width), plan.buffer(width)
    plan.step("embed", (), rows, weight=0)
    heads = width // 256
    inputs = tuple((rows, n * width) for n in range(3))
    slot = plan.slot("kv", heads, 256)
    plan.step("attention", inputs, out, slot=slot, integers=(heads, heads, 256), floats=(0.0,))
    (folder / "plan").write_bytes(plan.outputs(out))
    with (folder / "weights").open("wb") as file:
        file.truncate(64 * 3 * width)
    return [str(folder / "plan"), str(folder / "weights")]


def run_pressed(folder: Path, limit: str, before: list[str]) -> None:
    code = textwrap.dedent(PRESSED).replace("LIMIT", limit)
    command = [*before, sys.executable, "-c", code, *wide_plan(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True True", "")


@pytest.mark.fault("F56")
def test_out_of_memory_for_addresses(tmp_path: Path) -> None:
    limit = (
        "import resource; used = int(open('/proc/self/statm').read().split()[0]);"
        "limit = used * resource.getpagesize() + (200 << 20);"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))"
    )
    run_pressed(tmp_path, limit, [])


@pytest.mark.fault("F56")
def test_out_of_memory_in_a_control_group(tmp_path: Path) -> None:
    with memory_group(512 << 20) as enter:
        run_pressed(tmp_path, "pass", enter)
