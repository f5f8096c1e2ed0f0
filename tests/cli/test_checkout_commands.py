"""build, test and setup: the commands that work on a checkout."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pexpect
import pytest

from cactus.cli import build, checkout
from cactus.cli import test as test_command
from cactus.cli.main import run_cli
from cactus.cli.suite import Estimate

ROOT = Path(__file__).resolve().parents[2]
SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]


# -- build


@pytest.fixture
def small_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose native library is one line of C++."""
    root = tmp_path / "check out"
    (root / "native").mkdir(parents=True)
    (root / "python" / "cactus" / "native").mkdir(parents=True)
    (root / "native" / "one.cpp").write_text('extern "C" int one() { return 1; }\n')
    (root / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(small LANGUAGES CXX)\n"
        "add_library(cactus SHARED native/one.cpp)\n"
        "install(TARGETS cactus LIBRARY DESTINATION cactus/native)\n"
    )
    monkeypatch.setattr(build, "ROOT", root)
    monkeypatch.setattr(build, "_check", lambda _: None)  # it is not the real library
    return root


def test_build_compiles_installs_and_prints_the_library(small_checkout: Path, capfd) -> None:
    assert run_cli(["build", "--python"]) == 0
    library = Path(capfd.readouterr().out.strip())
    assert library.parent == small_checkout / "python" / "cactus" / "native"
    before, content = library.stat(), library.read_bytes()
    assert run_cli(["build"]) == 0  # nothing to do: a program that has it loaded is not disturbed
    assert library.stat() == before
    (small_checkout / "native" / "one.cpp").write_text('extern "C" int one() { return 2; }\n')
    assert run_cli(["build"]) == 0
    assert library.read_bytes() != content
    assert [p.name for p in library.parent.iterdir()] == [library.name]


def test_a_failed_build_shows_the_compilers_words_and_keeps_the_library(
    small_checkout: Path, capfd
) -> None:
    assert run_cli(["build"]) == 0
    library = Path(capfd.readouterr().out.strip())
    content = library.read_bytes()
    (small_checkout / "native" / "one.cpp").write_text("this is no C++\n")
    assert run_cli(["build"]) == 1
    err = capfd.readouterr().err
    assert "one.cpp:1" in err and "Traceback" not in err
    assert library.read_bytes() == content


