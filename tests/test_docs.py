"""The pages name what is there: links, errors, options, environment variables, the version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import cactus
from cactus import errors
from cactus.engine.options import LoadArguments
from cactus.generate.options import ChatOptions
from cactus.speech.options import TranscribeOptions

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\n") if name]


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: there is no {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link} has no such heading"


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "README.md").read_text("utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked


def test_the_map_of_the_code_has_every_room() -> None:
    rooms = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("\n## ")[2]
    assert rooms.startswith("Rooms")
    package = ROOT / "python" / "cactus"
    there = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert there <= set(re.findall(r"(\w+)/", rooms))


def first_column(page: str) -> list[str]:
    """The names in backquotes in the first cells of a page's tables."""
    rows = re.findall(r"^\| (.+?) \|", (DOCS / page).read_text("utf-8"), re.M)
    return re.findall(r"`(\w+)`", " ".join(rows))


def test_every_error_is_explained_once() -> None:
    known = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.CactusError)
    }
    assert sorted(first_column("errors.md")) == sorted(known)


def test_every_option_is_explained() -> None:
    assert {*LoadArguments.__annotations__, *ChatOptions.__annotations__} <= set(
        first_column("python-api.md")
    )
    assert set(TranscribeOptions.__annotations__) <= set(
        re.findall(r"`(\w+)`", (DOCS / "speech.md").read_text("utf-8"))
    )


def test_every_environment_variable_is_explained() -> None:
    read = set()
    for room, pattern in (("python", "*.py"), ("native", "*.cpp")):
        for file in (ROOT / room).rglob(pattern):
            text = file.read_text("utf-8")
            read |= set(re.findall(r"(?:environ\S*|getenv\()\s*\"(CACTUS_\w+)\"", text))
    assert {"CACTUS_ISA", "CACTUS_THREADS", "CACTUS_WEIGHTS"} <= read
    assert read <= set(first_column("install.md"))


def test_the_version_is_the_same_everywhere() -> None:
    build = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert re.findall(r"^project\(.* VERSION ([\d.]+)\)$", build, re.M) == [cactus.__version__]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(\d.+)\] - \d{4}-\d\d-\d\d$", changes, re.M)
    assert released[0] == cactus.__version__
    assert changes.index("## [Unreleased]") < changes.index(f"## [{released[0]}]")
