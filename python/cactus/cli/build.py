"""``cactus build``: CMake and Ninja, then the library into the package's folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from cactus.cli.checkout import ROOT
from cactus.cli.options import Whole


@click.command("build", short_help="Build the native library for this machine.")
@click.option(
    "--python",
    is_flag=True,
    help="The library that the Python package loads; what is built without options, too.",
)
@click.option("--clean", is_flag=True, help="Build everything anew.")
@click.option("--jobs", "-j", type=Whole(1), metavar="N", help="Compilers at a time.")
def command(python: bool, clean: bool, jobs: int | None) -> None:
    """Build the native library of this checkout and print where it is.

    Only what has changed is compiled. Needs a C++20 compiler; CMake and Ninja come with the
    environment that './setup' makes.
    """
    del python  # the one library there is; the option is what the documents of others name
    require_checkout("build")
    folder = ROOT / "build" / "python"
    if clean:
        shutil.rmtree(folder, ignore_errors=True)
    cmake, ninja = _tool("cmake"), _tool("ninja")
    configure = [cmake, "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    configure += ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    # CMake writes down where it lies itself, which depends on the version of Python.
    identity = "\n".join([*configure, f"{sys.prefix} {sys.version_info[:2]}"])
    if not _is_configured(folder, identity):
        _run(configure, "configuring")
        (folder / "configured").write_text(identity)
    parallel = ["--parallel", str(jobs)] if jobs else ["--parallel"]
    _run([cmake, "--build", str(folder), *parallel], "compiling")
    stage = folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)  # CMake keeps a file that is less than a second older
    _run([cmake, "--install", str(folder), "--prefix", str(stage)], "")
    library = _put_in_place(stage / "cactus" / "native")
    _check(library)
    click.echo(library)


def require_checkout(task: str) -> None:
    """Raises a usage error where the running package is not that of a checkout."""
    if not (ROOT / "CMakeLists.txt").is_file() or not (ROOT / "native").is_dir():
        raise click.UsageError(
            f"'cactus {task}' works in a checkout of the repository (after 'source ./setup'); "
            "this is an installed package, complete as it is."
        )


def _tool(name: str) -> str:
    """A build tool: that of our own environment first, its version is known to do."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise click.ClickException(
            f"{name} is missing; install it with: {sys.executable} -m pip install cmake ninja"
        )
    return found


def _is_configured(folder: Path, identity: str) -> bool:
    """Whether CMake ran in the same way; Ninja itself sees when CMakeLists.txt changes."""
    try:
        done = (folder / "configured").read_text()
    except OSError:
        return False
    if done == identity and (folder / "build.ninja").is_file():
        return True
    shutil.rmtree(folder)  # another generator, or a checkout that has been moved
    return False


def _run(arguments: list[str], what: str) -> None:
    """Runs one tool, showing ``3/20`` as it goes; its whole output only when it fails."""
    environment = {**os.environ, "NINJA_STATUS": "[%f/%t] ", "CLICOLOR_FORCE": "0"}
    output: list[str] = []
    terminal = sys.stderr.isatty()
    if what:
        click.echo(f"      {what}", err=True, nl=not terminal)
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            count = re.match(r"\[(\d+)/(\d+)\] (.*)", line)
            if count and terminal:
                name = count[3].rpartition("/")[2][:50]
                click.echo(f"\r\033[K      {what} {count[1]}/{count[2]} {name}", err=True, nl=False)
    if terminal:
        click.echo("\r\033[K", err=True, nl=False)
    if process.returncode:
        click.echo("".join(output), err=True, nl=False)
        raise click.ClickException(f"failed: {' '.join(arguments)}")


def _put_in_place(built: Path) -> Path:
    """Replaces the package's library in one step: a process that runs keeps its old one."""
    from cactus.native.library import LIBRARY_NAME

    target = ROOT / "python" / "cactus" / "native" / LIBRARY_NAME
    if not (built / LIBRARY_NAME).is_file():
        raise click.ClickException(f"the build made no {built / LIBRARY_NAME}")
    if target.exists() and target.read_bytes() == (built / LIBRARY_NAME).read_bytes():
        return target
    fresh = target.with_name(f".{LIBRARY_NAME}.{os.getpid()}")
    try:
        shutil.copy2(built / LIBRARY_NAME, fresh)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def _check(library: Path) -> None:
    """Loads the library as the package does, which proves interface and version."""
    from cactus.native import library as loader

    loader.load()
    if loader.library_path() != library:
        raise click.ClickException(
            f"{library} is built, but the package loads {loader.library_path()}; remove that one"
        )
