"""`cactus download` as its own process, against everything that can happen to it.

Whatever happens, nothing incomplete ever has a final name, and the same command once more ends
with the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors, write_safetensors
from cactus.weights.resolve import resolve
from tests.hub_server import HubServer

TINY = "acme/Tiny-Llama"
COMMAND = [sys.executable, "-m", "cactus.cli.main", "download", TINY]
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def files(tiny_checkpoint: Path, tmp_path_factory) -> dict[str, bytes]:
    """The tiny model in two shards, the second with half a megabyte that nobody needs."""
    folder = tmp_path_factory.mktemp("shards")
    whole = read_safetensors(tiny_checkpoint / "model.safetensors")
    arrays = {
        name: whole.read(name).view(np.float32).reshape(info.shape)
        for name, info in whole.tensors.items()
    }
    names = sorted(arrays)
    owner = {name: SHARDS[index % 2] for index, name in enumerate(names)}
    for shard in SHARDS:
        write_safetensors(folder / shard, {n: arrays[n] for n in names if owner[n] == shard})
    index = json.dumps({"weight_map": owner}).encode()
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    del files["model.safetensors"]
    files["model.safetensors.index.json"] = index
    return files | {shard: (folder / shard).read_bytes() for shard in SHARDS}


@pytest.fixture
def server(hub_server: HubServer, root: Path, files) -> HubServer:
    hub_server.add(TINY, files)
    return hub_server


def run(**options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def start() -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the command beside the test, and ends with it whatever still runs."""
    running: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(COMMAND, text=True, **pipes))
        return running[-1]

    yield begin
    for child in running:
        child.kill()
        child.communicate()


def cache_of(root: Path) -> Path:
    return root.parent / "hf" / "hub" / "models--acme--Tiny-Llama"


def check_final_names(root: Path, files: dict[str, bytes]) -> None:
    """Whatever has a final name is whole."""
    for blob in (cache_of(root) / "blobs").glob("*"):
        if not blob.name.endswith((".part", ".part.json")):
            body = blob.read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            assert blob.name in (hashlib.sha256(body).hexdigest(), git)
    for link in (cache_of(root) / "snapshots").glob("*/*"):
        assert link.exists() and link.read_bytes() == files[link.name]
    if (root / "tiny-llama").exists():
        WeightsFolder.open(root / "tiny-llama").close()


