"""The documents tell the truth about the command line."""

from __future__ import annotations

import re
from pathlib import Path

from cactus.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_names_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"`cactus ([a-z]+)", text)) == set(COMMANDS)


def test_the_test_command_of_the_readme_is_what_runs_in_ci() -> None:
    command = "source ./setup --dev && cactus test"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.search(rf"^{re.escape(command)}$", readme, re.M)
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith(command)
