"""Walking a folder: what is found, what is skipped, and that nothing outside is ever reached."""

from __future__ import annotations

import os
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest

from cactus.documents.read import Reader
from cactus.documents.types import REASONS, Skipped, Summary
from cactus.documents.walk import FileEntry, walk
from cactus.errors import InvalidRequest
from tests.documents.made import look, write


def test_files_come_sorted_within_each_folder(tmp_path: Path) -> None:
    write(tmp_path, {"b.txt": "", "a/z.txt": "", "a/b/c.txt": "", "c.txt": "", "B.txt": ""})
    names, skipped = look(tmp_path)
    assert names == ["B.txt", "a/b/c.txt", "a/z.txt", "b.txt", "c.txt"]
    assert skipped == {}


@pytest.mark.fault("F71")
def test_a_folder_that_is_empty_gives_nothing(tmp_path: Path) -> None:
    assert look(tmp_path) == ([], {})


@pytest.mark.fault("F71")
@pytest.mark.parametrize("name", ["missing", "file.txt", "fifo"])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"file.txt": "x"})
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidRequest, match=f"{name} .*expected a folder"):
        walk(tmp_path / name)


def test_hidden_files_and_folders_are_left_out_unless_wanted(tmp_path: Path) -> None:
    write(tmp_path, {".a.txt": "", ".b/c.txt": "", "d.txt": "", ".git/config": ""})
    assert look(tmp_path) == (
        ["d.txt"],
        {".a.txt": "hidden", ".b": "hidden", ".git": "hidden"},
    )
    assert look(tmp_path, hidden=True) == ([".a.txt", ".b/c.txt", "d.txt"], {".git": "hidden"})


@pytest.mark.fault("F71")
def test_links_out_of_the_root_and_loops_are_skipped(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.txt": "a", "sub/b.txt": "b"})
    write(tmp_path, {"secret/key.txt": "key", "outside.txt": "x", "root2/c.txt": ""})
    for name, target in {
        "to-slash": "/",
        "to-secret": "../secret",
        "to-file": "../outside.txt",
        "to-sibling": "../root2",
        "sub/to-root": "..",
        "to-inside": "a.txt",
        "to-itself": "to-itself",
        "to-nothing": "nowhere",
    }.items():
        (root / name).symlink_to(target)
    names, skipped = look(root)
    assert names == ["a.txt", "sub/b.txt"]
    assert skipped == {
        "to-slash": "outside",
        "to-secret": "outside",
        "to-file": "outside",
        "to-sibling": "outside",
        "sub/to-root": "link",
        "to-inside": "link",
        "to-itself": "link",
        "to-nothing": "link",
    }


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "root", {"a.txt": "a"})
    (tmp_path / "link").symlink_to("root")
    assert look(tmp_path / "link") == (["a.txt"], {})


@pytest.mark.fault("F71")
def test_fifos_sockets_and_devices_are_skipped(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "fifo.txt")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.txt")
        assert look(tmp_path) == ([], {"fifo.txt": "special", "socket.txt": "special"})


@pytest.mark.fault("F71")
def test_a_folder_that_may_not_be_read_is_skipped(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path, {"a/x.txt": "", "b/y.txt": ""})
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert look(tmp_path) == (["b/y.txt"], {"a": "unreadable"})


@pytest.mark.fault("F71")
def test_a_file_deleted_meanwhile_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "", "b.txt": "", "c/d.txt": ""})
    found = walk(tmp_path)
    next(found)
    (tmp_path / "b.txt").unlink()
    assert next(found) == Skipped("b.txt", "gone")


@pytest.mark.fault("F71")
def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "root", {"a/x.txt": "", "b.txt": ""})
    write(tmp_path, {"secret/key.txt": ""})
    lstat = os.lstat

    def swap(path: str) -> os.stat_result:
        status = lstat(path)
        if str(path).endswith("/a") and (root / "a/x.txt").exists():
            (root / "a/x.txt").unlink()
            (root / "a").rmdir()
            (root / "a").symlink_to("../secret")
        return status

    monkeypatch.setattr(os, "lstat", swap)
    assert look(root) == (["b.txt"], {"a": "gone"})


