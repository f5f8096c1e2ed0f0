"""`cactus embed` and `cactus rerank`: lines in, lines out, and bad lines by their number."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cactus import Model, RankedText
from cactus.cli import embed as command
from cactus.cli.main import run_cli
from cactus.cli.vectors import VectorWriter
from cactus.errors import ContextLengthExceeded
from tests.cli.terminal import Terminal
from tests.embed.conftest import write_embedder

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedder with a limit, prompts, and vectors that may be cut."""
    target = tmp_path_factory.mktemp("embedder") / "tiny-embedder"
    return write_embedder(target, tiny_model, prompts={"query": "q: "}, matryoshka=[8])


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    with Model(folder, threads=1) as made:
        yield made


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folder: Path,
) -> Run:
    """Runs a command in a folder of its own; gives its status, its lines as JSON, and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(
        *arguments: str, stdin: bytes | None = None, model: Path | None = folder
    ) -> tuple[int, list[dict[str, Any]], str]:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        named = () if model is None else ("--model", str(model))
        status = run_cli([*arguments, *named])
        said = capsys.readouterr()
        return status, [json.loads(line) for line in said.out.splitlines()], said.err

    return call


def vector(row: dict[str, Any]) -> np.ndarray:
    return np.array(row["embedding"], np.float32)


def test_each_line_is_a_text(run: Run, tmp_path: Path, model: Model) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffHello\r\n\n 世界".encode())
    status, rows, err = run("embed", "a.txt")
    assert (status, [row["index"] for row in rows]) == (0, [0, 1, 2])
    expected = model.embed(["Hello", "", " 世界"])
    assert np.stack([vector(row) for row in rows]).tobytes() == expected.tobytes()
    assert "embedding: done" in err and "bytes" not in err
    assert run("embed", "a.txt", "--quiet")[2] == ""


def test_fields_of_json_are_kept(run: Run, model: Model) -> None:
    lines = b'{"id": "a", "text": "x", "n": [1]}\n\n{"text": "\\ud83c\\udf35", "id": null}\n'
    for source in ((), ("-",)):
        status, rows, _ = run("embed", *source, stdin=lines)
        assert status == 0
        assert [(row["id"], row["index"]) for row in rows] == [("a", 0), (None, 2)]
        assert rows[0]["n"] == [1] and "text" not in rows[0]
        assert vector(rows[1]).tobytes() == model.embed("🌵").tobytes()


def test_what_is_a_text_can_be_said(run: Run, model: Model) -> None:
    lines = b'{"title": "x"}\n'
    (row,) = run("embed", "--field", "title", stdin=lines)[1]
    assert vector(row).tobytes() == model.embed("x").tobytes()
    (row,) = run("embed", "--input", "lines", stdin=lines)[1]
    assert vector(row).tobytes() == model.embed('{"title": "x"}').tobytes()
    rows = run("embed", "--text", "a", "--text", "b")[1]
    assert [row["index"] for row in rows] == [0, 1]


BAD = b"\n".join(
    [b'{"text": "a"}', b"{", b"[1]", b'{"id": 5}', b'{"text": 5}', b"\xff", b'{"text": "b"}']
)


def test_a_bad_line_is_named_and_the_others_go_on(run: Run, model: Model) -> None:
    status, rows, err = run("embed", stdin=BAD)
    assert (status, [row["index"] for row in rows]) == (1, [0, 6])
    for said in (
        "cactus: standard input, line 2: is not JSON",
        "line 3: is not a JSON object",
        "line 4: has no text in its field 'text': got nothing",
        "line 5: has no text in its field 'text': got int",
        "line 6: is not UTF-8 (at byte 0)",
    ):
        assert said in err
    assert vector(rows[1]).tobytes() == model.embed("b").tobytes()


def test_a_text_over_the_limit_is_named_or_cut(run: Run, model: Model) -> None:
    lines = b"a\n" + b"b" * 50 + b"\nc\n"
    status, rows, err = run("embed", stdin=lines)
    assert (status, [row["index"] for row in rows]) == (1, [0, 2])
    assert "line 2: has 50 tokens, and the model takes 40; --truncate reads the beginning" in err
    status, rows, _ = run("embed", "--truncate", stdin=lines)
    assert (status, len(rows)) == (0, 3)
    assert vector(rows[1]).tobytes() == model.embed("b" * 40).tobytes()
    status, rows, err = run("embed", "--text", "a", "--text", "b" * 50)
    assert (status, len(rows)) == (1, 1) and "cactus: --text 2: has 50 tokens" in err


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (["--prompt", "query"], {"prompt": "query"}),
        (["--dimensions", "9"], {"dimensions": 9}),
        (["--normalize"], {"normalize": True}),
        (["--no-normalize"], {"normalize": False}),
        (["--threads", "2"], {}),
    ],
)
def test_options_are_those_of_the_method(
    run: Run, model: Model, options: list[str], same: dict[str, Any]
) -> None:
    (row,) = run("embed", "--text", "Hello", *options)[1]
    assert vector(row).tobytes() == model.embed("Hello", **same).tobytes()


def test_an_array_is_written_whole_or_not_at_all(run: Run, tmp_path: Path, model: Model) -> None:
    status, rows, _ = run("embed", "--format", "npy", "--output", "v.npz", stdin=b"a\nb\n")
    assert (status, rows) == (0, [])
    assert np.load(tmp_path / "v.npz").tobytes() == model.embed(["a", "b"]).tobytes()
    assert run("embed", "--format", "npy", "--output", "w", stdin=BAD)[0] == 1
    assert not (tmp_path / "w").exists()
    assert run("embed", "--format", "npy", "--output", "none", stdin=b"")[0] == 0
    assert np.load(tmp_path / "none").shape == (0, 64)


def test_lines_are_written_into_a_file(run: Run, tmp_path: Path) -> None:
    assert run("embed", "--output", "v.jsonl", "--text", "a")[:2] == (0, [])
    assert json.loads((tmp_path / "v.jsonl").read_text())["index"] == 0


def test_a_file_is_not_written_over_itself(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "link").symlink_to("a.txt")
    for output in ("a.txt", "./a.txt", "link"):
        status, _, err = run("embed", "a.txt", "--output", output)
        assert status == 2 and f"{Path(output)} is what is read" in err
    assert (tmp_path / "a.txt").read_text() == "a\n"


def test_a_wrong_option_leaves_the_output_as_it_was(run: Run, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text("before")
    assert run("embed", "--text", "a", "--prompt", "other", "--output", "v.jsonl")[0] == 1
    assert (tmp_path / "v.jsonl").read_text() == "before"


def test_each_line_that_is_written_is_json(run: Run, model: Model) -> None:
    half = '"\\ud800"'
    lines = f'{{"text": "a", "id": {half}}}\n{{"text": {half}}}\n'
    lines += '{"text": "b", "id": NaN}\n{"text": "c", "id": 1e999}\n{"text": "d", "id": 1e9}\n'
    status, rows, err = run("embed", stdin=lines.encode())
    assert (status, [row["index"] for row in rows]) == (1, [0, 1, 4])
    assert rows[0]["id"] == "\ud800" and rows[2]["id"] == 1e9
    assert vector(rows[1]).tobytes() == model.embed("\ufffd").tobytes()
    assert "line 3: is not JSON: NaN" in err and "line 4: is not JSON: 1e999 is too large" in err


class Blocks(VectorWriter):
    """Two blocks, and what a file has when the second is asked for."""

    def __init__(self, file: Path) -> None:
        self.file, self.written = file, ""

    def empty(self) -> np.ndarray:
        return np.zeros((0, 1), np.float32)

    def blocks(self) -> Iterator[Any]:
        yield [{"index": 0}], np.ones((1, 1), np.float32)
        yield [{"index": 1}], np.ones((1, 1), np.float32)
        self.written = self.file.read_text()
        yield [{"index": 2}], np.ones((1, 1), np.float32)


def test_lines_are_in_the_file_before_more_are_made(tmp_path: Path) -> None:
    made = Blocks(tmp_path / "out")
    made.write_lines(made.file)
    assert [json.loads(line)["index"] for line in made.written.splitlines()] == [0, 1]
    assert len(made.file.read_text().splitlines()) == 3


def test_lines_on_a_narrow_terminal_are_those_of_a_file(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    arguments = ["embed", "--text", "two words", "--text", "more of them", "--model", str(folder)]
    assert run(*arguments, "--output", "out", model=None)[0] == 0
    terminal = Terminal(40, *arguments)
    shown = terminal.child.read()
    assert terminal.leave() == 0
    for line in (tmp_path / "out").read_text().splitlines():
        assert f"{line}\r\n" in shown


def test_more_lines_than_a_block_are_all_there(
    run: Run, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BLOCK", 4)
    texts = [f"text {n}" for n in range(10)]
    rows = run("embed", stdin="\n".join(texts).encode())[1]
    assert np.stack([vector(row) for row in rows]).tobytes() == model.embed(texts).tobytes()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["embed", "no-such-file"], 2, "does not exist"),
        (["embed", "--text", "a", "-"], 2, "not both"),
        (["embed", "--text", "a", "--dimensions", "0"], 2, "must be a whole number"),
        (["embed", "--text", "a", "--prompt", "x"], 1, "prompt must be one of"),
        (["embed", "--text", "a", "--dimensions", "4"], 1, "dimensions must be an integer from 8"),
        (["rerank"], 2, "QUERY"),
        (["rerank", "q", "no-such-file"], 2, "does not exist"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    run: Run, arguments: list[str], status: int, message: str
) -> None:
    found, rows, err = run(*arguments, stdin=b"")
    assert (found, rows) == (status, []) and message in err


def test_a_terminal_is_no_file_and_gets_no_array(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert "pipe texts into the command" in run("embed")[2]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "give --output FILE" in run("embed", "--text", "a", "--format", "npy")[2]


def test_the_model_that_is_not_named(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny").symlink_to(tiny_model)
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    status, _, err = run("embed", "--text", "a", "--offline", model=None)
    assert status == 1 and "all-MiniLM-L6-v2 is not on this machine" in err
    monkeypatch.setenv("CACTUS_EMBEDDER", "tiny")
    assert run("embed", "--text", "a", "--offline", model=None)[0] == 0


class Ranker:
    """Scores a text by its length; one with an x in it does not fit."""

    def __init__(self, *_: object, **__: object) -> None:
        self.asked: list[list[str]] = []

    def __enter__(self) -> Ranker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def rerank(
        self, query: str, texts: list[str], truncate: bool = False, progress: Any = None
    ) -> list[RankedText]:
        if "x" in query:
            raise ContextLengthExceeded("the query takes 9 tokens", prompt_tokens=9, limit=8)
        for index, text in enumerate(texts):
            if "x" in text and not truncate:
                raise ContextLengthExceeded(f"texts[{index}]", prompt_tokens=9, limit=8)
        scored = [RankedText(n, len(text) / 100, text) for n, text in enumerate(texts)]
        return sorted(scored, key=lambda each: -each.score)


@pytest.fixture
def ranking(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("cactus.model.Model", Ranker)
    monkeypatch.setattr("cactus.cli.models.find_text_model", lambda *_, **__: Path("x"))
    return run


def test_the_best_come_first_with_their_fields(ranking: Run) -> None:
    lines = b'{"id": 1, "text": "aa"}\n{"id": 2, "text": "aaaa"}\n{"id": 3, "text": "a"}\n'
    status, rows, _ = ranking("rerank", "q", stdin=lines)
    assert status == 0
    assert [(row["id"], row["index"], row["score"], row["text"]) for row in rows] == [
        *((2, 1, 0.04, "aaaa"), (1, 0, 0.02, "aa"), (3, 2, 0.01, "a"))
    ]
    assert [row["id"] for row in ranking("rerank", "q", "--top-k", "1", stdin=lines)[1]] == [2]


def test_lines_that_cannot_be_ranked_are_named(ranking: Run) -> None:
    status, rows, err = ranking("rerank", "q", stdin=b"a\nx\nbb\n\xff\n")
    assert (status, [row["index"] for row in rows]) == (1, [2, 0])
    assert "line 2: has 9 tokens, and the model takes 8" in err and "line 4: is not UTF-8" in err
    status, rows, _ = ranking("rerank", "q", "--truncate", stdin=b"a\nx\nbb\n")
    assert (status, [row["index"] for row in rows]) == (0, [2, 0, 1])
    assert ranking("rerank", "q", stdin=b"x\n")[0] == 1


def test_a_query_that_is_too_long_is_no_fault_of_the_lines(ranking: Run) -> None:
    status, rows, err = ranking("rerank", "x", "--truncate", stdin=b"a\nb\n")
    assert (status, rows) == (1, []) and "the query takes 9 tokens" in err and "line 1" not in err


def test_a_model_that_cannot_rank_is_refused(run: Run) -> None:
    status, _, err = run("rerank", "q", stdin=b"a\n")
    assert status == 1 and "cannot rank texts by a query" in err