@pytest.mark.parametrize("task", ["build", "test"])
def test_an_installed_package_says_that_it_has_nothing_to_build(
    task: str, monkeypatch, tmp_path, capsys
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert run_cli([task]) == 2
    assert "works in a checkout" in capsys.readouterr().err


# -- test


def test_arguments_go_to_pytest_and_its_status_comes_back(monkeypatch, tmp_path, capfd) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_one.py").write_text("".join(f"def test_{n}(): assert {n}\n" for n in "0123"))
    monkeypatch.setattr(test_command, "ROOT", tmp_path)
    assert run_cli(["test", "-k", "0 or 1", "-q"]) == 1
    assert "1 failed, 1 passed, 2 deselected" in capfd.readouterr().out


def test_failures_are_named_at_once_and_the_slowest_tests_at_the_end(
    monkeypatch, tmp_path, capfd
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_one.py").write_text(
        "import time\ndef test_slow(): time.sleep(0.2)\ndef test_bad(): assert False\n"
    )
    monkeypatch.setattr(test_command, "ROOT", tmp_path)
    monkeypatch.setattr(test_command, "SLOW", 0.1)
    assert run_cli(["test", "-q"]) == 1
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "FAILED tests/test_one.py::test_bad"
    assert any(re.match(r"0\.\d+s call +tests/test_one.py::test_slow$", line) for line in told)


def test_a_terminal_shows_how_long_the_rest_will_take(tmp_path) -> None:
    (tmp_path / "conftest.py").write_text("from cactus.cli import suite\nsuite.EARLY = 0.1\n")
    (tmp_path / "test_one.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.parametrize('n', range(3))\ndef test_slow(n): time.sleep(0.2)\n"
    )
    command = ["-m", "pytest", "-p", "cactus.cli.suite", "-q"]
    child = pexpect.spawn(
        sys.executable, command, cwd=tmp_path, encoding="utf-8", dimensions=(24, 100), timeout=60,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    child.expect_exact("0/3 tests, 0:00  test_one.py::test_slow[0]")
    child.expect(r"2/3 tests, 0:0\d, about 0:0\d left  test_one.py::test_slow\[2\]")
    child.expect("3 passed")
    child.wait()
    assert child.exitstatus == 0


def test_the_estimate_follows_what_tests_took_before() -> None:
    estimate = Estimate({"a": 1.0, "b": 8.0, "c": 1.0}, ["a", "b", "c", "new"])
    assert estimate.seconds(100.0) is None
    estimate.done("a")
    assert estimate.seconds(10.0) == 100.0  # ten times as long as before: 8 + 1 + 1 for the new one
    estimate.done("b")
    assert estimate.seconds(90.0) == 20.0


def test_missing_test_packages_are_named_with_what_installs_them(monkeypatch, capsys) -> None:
    monkeypatch.setattr(test_command, "requirements", lambda *_: ["numpy>=1", "absent-package>=3"])
    assert run_cli(["test", "tests/x"]) == 1
    told = capsys.readouterr().err
    assert told == "Error: absent-package missing; install what tests need: source ./setup --dev\n"


def test_requirements_of_the_groups_are_those_of_pyproject() -> None:
    assert checkout.ROOT == ROOT
    listed = checkout.requirements("build", "dev")
    assert any(text.startswith("scikit-build-core") for text in listed)
    assert any(text.startswith("pytest") for text in listed)  # of a group in the group
    assert any(text.startswith("mypy") for text in listed)


# -- setup

SUMS = "echo base build; cd packaging/locks; cksum base.txt build.txt"
"""What setup notes last of what it has installed."""


@pytest.fixture
def ready_checkout(tmp_path: Path) -> Path:
    """A checkout in which setup has run already; its `cactus` only says what it is asked."""
    root = tmp_path / "a checkout"
    root.mkdir()
    for name in ("setup", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "packaging" / "locks", root / "packaging" / "locks")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    fake = root / "venv" / "bin" / "cactus"
    fake.write_text(f'#!/bin/sh\n# {root}/venv/bin/python\necho "asked: $*"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    stamp = subprocess.run(
        ["bash", "-c", f"cat pyproject.toml setup; venv/bin/python --version; pwd -P; {SUMS}"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (root / "venv" / "packages.stamp").write_text(stamp)
    return root


def shell(name: str, script: str, cwd: Path, **environment: str):
    flags = ["-f"] if name == "zsh" else ["--norc"]
    settings = {**os.environ, "PYTHON": sys.executable, **environment}
    for inherited in ("VIRTUAL_ENV", "PS1"):
        settings.pop(inherited, None)
    return subprocess.run(
        [name, *flags, "-c", script],
        cwd=cwd, env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip


OPTIONS = {"bash": "set -o; shopt", "zsh": "setopt"}
STRICT = {"bash": "set -eu -o pipefail", "zsh": "setopt errexit nounset pipefail ksharrays"}


@pytest.mark.parametrize("name", SHELLS)
def test_source_setup_puts_cactus_on_the_path_and_leaves_the_shell_alone(
    ready_checkout: Path, tmp_path: Path, name: str
) -> None:
    script = f"""
        {STRICT[name]}
        before="$({OPTIONS[name]})"
        source "{ready_checkout}/setup"
        echo "status $?"
        [ "$before" = "$({OPTIONS[name]})" ] && echo "same options"
        command -v cactus; pwd; cactus run
        echo "left behind: ${{_cactus_setup-nothing}}"
    """
    done = shell(name, script, tmp_path)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert said[said.index("status 0") :] == [
        "status 0",
        "same options",
        f"{ready_checkout}/venv/bin/cactus",
        str(tmp_path),
        "asked: run",
        "left behind: nothing",
    ]
    assert "asked: build --python" in said  # Ninja finds out itself whether there is work
    assert [line for line in said if line.startswith("[")] == [
        said[0],
        "[2/4] the virtual environment is there",
        "[3/4] the packages are there",
        "[4/4] building the native library",
    ]


@pytest.mark.parametrize("name", SHELLS)
def test_a_failure_returns_to_the_shell_and_does_not_end_it(
    ready_checkout: Path, name: str
) -> None:
    (ready_checkout / "venv" / "bin" / "cactus").write_text(
        f"#!/bin/sh\n# {ready_checkout}/venv/bin/python\nexit 3\n"
    )
    done = shell(name, 'source ./setup; echo "alive, status $?"', ready_checkout)
    assert done.stdout.splitlines()[-1] == "alive, status 1"
    assert "the native library could not be built" in done.stderr


def test_executed_it_sets_up_and_says_what_to_do(ready_checkout: Path) -> None:
    done = shell("bash", "./setup", ready_checkout)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("source ./setup")


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("words", ["", "--dev"])
def test_what_the_tests_need_is_installed_with_dev_only(
    ready_checkout: Path, name: str, words: str
) -> None:
    (ready_checkout / "venv" / "packages.stamp").unlink()
    # The words of the script that sources it are not its own.
    shell(name, f'set -- one two; source ./setup {words}; echo "$1"', ready_checkout)
    wanted = (ready_checkout / "venv" / "requirements.txt").read_text()
    locks = ["base", "build", *(["dev"] if words else [])]
    assert wanted.split("\n")[:-1] == [f"-r ../packaging/locks/{lock}.txt" for lock in locks]


def test_a_package_that_is_not_the_one_in_the_lock_is_refused(
    ready_checkout: Path, tmp_path: Path
) -> None:
    """Whoever answers for the package index: other bytes are not installed."""
    (ready_checkout / "venv" / "packages.stamp").unlink()
    locks = ready_checkout / "packaging" / "locks"
    (locks / "base.txt").write_text(f"idna==99.0 --hash=sha256:{'0' * 64}\n")
    (locks / "build.txt").write_text("")
    wheel = tmp_path / "idna-99.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("idna.py", "")
        file.writestr("idna-99.0.dist-info/METADATA", "Name: idna\nVersion: 99.0\n")
        file.writestr("idna-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("idna-99.0.dist-info/RECORD", "")
    subprocess.run(
        [ready_checkout / "venv" / "bin" / "python", "-m", "ensurepip"],
        capture_output=True, check=True,
    )  # fmt: skip
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    done = shell("bash", "./setup", ready_checkout, **offline)
    assert done.returncode == 1
    assert "the packages could not be installed" in done.stderr
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not list((ready_checkout / "venv").rglob("idna.py"))


def test_what_dev_has_installed_stays(ready_checkout: Path) -> None:
    stamp = ready_checkout / "venv" / "packages.stamp"
    dev = "base build dev; cd packaging/locks; cksum base.txt build.txt dev.txt"
    sums = [["bash", "-c", said] for said in (SUMS, f"echo {dev}")]
    before, after = (
        subprocess.run(command, cwd=ready_checkout, capture_output=True, text=True).stdout
        for command in sums
    )
    assert stamp.read_text().endswith(before)
    stamp.write_text(stamp.read_text().replace(before, after))
    done = shell("bash", "./setup", ready_checkout)
    assert "[3/4] the packages are there" in done.stdout


def test_a_lock_that_has_changed_is_installed(ready_checkout: Path) -> None:
    lock = ready_checkout / "packaging" / "locks" / "base.txt"
    lock.write_text(lock.read_text() + "# renewed\n")
    done = shell("bash", "./setup", ready_checkout)
    assert "[3/4] installing packages" in done.stdout


def test_setup_explains_itself_and_refuses_what_it_does_not_know(ready_checkout: Path) -> None:
    told = shell("bash", "./setup --help", ready_checkout)
    assert told.returncode == 0 and "source ./setup --dev" in told.stdout
    wrong = shell("bash", "./setup --devel", ready_checkout)
    assert wrong.returncode == 1 and "unknown option --devel" in wrong.stderr


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PATH with what every system has, without Python and compilers."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "id", "uname", "cat", "grep"):
        (tools / tool).symlink_to(shutil.which(tool))
    return str(tools)


def test_without_python_the_command_that_installs_it_is_shown(
    ready_checkout: Path, bare: str
) -> None:
    done = shell("bash", "source ./setup", ready_checkout, PATH=bare, PYTHON="")
    told, install = done.stderr.split("\n")[1:3]
    assert told == "setup: Python 3.10 or newer is needed, found: none"
    assert "python" in install and "install" in install


def test_without_a_compiler_the_command_that_installs_one_is_shown(
    ready_checkout: Path, bare: str
) -> None:
    done = shell("bash", 'source ./setup; echo "alive, status $?"', ready_checkout,
                 PATH=bare, CXX="")  # fmt: skip
    assert "a C++20 compiler is needed" in done.stderr and "found: none" in done.stderr
    assert "install" in done.stderr.splitlines()[-1]
    assert done.stdout.splitlines()[-1] == "alive, status 1"


def test_an_old_compiler_is_named_with_its_version(ready_checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "g++-old"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\n[ "$1" = -dumpversion ] && echo 7.5.0\n')
    old.chmod(0o755)
    for name in ("c++", "g++", "clang++"):
        (old.parent / name).symlink_to(old)
    path = f"{old.parent}{os.pathsep}{os.environ['PATH']}"
    old.write_text('#!/bin/sh\nif [ "$1" = -dumpversion ]; then echo 7.5.0; else exit 1; fi\n')
    done = shell("bash", "source ./setup", ready_checkout, PATH=path, CXX="")
    assert "g++ (7.5.0)" in done.stderr


def test_a_python_that_is_too_old_or_missing_is_named(ready_checkout: Path) -> None:
    done = shell("bash", "source ./setup", ready_checkout, PYTHON="/no/python")
    assert "PYTHON=/no/python is not Python 3.10 or newer" in done.stderr


def test_an_environment_that_was_moved_is_made_again(ready_checkout: Path, tmp_path) -> None:
    moved = ready_checkout.with_name("moved here")
    ready_checkout.rename(moved)
    python = tmp_path / "python-without-venv"  # it shows the attempt and saves ten seconds
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *"-m venv"*) exit 1;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = shell("bash", "source ./setup", moved, PYTHON=str(python))
    assert "[2/4] making the virtual environment in venv/" in done.stdout
    assert "the virtual environment could not be made" in done.stderr


# -- the wheel


def test_the_wheel_has_every_file_of_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    options = ["--config-settings=wheel.cmake=false", "-w", str(tmp_path), str(ROOT)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("cactus/")}
    package = ROOT / "python" / "cactus"
    page = [file for file in (package / "server" / "page").rglob("*") if file.is_file()]
    sources = [*package.rglob("*.py"), *package.rglob("*.txt"), package / "py.typed", *page]
    assert packed == {str(file.relative_to(ROOT / "python")) for file in sources}
