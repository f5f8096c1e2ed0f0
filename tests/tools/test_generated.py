"""Files that tools write are up to date, and --check would say so if they were not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BEGIN = "<!-- begin: tools/gen_cli_docs.py writes what follows -->"


@pytest.mark.parametrize(
    "name",
    [
        "gen_signatures",
        "gen_cli_docs",
        "gen_models_docs",
        "gen_robustness",
        "gen_abilities",
        "sbom",
    ],
)
def test_what_a_tool_writes_is_up_to_date(
    name: str, tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--check"])
    status = tool(name).main()
    assert (capsys.readouterr().out, status) == ("up to date\n", 0)


def test_a_page_that_differs_is_told_and_then_written(
    tool: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    docs, page = tool("gen_cli_docs"), tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n<!-- end -->\nbelow\n")
    monkeypatch.setattr(docs, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["tool", "--check"])
    assert docs.main() == 1
    assert capsys.readouterr().out == f"{page} differs: run python tools/gen_cli_docs.py\n"
    assert "old" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["tool"])
    assert docs.main() == 0
    assert page.read_text() == f"above\n{BEGIN}\n\n{docs.render()}\n<!-- end -->\nbelow\n"


def test_a_page_without_its_markers_is_left_alone(
    tool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docs, page = tool("gen_cli_docs"), tmp_path / "page.md"
    page.write_text(f"{BEGIN} and no end\n")
    monkeypatch.setattr(docs, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["tool"])
    with pytest.raises(SystemExit, match="expected the markers"):
        docs.main()
    assert page.read_text() == f"{BEGIN} and no end\n"
