"""Child processes with a clock and a memory gauge, the cache folder, progress, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from cactus.errors import CactusError

TIMEOUT_SECONDS = 1800.0
CAN_EVICT = hasattr(os, "posix_fadvise")
REPOSITORY = Path(__file__).resolve().parent.parent


class BenchmarkError(Exception):
    """A benchmark cannot run; the message says what failed and what to do."""


Command = Sequence["str | Path"]


@dataclass(frozen=True)
class Child:
    """What one finished child process showed.

    ``others`` is how many cores were busy with anything else meanwhile, a hypervisor's other
    guests included; 0 where the system does not tell. ``errors`` is what it wrote to stderr.
    """

    stdout: str
    first_byte_seconds: float
    seconds: float
    peak_rss: int
    others: float
    errors: str = ""


def cache_folder() -> Path:
    """Folder for the peer's sources, its build and its models: outside the repository, kept."""
    folder = Path(platformdirs.user_cache_path("cactus", appauthor=False)) / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment(name: str, needs: Sequence[str], progress: Progress) -> Path:
    """The Python of a virtual environment that has ``needs``; made once in the cache folder."""
    folder = cache_folder() / f"venv-{name}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / f"complete-{hashlib.sha256(repr(needs).encode()).hexdigest()[:12]}"
    if not stamp.exists():
        log = cache_folder() / "venv.log"
        run_logged([sys.executable, "-m", "venv", folder], log, progress, f"making {folder.name}")
        command: Command = [python, "-m", "pip", "install", *needs]
        run_logged(command, log, progress, f"installing what {name} needs")
        stamp.touch()
    return python


def run_child(command: Command, env: Mapping[str, str] | None = None) -> Child:
    """Run a command to its end and gauge it.

    ``peak_rss`` is in bytes and counts mapped files too. The kernel starts a child's gauge at
    this parent's own size, so the parent must stay smaller than what it measures (it is).
    Raises BenchmarkError with the end of the child's error output when it fails or hangs.
    """
    line = [str(part) for part in command]
    environment = {**os.environ, **(env or {})}
    with tempfile.TemporaryFile() as errors:
        busy = _busy_seconds()
        start = time.perf_counter()
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, env=environment)
        timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            first = os.read(process.stdout.fileno(), 1)
            first_byte = time.perf_counter() - start
            output = first + process.stdout.read()
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            timer.cancel()
            if process.returncode is None:
                process.kill()
                process.wait()
        seconds = time.perf_counter() - start
        busy = _busy_seconds() - busy - usage.ru_utime - usage.ru_stime
        errors.seek(0)
        said = errors.read().decode(errors="replace")
        if process.returncode != 0:
            tail = said[-2000:].strip()
            hint = f" after {seconds:.0f} s" if seconds >= TIMEOUT_SECONDS else ""
            raise BenchmarkError(
                f"{' '.join(line)}\nended with status {process.returncode}{hint}:\n{tail}"
            )
    unit = 1 if sys.platform == "darwin" else 1024
    return Child(
        output.decode(errors="replace"),
        first_byte,
        seconds,
        usage.ru_maxrss * unit,
        max(busy, 0.0) / seconds,
        said,
    )


def evict(paths: Sequence[Path]) -> None:
    """Drop files from the page cache, so that the next reader has to go to the disk.

    Only where CAN_EVICT: elsewhere the system has no call for it.
    """
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # dirty pages cannot be dropped
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _busy_seconds() -> float:
    """Seconds that all cores together were not idle since the system started; 0 if unknown."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return 0.0
    # user nice system idle iowait irq softirq steal (guest times are inside user and nice)
    ticks = [int(part) for part in first.split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


class Busy:
    """How many cores were busy since this was made, those of this process and its children left
    out."""

    def __init__(self) -> None:
        self.start, self.before = time.perf_counter(), self._others()

    @staticmethod
    def _others() -> float:
        own = os.times()
        return _busy_seconds() - sum(own[:4])

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.start
        return f"others kept {max(0.0, self._others() - self.before) / seconds:.2f} cores busy"


class Progress:
    """One status line on stderr: rewritten on a terminal, one line a step elsewhere."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.done = 0
        self.terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Count a step and show it."""
        self.done += 1
        self.show(f"[{self.done}/{self.total}] {text}")

    def show(self, text: str) -> None:
        """Show a line without counting."""
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal's line empty."""
        if self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def finish(tool: str, work: Callable[[], object], progress: Progress | None = None) -> int:
    """Do ``work``; the exit status, and on standard error why it is not 0."""
    try:
        work()
        return 0
    except (BenchmarkError, CactusError) as error:
        status, reason = 1, str(error)
    except KeyboardInterrupt:
        status, reason = 130, "interrupted"
    if progress:
        progress.close()
    print(f"{tool}: {reason}", file=sys.stderr)
    return status


def run_logged(command: Command, log: Path, progress: Progress, title: str) -> None:
    """Run a long command at low priority with its output in ``log``, showing percentages it prints.

    Raises BenchmarkError with the end of the log when the command fails.
    """
    nice = ["nice", "-n", "15"] if os.name == "posix" else []
    progress.show(title)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*nice, *(str(part) for part in command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        shown = 0
        for raw in process.stdout:
            sink.write(raw)
            match = re.match(rb"\[ *(\d+)%\]", raw)
            percent = int(match[1]) if match else 0
            if percent >= shown + (1 if progress.terminal else 10):
                shown = percent
                progress.show(f"{title}: {percent} %")
        status = process.wait()
    if status != 0:
        tail = log.read_text(errors="replace")[-2000:].strip()
        raise BenchmarkError(f"{title} failed (status {status}); the log is {log}:\n{tail}")


def machine() -> dict[str, object]:
    """What the numbers belong to: processor, cores, memory, system, commit, versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": _first_line(["g++", "--version"]),
        "commit": _first_line(["git", "-C", str(REPOSITORY), "rev-parse", "--short=12", "HEAD"]),
        "modified": bool(_first_line(["git", "-C", str(REPOSITORY), "status", "--short", "-uno"])),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def place(start: Mapping[str, object]) -> str:
    """Of what `machine` says, what stands above published figures."""
    return f"{start['processor']}, {start['cores']} cores, commit {start['commit']}"


def _first_line(command: Sequence[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.split("\n", 1)[0]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    return name


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
