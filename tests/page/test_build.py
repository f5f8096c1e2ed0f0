"""The built page is what its sources make, small, and needs nothing from elsewhere."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page import kit

FIRST_LOAD = 250_000
"""Bytes, compressed, before one can write."""


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_node(*words: str, **environment: str) -> None:
    kit.modules()
    done = subprocess.run(
        [kit.node(), *words],
        cwd=kit.PAGE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"node {' '.join(words)}\n{done.stdout}{done.stderr}"


def test_the_committed_page_is_what_its_sources_make(tmp_path: Path) -> None:
    run_node("node_modules/vite/bin/vite.js", "build", PAGE_OUT=str(tmp_path / "built"))
    built, committed = files(tmp_path / "built"), files(kit.BUILT)
    assert sorted(built) == sorted(committed), "build the page again: see page/README.md"
    assert [name for name in built if built[name] != committed[name]] == []


def test_the_sources_have_no_wrong_types() -> None:
    run_node("node_modules/typescript/bin/tsc", "--project", ".")


def test_the_parts_that_need_no_browser() -> None:
    run_node("--test", *map(str, sorted((kit.PAGE / "test").glob("*.test.ts"))))


def loaded_first() -> Iterator[str]:
    """The page itself, and what it loads before anybody does anything."""
    seen = ["index.html"]
    for name in seen:
        yield name
        if name.endswith((".html", ".js")):
            text = (kit.BUILT / name).read_text()
            # Static imports and the tags of the page; `import(...)` comes later.
            pattern = r"""(?:\bfrom\s*|\bimport\s*|(?:src|href)=)["'](\./[^"']+)["']"""
            for found in re.findall(pattern, text):
                path = str(Path(os.path.normpath(Path(name).parent / found)))
                if path not in seen:
                    seen.append(path)


def test_the_first_load_is_small() -> None:
    names = list(loaded_first())
    assert any(name.endswith(".js") for name in names)
    assert any(name.endswith(".css") for name in names)
    size = sum(len(gzip.compress((kit.BUILT / name).read_bytes())) for name in names)
    assert size <= FIRST_LOAD


def test_the_page_without_fonts_is_a_few_hundred_kilobytes() -> None:
    sizes = {name: len(data) for name, data in files(kit.BUILT).items()}
    assert sum(size for name, size in sizes.items() if not name.endswith(".woff2")) < 800_000
    assert not [name for name in sizes if name.endswith((".woff", ".ttf", ".map"))]


def test_formulas_and_colours_are_loaded_when_they_are_needed() -> None:
    first = "".join((kit.BUILT / name).read_text() for name in loaded_first())
    assert "katex" in first  # the address of what comes later
    assert "\\\\displaystyle" not in first and "hljs-" not in first.replace(".hljs-", "")


@pytest.mark.fault("F82")
@pytest.mark.parametrize("word", ["<script>", "<style", " style=", " onload=", "javascript:"])
def test_the_page_has_nothing_inline(word: str) -> None:
    assert word not in (kit.BUILT / "index.html").read_text()


def test_names_of_assets_change_with_their_bytes() -> None:
    names = [name for name in files(kit.BUILT) if name not in ("index.html", "licenses.txt")]
    assert names and all(re.search(r"-[\w-]{8}\.\w+$", name) for name in names)