def check_done(root: Path, files: dict[str, bytes], done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (0, f"{root / 'tiny-llama'}\n"), done.stderr
    check_final_names(root, files)
    assert resolve(TINY) == root / "tiny-llama"
    assert not list(cache_of(root).rglob("*.part")) and not list(root.glob(".tiny-llama.*"))


def parts(root: Path) -> int:
    """Bytes that have arrived of files that are not complete."""
    sizes = []
    for part in (cache_of(root) / "blobs").glob("*.part"):
        with suppress(FileNotFoundError):  # it is complete by now, and has its own name
            sizes.append(part.stat().st_size)
    return sum(sizes)


def wait_until(condition: Callable[[], bool], *children: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        for child in children:
            assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- the connection


@pytest.mark.fault("F66")
def test_a_connection_that_is_cut_at_ten_places_is_continued_at_each(server, root, files) -> None:
    size = len(files[SHARDS[0]])
    server.cuts = [size * tenth // 11 for tenth in range(1, 11)]
    check_done(root, files, run())
    assert server.ranges() == [f"bytes={size * tenth // 11}-" for tenth in range(1, 11)]


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_connection_that_is_cut_at_either_end_is_continued(server, root, files, place) -> None:
    place %= len(files[SHARDS[0]])
    server.cuts = [place]
    check_done(root, files, run())
    assert server.ranges() == ([f"bytes={place}-"] if place else [])


# -- kill -9


@pytest.mark.fault("F66")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_killed_while_a_file_arrives_the_next_one_continues(
    server, root, files, start, share
) -> None:
    server.gate_at = int(len(files[SHARDS[0]]) * share)
    child = start()
    wait_until(lambda: parts(root) == server.gate_at, child)
    child.kill()
    child.communicate()
    check_final_names(root, files)
    assert not (root / "tiny-llama").exists()
    server.gate.set()
    server.requests.clear()
    check_done(root, files, run())
    assert server.ranges() == [f"bytes={server.gate_at}-"]
    assert "config.json" not in server.fetched()


_KILLED_AT = """
import os, signal, sys
from cactus.weights import convert, download
label, share = sys.argv[1], float(sys.argv[2])
def progress(what, done, total):
    if what.startswith(label) and done >= share * total:
        os.kill(os.getpid(), signal.SIGKILL)
download.download_model("acme/Tiny-Llama", progress=progress)
"""


@pytest.mark.fault("F66")
@pytest.mark.parametrize(
    ("label", "share"),
    [
        ("downloading tokenizer.json", 0.5),
        ("downloading model", 1.0),
        ("converting", 0.0),
        ("converting", 0.5),
        ("converting", 1.0),
    ],
)
def test_killed_at_any_step_the_next_one_ends_with_the_model(
    server, root, files, label: str, share: float
) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED_AT, label, str(share)], check=False)
    assert killed.returncode == -signal.SIGKILL
    check_final_names(root, files)
    assert not (root / "tiny-llama").exists()
    check_done(root, files, run())


def test_ctrl_c_leaves_what_has_arrived(server, root, files, start) -> None:
    server.gate_at = len(files[SHARDS[0]]) // 2
    child = start()
    wait_until(lambda: parts(root) == server.gate_at, child)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and "Traceback" not in err
    server.gate.set()
    server.requests.clear()
    check_done(root, files, run())
    assert server.ranges() == [f"bytes={server.gate_at}-"]


# -- a full disk


@pytest.mark.fault("F65")
@pytest.mark.parametrize("room", [5_000, 100_000])
def test_a_file_system_that_takes_no_more_bytes(server, root, files, room: int) -> None:
    """RLIMIT_FSIZE refuses bytes beyond a size, as FAT32 does at 4 GB; it needs no rights."""
    largest = max(map(len, files.values()))
    assert room < largest
    failed = run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert failed.returncode == 1 and "File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    check_final_names(root, files)
    assert not (root / "tiny-llama").exists()
    check_done(root, files, run())


_FULL = """
import os, sys
from pathlib import Path
label, share, disk = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
from cactus.cli.main import run_cli
from cactus import progress
from contextlib import contextmanager, suppress
filled = False
@contextmanager
def show():
    def step(what, done, total):
        global filled
        if what.startswith(label) and done >= share * total and not filled:
            filled = True
            with open(disk / "ballast", "wb", buffering=0) as ballast:
                try:
                    while True:
                        ballast.write(bytes(4096))
                except OSError:
                    pass
    yield step
import cactus.cli.models
cactus.cli.models.show_progress = show
status = run_cli(["download", "acme/Tiny-Llama"])
print("final:", sorted(str(path.relative_to(disk)) for path in disk.rglob("*")), file=sys.stderr)
(disk / "ballast").unlink()
again = run_cli(["download", "acme/Tiny-Llama"])
print(status, again)
"""


def can_mount() -> bool:
    """Whether a process may have a file system of its own: root, or user namespaces allowed."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.fault("F65")
@pytest.mark.skipif(not can_mount(), reason="no user namespaces here")
@pytest.mark.parametrize(
    ("label", "share"),
    [("downloading tokenizer.json", 0.0), ("downloading model", 0.3), ("converting", 0.0)],
)
def test_a_disk_that_fills_up_meanwhile(server, root, tmp_path: Path, label, share) -> None:
    """A real one of 2 MB, mounted in a name space of its own, so that no rights are needed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "full.py"
    script.write_text(_FULL)
    shell = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" "$3" "$4" "$5" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", shell, "sh",
         disk, sys.executable, script, label, str(share)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "CACTUS_WEIGHTS": f"{disk}/weights", "HF_HOME": f"{disk}/hf"},
    )  # fmt: skip
    first, _, rest = done.stderr.partition("final:")
    assert done.stdout == f"{disk}/weights/tiny-llama\n1 0\n", done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in first or "is full" in first or "make room" in first
    assert "'weights/tiny-llama'" not in rest.splitlines()[0]


# -- a second process


@pytest.mark.fault("F69")
def test_two_at_once_fetch_everything_once(server, root, files, start) -> None:
    server.gate_at = len(files[SHARDS[0]]) // 2
    children = [start() for _ in range(2)]
    wait_until(lambda: parts(root) == server.gate_at, *children)
    check_final_names(root, files)
    server.gate.set()
    for child in children:
        out, err = child.communicate(timeout=60)
        done = subprocess.CompletedProcess(COMMAND, child.returncode, out, err)
        check_done(root, files, done)
    assert sorted(server.fetched()) == sorted(files)


@pytest.mark.fault("F69")
def test_of_two_the_second_takes_over_when_the_first_is_killed(server, root, files, start) -> None:
    server.gate_at = len(files[SHARDS[0]]) // 2
    first = start()
    wait_until(lambda: parts(root) == server.gate_at, first)
    second = start()
    first.kill()
    first.communicate()
    server.gate.set()
    out, err = second.communicate(timeout=60)
    check_done(root, files, subprocess.CompletedProcess(COMMAND, second.returncode, out, err))
    assert server.ranges() == [f"bytes={server.gate_at}-"]
