"""The documents tell the truth about the command line."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from cactus.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_the_command_line_is_what_help_says(monkeypatch) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "gen_cli_docs.py"))
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert tool["updated"](page) == page, "run: python tools/gen_cli_docs.py"


def test_the_readme_names_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"`cactus ([a-z]+)", text)) == set(COMMANDS)


def test_the_test_command_of_the_readme_is_what_runs_in_ci() -> None:
    command = "source ./setup && cactus test"
    assert command in (ROOT / "README.md").read_text("utf-8")
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith(command)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (ROOT / target).exists(), f"{page.name}: {target}"
