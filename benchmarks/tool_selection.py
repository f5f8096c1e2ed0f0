"""How often the right one of 60 tools is among the two that are kept, and what that costs.

`tool_requests.json` has 60 tools and 100 requests as people would phrase them, each with the tool
that it needs. The weights of `chat/selection.py` and `chat/ranking.py` were chosen on the first,
third, fifth ... request; the others had no say.

    python benchmarks/tool_selection.py [--misses] [--bfcl]

With `--bfcl` also the questions of sets of BFCL, with the first 60 functions of each as the tools;
they had no say in the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from cactus.chat import selection
from cactus.chat.messages import parse_messages
from cactus.chat.selection import select_tools
from cactus.chat.tools import validate_tools

FILE = Path(__file__).with_name("tool_requests.json")
KEPT = (1, 2, 3, 5)


def load() -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The tools, and pairs of a request and the name of its tool."""
    data = json.loads(FILE.read_text("utf-8"))
    pairs = [(each["request"], each["tool"]) for each in data["requests"]]
    return validate_tools(data["tools"]), pairs


def load_bfcl(name: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The first 60 functions of a set of BFCL, and the questions that are answered by one."""
    import bfcl

    functions: dict[str, dict[str, Any]] = {}
    pairs = []
    for case in bfcl.cases(name, 3_000):
        wanted = next(iter(case.expected[0]))
        found = [function for function in case.tools if function["name"] == wanted]
        if found and len(functions) < 60:
            functions.setdefault(wanted, found[0])
        if wanted in functions:
            pairs.append((case.messages[-1]["content"], wanted))
    return validate_tools(list(functions.values())), pairs


def misses(
    tools: list[dict[str, Any]], pairs: list[tuple[str, str]], count: int
) -> list[tuple[str, str, list[str]]]:
    """The requests whose tool is not kept: with the tool, and those that are."""
    found = []
    for request, wanted in pairs:
        kept = select_tools(tools, parse_messages(request), count)
        names = [tool["function"]["name"] for tool in kept]
        assert len(names) == count
        if wanted not in names:
            found.append((request, wanted, names))
    return found


def milliseconds(tools: list[dict[str, Any]], pairs: list[tuple[str, str]]) -> tuple[float, float]:
    """The median time of a request, and the time of the first one with new tools."""
    times = []
    for request, _ in pairs:
        messages = parse_messages(request)
        began = time.perf_counter()
        select_tools(tools, messages, 2)
        times.append(time.perf_counter() - began)
    selection._ranking.cache_clear()
    began = time.perf_counter()
    select_tools(tools, parse_messages(pairs[0][0]), 2)
    return 1000 * statistics.median(times), 1000 * (time.perf_counter() - began)


def print_row(name: str, tools: list[dict[str, Any]], pairs: list[tuple[str, str]]) -> None:
    """The share of requests whose tool is kept, by how many are."""
    shares = [1 - len(misses(tools, pairs, count)) / len(pairs) for count in KEPT]
    cells = "  ".join(f"{n}: {share:4.0%}" for n, share in zip(KEPT, shares, strict=True))
    print(f"{name:14} {len(pairs):4} requests  {cells}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", action="store_true", help="print the requests that fail")
    parser.add_argument("--bfcl", action="store_true", help="sets of BFCL, too")
    wanted = parser.parse_args()
    tools, pairs = load()
    print(f"{len(tools)} tools: the share of requests whose tool is among so many that are kept")
    for name, half in {"chosen on": pairs[::2], "others": pairs[1::2], "all": pairs}.items():
        print_row(name, tools, half)
    for name in ("simple", "multiple", "live_simple", "live_multiple") if wanted.bfcl else ():
        print_row(name, *load_bfcl(name))
    each, first = milliseconds(tools, pairs)
    print(f"{each:.2f} ms a request, {first:.1f} ms with tools that are new")
    if wanted.misses:
        for request, tool, kept in misses(tools, pairs[::2], 2):
            print(f"{request} -> {tool}, kept {', '.join(kept)}")


if __name__ == "__main__":
    main()
