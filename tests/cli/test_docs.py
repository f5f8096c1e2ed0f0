"""The documents tell the truth about the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cactus.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_names_no_command_that_is_not_there() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"`cactus ([a-z]+)", text)) <= set(COMMANDS)


def test_the_test_command_of_the_readme_is_what_runs_in_ci() -> None:
    command = "source ./setup --dev && cactus test"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.search(r"^source \./setup( --dev)? && cactus test$", readme, re.M)
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith(command)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)


@pytest.mark.parametrize("number", range(len(python_blocks())))
def test_the_python_of_the_readme_runs(number: int, starter_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / starter_folder.name).symlink_to(starter_folder)
    block = python_blocks()[number]
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 0 and done.stderr == ""
