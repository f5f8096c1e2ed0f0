"""packaging/locks/: whatever we fetch to run, build and test is pinned and has its hashes."""

from __future__ import annotations

import re
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cactus.cli.checkout import read_pyproject, requirements

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "packaging" / "locks"
PROJECT = read_pyproject()["project"]
EXTRAS = PROJECT["optional-dependencies"]
IN_BASE = ("documents", "server")

WANTED = {
    "base": [*PROJECT["dependencies"], *(text for name in IN_BASE for text in EXTRAS[name])],
    **{group: requirements(group) for group in ("build", "test", "dev", "audit")},
    **{name: texts for name, texts in EXTRAS.items() if name not in IN_BASE},
}
"""What pyproject.toml asks for, by the lock that has it."""

SYSTEMS = {
    "linux": ("x86_64", "aarch64"),
    "darwin": ("x86_64", "arm64"),
    "win32": ("AMD64",),
}
ENVIRONMENTS = [
    {"sys_platform": system, "platform_machine": machine, "python_version": python,
     "python_full_version": f"{python}.1", "implementation_name": "cpython",
     "platform_python_implementation": "CPython", "extra": ""}
    for system, machines in SYSTEMS.items()
    for machine, python in product(machines, ("3.10", "3.11", "3.12", "3.13", "3.14"))
]  # fmt: skip


def entries(*locks: str) -> list[tuple[Requirement, list[str]]]:
    """What the locks pin: each requirement with its hashes."""
    found = []
    for lock in locks:
        text = (LOCKS / f"{lock}.txt").read_text("utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line and not line.startswith("#"):
                requirement, *hashes = line.split(" --hash=")
                found.append((Requirement(requirement.strip()), [text.strip() for text in hashes]))
    return found


def chosen(pinned: list[Requirement], name: str, environment: dict[str, str]) -> list[str]:
    """The versions of a package that pip would take there."""
    return sorted({
        next(iter(pin.specifier)).version
        for pin in pinned
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    })  # fmt: skip


def test_there_is_a_lock_for_all_that_pyproject_asks_for() -> None:
    assert {path.stem for path in LOCKS.glob("*.txt")} == set(WANTED)
    assert set(read_pyproject()["build-system"]["requires"]) <= set(requirements("build"))


@pytest.mark.parametrize("lock", WANTED)
def test_everything_in_a_lock_has_one_version_and_its_hashes(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text("utf-8")
    assert "://" not in text  # where packages are fetched is the user's setting
    for pin, hashes in entries(lock):
        assert re.fullmatch(r"==[^*]+", str(pin.specifier)), pin
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for text in hashes), pin


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_fits_pyproject_on_every_python_and_system(lock: str) -> None:
    pinned = [pin for pin, _ in entries(*{"base", lock})]
    wanted = [Requirement(text) for text in WANTED[lock]]
    for environment in ENVIRONMENTS:
        for requirement in wanted:
            if requirement.marker is None or requirement.marker.evaluate(environment):
                versions = chosen(pinned, requirement.name, environment)
                assert len(versions) == 1, (requirement.name, environment, versions)
                assert requirement.specifier.contains(versions[0]), (requirement, versions)


def test_locks_agree_where_they_are_installed_together() -> None:
    pinned = [pin for pin, _ in entries(*WANTED)]
    for environment in ENVIRONMENTS:
        for name in {pin.name for pin in pinned}:
            assert len(chosen(pinned, name, environment)) <= 1, (name, environment)


def test_what_the_packages_need_is_locked_too() -> None:
    pinned = [pin for pin, _ in entries("base", "build", "dev")]
    names = {
        canonicalize_name(pin.name)
        for pin in pinned
        if pin.marker is None or pin.marker.evaluate({"extra": ""})
    }
    installed = {canonicalize_name(found.name): found for found in metadata.distributions()}
    seen = 0
    for name in sorted(names & set(installed)):
        for text in installed[name].requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in names, f"{name} needs {needed}"
                seen += 1
    assert seen > 50


def test_actions_of_workflows_are_pinned_by_their_commits() -> None:
    used = [
        line.split("uses:")[1].split("#")[0].strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text("utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(used) > 5
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_what_makes_packages_is_installed_by_its_hashes() -> None:
    """What people install is made with nothing that is not in a lock."""
    made = {".github/workflows/ci.yml": "", ".github/workflows/wheels.yml": "\n  linux:"}
    seen = 0
    for name, end in {
        **made,
        "packaging/Dockerfile": "",
        "setup": "",
        "pyproject.toml": "",
    }.items():
        text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
        text = text.partition(end)[0] if end else text
        for found in re.findall(r"pip (?:install|wheel)\b[^\n&]*", text):
            assert re.search("--require-hashes -r|--no-deps", found), f"{name}: {found}"
            seen += 1
    assert seen >= 9