def test_a_gitignore_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {".gitignore": "*.log\n", "a.txt": "", "x.log": ""})

    def refuse(path: str, _: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("cactus.documents.ignore.open", refuse, raising=False)
    found = list(walk(tmp_path))
    assert (
        Skipped(".gitignore", "unreadable", "its patterns are not used: Permission denied") in found
    )
    assert [each.name for each in found if isinstance(each, FileEntry)] == ["a.txt", "x.log"]


def test_gitignore_files_are_obeyed_the_nearest_last(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.log\nbuild/\n/top.txt\n",
            "a.log": "",
            "build/x.txt": "",
            "top.txt": "",
            "sub/top.txt": "",
            "sub/.gitignore": "!keep.log\n*.tmp\n",
            "sub/keep.log": "",
            "sub/other.log": "",
            "sub/deep/x.tmp": "",
            "x.tmp": "",
        },
    )
    names, skipped = look(tmp_path)
    assert names == ["sub/keep.log", "sub/top.txt", "x.tmp"]
    assert {path: reason for path, reason in skipped.items() if reason != "hidden"} == {
        path: "ignored" for path in ("a.log", "build", "top.txt", "sub/other.log", "sub/deep/x.tmp")
    }
    assert "a.log" in look(tmp_path, gitignore=False)[0]


def test_a_repository_above_and_its_exclude_file_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/info/exclude": "secret.txt\n",
            ".gitignore": "docs/drafts/\nbuild/\n",
            "docs/secret.txt": "",
            "docs/drafts/x.txt": "",
            "docs/a.txt": "",
            "build/b.txt": "",
        },
    )
    assert look(tmp_path / "docs") == (
        ["a.txt"],
        {"secret.txt": "ignored", "drafts": "ignored"},
    )
    # Who names an ignored folder wants it.
    assert look(tmp_path / "build") == (["b.txt"], {})


@pytest.mark.fault("F71")
@pytest.mark.timeout(20)
def test_a_pattern_that_would_take_forever_is_skipped_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.log\n" + "*a" * 40 + "b\n", "a" * 200: "", "x.log": ""})
    names, _ = look(tmp_path)
    assert names == ["a" * 200]
    details = [str(entry) for entry in walk(tmp_path) if isinstance(entry, Skipped)]
    assert any(".gitignore: damaged (line 2 is not used" in detail for detail in details)
    with pytest.raises(InvalidRequest, match="include and exclude: pattern"):
        walk(tmp_path, include=["*a" * 40])


@pytest.mark.fault("F71")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_is_not_utf8_is_spelled_out_and_read(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path.resolve()) + b"/d\xff"
    os.mkdir(folder)
    with open(folder + b"/\xfe.txt", "wb") as file:
        file.write(b"text")
    (entry,) = walk(tmp_path)
    assert isinstance(entry, FileEntry) and entry.name == r"d\udcff/\udcfe.txt"
    with Reader() as reader:
        assert reader.load(entry) == b"text"


def test_include_and_exclude_choose_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "", "b.txt": "", "c/d.md": "", "c/e.txt": "", "drafts/f.md": ""})
    assert look(tmp_path, include=["*.md"], exclude=["drafts/"]) == (
        ["a.md", "c/d.md"],
        {"drafts": "ignored"},
    )
    assert look(tmp_path, include=["/c/**"])[0] == ["c/d.md", "c/e.txt"]


@pytest.mark.fault("F71")
def test_folders_are_nested_to_a_limit(tmp_path: Path) -> None:
    write(tmp_path, {"d/" * 200 + "a.txt": "", "d/" * 210 + "b.txt": ""})
    names, skipped = look(tmp_path)
    assert names == ["d/" * 200 + "a.txt"]
    assert skipped == {"d/" * 200 + "d": "too large"}


@pytest.mark.fault("F71")
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    def peak(folders: int) -> int:
        root = tmp_path / str(folders)
        for index in range(folders):
            write(root, {f"{index}/{name}.txt": "" for name in range(20)})
        tracemalloc.start()
        count = sum(1 for _ in walk(root))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == folders * 20
        return most

    peak(2)
    assert peak(60) < peak(10) + 30_000


@pytest.mark.fault("F71")
def test_a_summary_counts_by_reason_and_keeps_a_few_examples() -> None:
    summary = Summary()
    for index in range(100):
        summary.add(Skipped(f"{index}.bin", "binary"))
    summary.add(Skipped("x", "outside", "a link to /"))
    assert summary.total == 101
    assert str(summary) == "skipped 101: 100 binary, 1 outside"
    assert len(summary.examples["binary"]) == 10
    assert str(summary.examples["outside"][0]) == "x: outside (a link to /)"
    assert str(Summary()) == "nothing skipped"
    assert len(REASONS) == len(set(REASONS))
