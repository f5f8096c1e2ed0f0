"""Two builds of the same sources are the same bytes, and what differs is named."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

PYTHON_ALONE = '{"wheel.cmake": "false"}'
"""Without the native library, which takes minutes; the tool alone builds all of it."""


def test_packages_built_twice_are_the_same(tool: Any) -> None:
    sums, found = tool("check_reproducible").check(PYTHON_ALONE, clock=False)
    assert found == []
    assert sorted(name.rpartition(".")[2] for name in sums) == ["gz", "whl"]


def test_what_differs_is_named(tool: Any) -> None:
    kept = '{"wheel.cmake": "false", "wheel.reproducible": "false"}'
    _, found = tool("check_reproducible").check(kept, clock=False)
    assert any("cactus/model.py" in line for line in found)  # by the times of its files


def test_a_member_with_other_bytes_is_named(tool: Any, tmp_path: Path) -> None:
    paths = [tmp_path / name / "x.whl" for name in "ab"]
    for path, data in zip(paths, (b"abc", b"abd"), strict=True):
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo("same"), b"same")
            archive.writestr(zipfile.ZipInfo("other"), data)
    differences = tool("check_reproducible").differences
    assert differences(*paths) == ["x.whl: other: other bytes from 2 on (3, 3)"]
    assert differences(paths[0], paths[0]) == []
