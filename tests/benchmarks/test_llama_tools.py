"""What llama.cpp's tools are asked, and how their answers are read: the tools here are scripts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = """
import json
import sys
print(json.dumps([{"samples_ts": [10.0, 40.0, 30.0], "asked": sys.argv[1:]}]))
"""
BATCHED = """
import sys
sys.stdout = sys.stderr if FORK else sys.stdout
print("| PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |")
print("|----|----|---|------|--------|----------|--------|----------|-----|-------|")
print("| 1 | 4 | 8 | 40 | 0.1 | 116.09 | 0.5 | 63.37 | 0.6 | 69.70 |")
"""


def write_tools(folder: Path, fork: bool) -> None:
    """A fork writes its table of batches to standard error."""
    for name, code in (("llama-bench", BENCH), ("llama-batched-bench", BATCHED)):
        (folder / name).write_text(f"#!{sys.executable}\nFORK = {fork}\n{code}")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("fork", [False, True])
def test_cases_become_arguments(load: Any, tmp_path: Path, fork: bool) -> None:
    write_tools(tmp_path, fork)
    tools, case = load("llama_tools").Tools(tmp_path, fork=fork), load("cases").Case
    config = {**tools.start, "cache": "q8_KV/q8_0"}
    deep = case("deep", gen=64, depth=1024, repeats=2, long=True)
    rate, child = tools.bench(Path("m.gguf"), deep, 2, config)
    assert rate == 30.0
    (asked,) = [each["asked"] for each in json.loads(child.stdout)]
    for option, value in {"-m": "m.gguf", "-t": "2", "-ctk": "q8_KV", "-ctv": "q8_0"}.items():
        assert asked[asked.index(option) + 1] == value
    assert ("--no-warmup" in asked, "1024,64" in asked) == (not fork, fork)
    assert tools.bench(Path("m.gguf"), case("8", gen=4, rows=8), 1, config)[0] == 63.37
    assert not tools.can_run(case("drawn", gen=4, temperature=0.8))


def test_a_search_tries_what_a_case_is_like_only_where_it_matters(load: Any) -> None:
    tools, cases = load("llama_tools").Tools(Path()), load("cases")
    by_name = {case.name: case for case in cases.CASES}
    assert set(tools.choices(by_name["decode"])) == {"format", "repack", "flash"}
    assert set(tools.choices(by_name[cases.DEEP])) == {"flash", "cache"}
    assert tools.choices(by_name["32 together"]) == {}
