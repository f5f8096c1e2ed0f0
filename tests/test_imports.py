"""Imports go one way, down the list of rooms; inside a room and between rooms, none is a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "cactus"

# From the lowest to the highest: a file imports from its own room and from those before it. A file
# is in the room whose path is the longest that fits. With a room stand those before it that it must
# not import all the same.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors.py": (),
    "compat.py": (),
    "post_order.py": (),
    "inputs/": (),
    "schemas/": (),
    "segments.py": (),
    "passages.py": (),
    "subtitles.py": (),
    "types.py": (),
    "progress.py": (),
    "machine.py": (),
    "child.py": (),
    "calls/": (),
    "audio/": (),
    "images/": (),
    "tokenizer/": (),
    "documents/": ("tokenizer/", "audio/"),
    "graph/": (),
    "native/": (),
    "retrieval/": ("tokenizer/", "audio/", "graph/"),
    "nn/": (),
    "models/": (),
    "weights/format/": (),
    "weights/packages.py": (),
    "weights/catalog.py": (),
    "weights/names.py": (),
    "weights/sources/gguf/": (),
    "weights/sources/": (),
    "weights/rounding/": (),
    "weights/hub/": (),
    "weights/": (),
    "chat/": (),
    "confidence/": (),
    "grammar/": (),
    "engine/": (),
    "embed/": (),
    "vision/": (),
    "generate/": (),
    "agent/": (),
    "speech/": (),
    "cloud/": ("speech/",),
    "corpus/": ("cloud/",),
    "model.py": (),
    "channels.py": (),
    "arguments.py": (),
    "handles.py": (),
    "api.py": (),
    "__init__.py": (),
    # As the commands: a server translates, and what a model can do it asks of `Model`.
    "server/": (
        "graph/",
        "native/",
        "nn/",
        "models/",
        "chat/",
        "embed/",
        "generate/",
        "speech/",
        "arguments.py",
        "handles.py",
        "api.py",
        "__init__.py",
    ),
    # A job over many rows asks a `Model`, too.
    "batch/": (
        "graph/",
        "native/",
        "nn/",
        "chat/",
        "embed/",
        "generate/",
        "speech/",
        "arguments.py",
        "handles.py",
        "api.py",
    ),
    "mcp/": ("graph/", "native/", "nn/", "models/", "chat/", "embed/", "generate/", "speech/"),
    # What a model can do the commands ask of `Model`.
    "cli/": ("graph/", "nn/", "models/", "chat/", "embed/", "generate/", "speech/"),
    "__main__.py": (),
}
ORDER = list(ROOMS)


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room of a file, or of the folder of a package."""
    name = path.relative_to(PACKAGE).as_posix() + ("" if path.suffix else "/")
    fitting = [
        room for room in ROOMS if name == room or (room[-1] == "/" and name.startswith(room))
    ]
    return max(fitting, key=len, default=f"{name} is in no room")


def module(names: list[str]) -> Path | None:
    """The file of the module that ``cactus.a.b`` is or is in; None where it is not ours."""
    if names[0] != "cactus":
        return None
    path = PACKAGE
    for name in names[1:]:
        if (path / f"{name}.py").is_file():
            return path / f"{name}.py"
        if not (path / name).is_dir():
            break
        path /= name
    return path / "__init__.py"


def imported(path: Path) -> Iterator[tuple[Path, int]]:
    """The files that a file imports, at any depth of its code, with line numbers.

    What is imported for its types alone counts, too: who knows a type knows its room.
    """
    package = ["cactus", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*full, alias.name] for alias in node.names]
        else:
            continue
        for file in filter(None, map(module, names)):
            yield file, node.lineno


def violations(path: Path) -> list[str]:
    room = room_of(path)
    allowed = set(ORDER[: ORDER.index(room) + 1]) - set(ROOMS[room])
    return [
        f"{path.relative_to(PACKAGE)}:{line} imports {file.relative_to(PACKAGE)}"
        for file, line in imported(path)
        if room_of(file) not in allowed
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_nothing_above_it(path: Path) -> None:
    assert violations(path) == []


def in_circles() -> list[str]:
    """The files that import one another in a circle, and those that lead into one."""
    arrows = {path: {file for file, _ in imported(path)} - {path} for path in files()}
    while ends := [path for path, onto in arrows.items() if not onto & arrows.keys()]:
        for path in ends:
            del arrows[path]
    return [str(path.relative_to(PACKAGE)) for path in arrows]


def test_no_imports_run_in_a_circle() -> None:
    assert in_circles() == []


def test_a_circle_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    texts = {"a": "", "b": "from . import a, c", "c": "def late():\n    import cactus.d", "d": ""}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert in_circles() == []
    (tmp_path / "d.py").write_text("if TYPE_CHECKING:\n    from cactus.b import B")
    assert in_circles() == ["b.py", "c.py", "d.py"]


def test_all_spellings_of_an_import_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    above = ["chat/__init__.py", "chat/tools.py", "speech/live.py", "api.py", "model.py"]
    for name in [*above, "__init__.py", "cli/main.py", "errors.py", "graph/node.py"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "graph" / "deep").mkdir()
    file = tmp_path / "graph" / "deep" / "x.py"
    file.write_text(
        "import cactus.chat\n"
        "from cactus import chat, errors\n"
        "from cactus.chat.tools import run\n"
        "import cactus.speech.live as other\n"
        "from ... import api\n"
        "from ...model import Model\n"
        "from ..node import Node\n"
        "from cactus import Model\n"
        "if TYPE_CHECKING:\n"
        "    from cactus.chat import tools\n"
        "def late():\n"
        "    from ...cli import main\n"
    )
    found = [line.partition("imports ")[2] for line in violations(file)]
    assert found == [
        *("chat/__init__.py", "chat/__init__.py", "chat/tools.py", "speech/live.py", "api.py"),
        *("model.py", "__init__.py", "chat/tools.py", "cli/main.py"),
    ]


def test_every_room_is_there_and_every_file_is_in_one() -> None:
    assert {room_of(path) for path in files()} == set(ROOMS)


def test_the_map_of_the_code_draws_the_same_list() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    drawn = page.split("\n## Rooms")[1].split("```")[3]
    heads = [re.match(r"(?:\S+(?:/|\.py) +)*", line) for line in drawn.splitlines()]
    assert [room for head in heads if head for room in head[0].split()] == ORDER
