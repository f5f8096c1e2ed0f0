"""What the pages about clients show works, with an address and a model of the test's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.running import Running

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["anthropic.md", "ollama.md"])
def test_the_programs_of_a_page_run(page: str, server: Running) -> None:
    programs = re.findall(r"^```py\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.M | re.S)
    assert programs
    for program in programs:
        shown = program.replace("http://127.0.0.1:8080", server.url)
        done = subprocess.run(
            [sys.executable, "-c", shown.replace("smollm2-135m-instruct", "tiny")],
            env={**os.environ, "OLLAMA_HOST": server.url},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
