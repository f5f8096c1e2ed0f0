"""`cactus index`, `search`, `ask` and `run --docs`, as a person sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus.cli.main import run_cli
from tests.cli.terminal import Terminal

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    """./docs, and a model called tiny that makes vectors and answers; nobody else's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("CACTUS_EMBEDDER", raising=False)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny").symlink_to(tiny_model)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "guide.md").write_text("# Setup\n\nRun the script called setup.\n")
    (docs / "walrus.txt").write_text("The walrus eats clams.\n")
    (docs / ".secret").write_text("hidden\n")
    return docs


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; its exit status, and what it wrote."""

    def work(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(arguments)
        return status, *capfd.readouterr()

    return work


def test_a_folder_is_indexed_and_what_is_left_out_is_counted(run: Run, folder: Path) -> None:
    status, out, _ = run("index", "docs", "--embedder", "tiny", "-q")
    assert status == 0
    assert out.startswith(f"{folder}: 2 files, 2 chunks\n")
    assert re.search(r"files +2 added, 0 changed, 0 removed, 0 unchanged; 2 chunks embedded", out)
    assert re.search(r"embedder +tiny", out)
    assert re.search(r"1 hidden +\.secret", out)
    (folder / "new.md").write_text("One more.")
    row = json.loads(run("index", "docs", "--json", "-q")[1])  # the embedder is remembered
    assert (row["added"], row["unchanged"], row["embedded"]) == (1, 2, 1)
    assert (row["embedder"], row["skipped"]) == ("tiny", {"hidden": 1})
    assert not Path(row["index"]).is_relative_to(folder)


def test_a_search_says_where_and_how_well(run: Run) -> None:
    run("index", "docs", "--embedder", "tiny", "-q")
    status, out, _ = run("search", "docs", "walrus", "clams", "-q")
    assert status == 0
    assert re.match(r"[01]\.\d\d  docs/walrus\.txt:1\n      “The walrus eats clams\.”", out)
    row = json.loads(run("search", "docs", "walrus", "--json", "--top-k", "1")[1])
    assert row["chunks"] == 2
    assert [hit["source"] for hit in row["hits"]] == ["walrus.txt"]
    row = json.loads(run("search", "docs", "setup", "--json", "--path", "*.txt", "--all")[1])
    assert {hit["source"] for hit in row["hits"]} <= {"walrus.txt"}


def test_a_search_of_what_is_indexed_so_far_reads_no_file(run: Run, folder: Path) -> None:
    run("index", "docs", "--embedder", "tiny", "-q")
    (folder / "new.txt").write_text("The narwhal eats cod.\n")
    row = json.loads(run("search", "docs", "narwhal", "--no-sync", "--json", "--all")[1])
    assert row["chunks"] == 2 and "new.txt" not in {hit["source"] for hit in row["hits"]}
    row = json.loads(run("search", "docs", "narwhal", "--json")[1])
    assert row["chunks"] == 3 and row["hits"][0]["source"] == "new.txt"


def test_a_search_without_a_hit_says_so_and_fails(run: Run) -> None:
    run("index", "docs", "--embedder", "tiny", "-q")
    status, out, err = run("search", "docs", "zzz", "--mode", "lexical")
    assert (status, out) == (1, "")
    assert "Nothing in 2 chunks" in err and "--all" in err
    status, out, err = run("search", "docs", "zzz", "--mode", "lexical", "--all")
    assert (status, out) == (1, "") and "Nothing in 2 chunks fits" in err and "--all" not in err


def test_a_search_by_words_needs_no_embedder(run: Run, folder: Path) -> None:
    search = ("search", "docs", "walrus", "-q", "--json")
    assert "no embedder is on this machine" in run(*search)[2]
    status, out, _ = run(*search, "--mode", "lexical")
    assert status == 0
    assert [hit["source"] for hit in json.loads(out)["hits"]] == ["walrus.txt"]
    (folder / "new.txt").write_text("The walrus swims.\n")
    row = json.loads(run(*search, "--mode", "lexical")[1])
    assert {hit["source"] for hit in row["hits"]} == {"walrus.txt", "new.txt"}
    row = json.loads(run("index", "docs", "--embedder", "tiny", "-q", "--json")[1])
    assert row["rebuilt"] == "it was made with the embedder words alone" and row["embedded"] == 3


def test_a_search_by_words_keeps_the_vectors_of_a_missing_embedder(run: Run, folder: Path) -> None:
    run("index", "docs", "--embedder", "tiny", "-q")
    tiny = folder.parent / "weights" / "tiny"
    tiny.rename(folder.parent / "away")
    (folder / "new.txt").write_text("The walrus swims.\n")
    status, out, err = run("search", "docs", "walrus", "--mode", "lexical", "--json")
    assert status == 0 and "vectors of tiny, and no embedder was found" in " ".join(err.split())
    assert [hit["source"] for hit in json.loads(out)["hits"]] == ["walrus.txt"]
    (folder.parent / "away").rename(tiny)
    row = json.loads(run("index", "docs", "-q", "--json")[1])
    assert (row["rebuilt"], row["unchanged"], row["embedded"]) == (None, 2, 1)


def test_a_search_by_words_fills_an_index_that_has_no_vectors_yet(run: Run, folder: Path) -> None:
    documents = [path.rename(folder.parent / path.name) for path in sorted(folder.iterdir())]
    assert "nothing to search" in run("index", "docs", "--embedder", "tiny", "-q")[2]
    (folder.parent / "weights" / "tiny").rename(folder.parent / "away")
    for path in documents:
        path.rename(folder / path.name)
    status, out, _ = run("search", "docs", "walrus", "--mode", "lexical", "--json")
    assert status == 0
    assert [hit["source"] for hit in json.loads(out)["hits"]] == ["walrus.txt"]


def test_an_answer_shows_what_supports_it(run: Run) -> None:
    status, out, err = run("ask", "docs", "What does it eat?", "-m", "tiny", "--max-tokens", "4")
    assert status == 0
    assert out
    assert "2 of 2 chunks read; found with tiny" in err
    assert "cactus download all-minilm-l6-v2" in err  # tiny has made the vectors, too
    command = ["ask", "docs", "What?", "-m", "tiny", "--max-tokens", "4", "--json", "--embedder"]
    row = json.loads(run(*command, "tiny")[1])
    assert (row["chunks"], row["whole"], row["model"]) == (2, True, "tiny")
    assert [each["source"] for each in row["passages"]] == ["guide.md", "walrus.txt"]
    assert row["citations"] == []


def test_a_chat_answers_from_documents(run: Run) -> None:
    command = ["run", "tiny", "--docs", "docs", "-p", "What does it eat?", "--max-tokens", "4"]
    status, out, err = run(*command)
    assert (status, bool(out)) == (0, True)
    assert "2 of 2 chunks read" in err
    status, _, err = run(*command, "-q")
    assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "nowhere"), "there is no folder nowhere"),
        (("search", "docs/guide.md", "x"), "is a file"),
        (("index", "docs"), "cactus download all-minilm-l6-v2"),
        (("search", "docs", "x"), "cactus download all-minilm-l6-v2"),
        (("index", "docs", "--embedder", "tinny"), "tinny"),
        (("ask", "docs", "x", "-m", "tinny", "--offline"), "tinny"),
        (("run", "tiny", "--docs", "nowhere", "-p", "x"), "there is no folder nowhere"),
    ],
)
def test_what_is_missing_is_named(run: Run, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert message in err


@pytest.mark.parametrize("arguments", [("ask", "docs"), ("search", "docs"), ("index",)])
def test_a_missing_argument_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert "Missing argument" in err


def test_a_pattern_that_no_file_is_like_is_named(run: Run) -> None:
    run("index", "docs", "--embedder", "tiny", "-q", "--include", "*.zz")
    status, _, err = run("search", "docs", "walrus")  # the pattern is kept
    assert status == 1 and "only files like *.zz are read" in err.replace("\n", " ")


def test_a_folder_without_documents_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = run("index", "empty", "--embedder", "tiny", "-q")
    assert status == 1
    assert "no document could be read" in err


def test_a_terminal_gets_links(folder: Path) -> None:
    run_cli(["index", "docs", "--embedder", "tiny", "-q"])
    terminal = Terminal(100, "search", "docs", "walrus")
    seen: list[str] = []
    feed = terminal.stream.feed
    terminal.stream.feed = lambda data: (seen.append(data), feed(data))[1]  # type: ignore[method-assign]
    assert terminal.leave() == 0
    link = f"\x1b]8;;{(folder / 'walrus.txt').as_uri()}\x1b\\docs/walrus.txt:1\x1b]8;;\x1b\\"
    assert link in "".join(seen)


def test_a_watched_folder_is_taken_up_until_ctrl_c(folder: Path) -> None:
    terminal = Terminal(100, "index", "docs", "--embedder", "tiny", "--watch")
    terminal.wait_for(lambda: any("2 added" in line for line in terminal.lines))
    (folder / "late.md").write_text("A page that came later.")
    terminal.wait_for(lambda: any("1 added" in line for line in terminal.lines))
    terminal.child.sendintr()
    assert terminal.leave() == 130


def test_the_chat_has_a_command_for_its_documents(folder: Path) -> None:
    terminal: Any = Terminal(100, "run", "tiny", "--docs", "docs", "--no-history")
    terminal.wait_for(lambda: any(line.startswith(">") for line in terminal.lines))
    terminal.child.send("/docs\r")
    terminal.wait_for(lambda: any("2 files, 2 chunks" in line for line in terminal.lines))
    terminal.child.send("/docs walrus\r")
    terminal.wait_for(lambda: any("walrus.txt:1" in line for line in terminal.lines))
    terminal.child.send("/bye\r")
    assert terminal.leave() == 0
