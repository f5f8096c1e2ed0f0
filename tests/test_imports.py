"""Imports go one way: nn -> graph -> native below, the product's rooms above, the CLI on top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "python" / "cactus"

ENGINE = {"nn", "graph", "native", "models"}

PRODUCT = {
    "api",
    "audio",
    "chat",
    "cli",
    "cloud",
    "generate",
    "model",
    "rag",
    "server",
    "speech",
    "tokenizer",
    "types",
    "vision",
    "weights",
}

# What a room must never import. A room that is not here may import anything but the CLI.
FORBIDDEN = {
    **{room: PRODUCT for room in ENGINE},
    "graph": PRODUCT | {"nn", "models"},
    "native": PRODUCT | {"nn", "models"},
    "nn": PRODUCT | {"models"},
    # A conversion proves that what it writes can be loaded.
    "weights": PRODUCT - {"weights", "tokenizer"},
    "tokenizer": PRODUCT | {"nn", "graph", "native", "models"},
    # `cactus build` is about the native library itself, so the CLI may look at that room.
    "cli": {"nn", "graph", "models", "generate", "chat", "speech"},
    "__main__": PRODUCT - {"cli"},
    "server": {"nn", "graph", "native", "models", "generate", "cli"},
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The first part of a path below the package: its folder, or the name of a top file."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a file imports, at any depth of its code, with line numbers."""
    package = ["cactus", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*full, alias.name] for alias in node.names]
        else:
            continue
        yield from ((name[1], node.lineno) for name in names if name[0] == "cactus" and name[1:])


def violations(path: Path) -> list[str]:
    room = room_of(path)
    forbidden = FORBIDDEN.get(room, {"cli"}) - {room}
    return [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for name, line in imported(path)
        if name in forbidden
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_nothing_above_it(path: Path) -> None:
    assert violations(path) == []


def test_all_spellings_of_an_import_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "graph" / "deep").mkdir(parents=True)
    file = tmp_path / "graph" / "deep" / "x.py"
    file.write_text(
        "import cactus.chat\n"
        "from cactus import rag, errors\n"
        "from cactus.server.app import run\n"
        "from ... import api\n"
        "from ...model import Model\n"
        "from ..node import Node\n"
        "def late():\n"
        "    from ...cli import main\n"
    )
    found = [line.partition("imports ")[2] for line in violations(file)]
    assert found == ["chat", "rag", "server", "api", "model", "cli"]


def test_every_room_is_known() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms <= ENGINE | PRODUCT
