"""What the tools share that write a file, or a part of one: with --check they only compare.

Their exit status is then 1 when the file is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

END = "<!-- end -->"


def finish(target: Path, text: str, tool: str) -> int:
    """Write `text` to `target`, or compare the two; the exit status for the script `tool`."""
    if "--check" in sys.argv[1:]:
        same = target.read_text("utf-8") == text
        advice = f"{target} differs: run python tools/{Path(tool).name}"
        print("up to date" if same else advice)
        return int(not same)
    target.write_text(text, "utf-8")
    return 0


def finish_part(page: Path, text: str, tool: str) -> int:
    """`finish` for what stands between the two markers of `page`."""
    begin = f"<!-- begin: tools/{Path(tool).name} writes what follows -->"
    before, begun, rest = page.read_text("utf-8").partition(begin)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise SystemExit(f"{page}: expected the markers {begin} and {END}")
    return finish(page, f"{before}{begin}\n\n{text}\n{END}{after}", tool)
