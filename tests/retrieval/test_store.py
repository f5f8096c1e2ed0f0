"""The file of an index: whose it is, where it lies, and what becomes of a bad one."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cactus.errors import CorpusError, InvalidRequest
from cactus.retrieval.index import Index
from cactus.retrieval.store import Store, index_path
from tests.retrieval.conftest import Made
from tests.retrieval.made import Paragraphs, WordEmbedder


def test_an_index_is_named_after_its_folder_and_no_others(tmp_path: Path) -> None:
    one = index_path(Path("/a/Our manuals"), tmp_path)
    two = index_path(Path("/b/Our manuals"), tmp_path)
    assert one.name.startswith("Our-manuals-") and two.name.startswith("Our-manuals-")
    assert one != two and one.parent == two.parent == tmp_path
    assert index_path(Path("/"), tmp_path / ".cache").name.startswith("documents-")


def test_by_default_it_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("/users/cache"))
    assert index_path(Path("/a/b")).parent == Path(os.path.realpath("/users/cache/corpora"))


def test_it_never_lies_among_the_documents(made: Made) -> None:
    with pytest.raises(CorpusError, match="lies in the folder of documents"):
        Index(made.folder, made.source, made.embedder, made.folder / "cache")
    # A hidden folder is not indexed: somebody's home may have a cache in it.
    hidden = Index(made.folder, made.source, made.embedder, made.folder / ".cache")
    assert hidden.sync().added == 2
    assert hidden.sync().added == 0
    hidden.close()


@pytest.mark.skipif(sys.platform == "win32", reason="has other permissions")
def test_only_its_owner_can_read_the_texts_in_it(made: Made) -> None:
    made.index.sync()
    assert stat.S_IMODE(made.index.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.index.path.parent.stat().st_mode) == 0o700


@pytest.mark.fault("F20")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_in_the_place_of_an_index_is_refused_and_not_waited_for(made: Made) -> None:
    made.index.path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(made.index.path)
    for use in (made.index.sync, lambda: made.index.search("apple")):
        with pytest.raises(CorpusError, match="is a named pipe, expected a file"):
            use()


@pytest.mark.parametrize("name", ["missing", "fruit.md"])
def test_a_folder_that_is_none_is_refused(made: Made, name: str) -> None:
    with pytest.raises(CorpusError, match=r"missing does not exist|fruit.md is not a folder"):
        Index(made.folder / name, made.source, made.embedder, made.cache)


def test_a_folder_that_has_gone_leaves_the_index_as_it_was(made: Made) -> None:
    made.index.sync()
    made.folder.rename(made.folder.with_name("elsewhere"))
    with pytest.raises(InvalidRequest, match="does not exist"):
        made.index.sync()
    assert made.index.chunks == 6


def test_a_search_without_an_index_says_what_to_do(made: Made) -> None:
    with pytest.raises(CorpusError, match="has no index yet; sync it first"):
        made.index.search("apples")
    made.index.path.parent.mkdir()
    made.index.path.touch()
    with pytest.raises(CorpusError, match="has no index yet; sync it first"):
        made.index.search("apples")
    assert made.index.sync().added == 2


@pytest.mark.fault("F73")
@pytest.mark.parametrize("content", [b"These are notes of somebody.\n" * 100, b"\x00" * 5_000])
def test_a_file_that_is_no_database_is_left_alone(made: Made, content: bytes) -> None:
    made.index.path.parent.mkdir()
    made.index.path.write_bytes(content)
    for call in (made.index.sync, lambda: made.index.search("apples")):
        with pytest.raises(CorpusError, match="is not an index; move it away"):
            call()
    assert made.index.path.read_bytes() == content


def test_another_programs_database_is_left_alone(made: Made) -> None:
    made.index.path.parent.mkdir()
    with sqlite3.connect(made.index.path) as db:
        db.execute("CREATE TABLE meta (key, value)")
    db.close()
    before = made.index.path.read_bytes()
    with pytest.raises(CorpusError, match="belongs to another program; move it away"):
        made.index.sync()
    assert made.index.path.read_bytes() == before


def alter(made: Made, statement: str) -> None:
    db = sqlite3.connect(made.index.path, isolation_level=None)
    db.execute(statement)
    db.close()


@pytest.mark.fault("F73")
def test_an_index_of_a_newer_version_is_refused(made: Made) -> None:
    made.index.sync()
    alter(made, "PRAGMA user_version = 99")
    for call in (made.index.sync, lambda: made.open().search("apples")):
        with pytest.raises(
            CorpusError, match=r"version 99 was written by a newer .* update cactus"
        ):
            call()


@pytest.mark.fault("F73")
def test_an_index_of_an_older_version_is_made_anew(made: Made) -> None:
    made.index.sync()
    alter(made, "PRAGMA user_version = 0")
    with pytest.raises(CorpusError, match="sync builds it anew"):
        made.open().search("apples")
    report = made.index.sync()
    assert (report.rebuilt, report.chunks) == ("it was damaged or of an older version", 6)


@pytest.mark.fault("F73")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_index_is_noticed_and_made_anew(made: Made, share: float) -> None:
    made.index.sync()
    made.index.close()
    size = made.index.path.stat().st_size
    os.truncate(made.index.path, int(share * size))
    with pytest.raises(CorpusError, match=r"damaged|no index yet|is not an index"):
        made.index.search("apples")
    report = made.index.sync()
    assert report.chunks == 6
    assert report.rebuilt or share == 0
    assert made.index.search("Apples grow", 1, floor=False)[0].source == "fruit.md"


@pytest.mark.fault("F73")
def test_damaged_pages_give_an_error_or_an_answer_and_never_a_crash(made: Made) -> None:
    for n in range(60):
        made.write(f"more/{n}.txt", f"Paragraph {n} about apples.\n\nAnother one, number {n}.\n")
    made.index.sync()
    made.index.close()
    good = made.index.path.read_bytes()
    noticed = 0
    for page in range(1, len(good) // 8192):
        made.index.path.write_bytes(
            good[: page * 8192] + b"\xa5" * 8192 + good[(page + 1) * 8192 :]
        )
        try:
            hits = made.index.search("apples number", 200, floor=False)
            assert all(0 <= hit.score <= 1 for hit in hits)
        except CorpusError as error:
            assert "sync builds it anew" in str(error)
            noticed += 1
        made.index.close()
    assert noticed > len(good) // 8192 // 3
    report = made.index.sync()
    assert report.chunks == 126
    assert len(made.index.search("apples number", 200, floor=False)) > 50


@pytest.mark.fault("F73")
def test_vectors_that_do_not_fit_are_damage(made: Made) -> None:
    made.index.sync()
    alter(made, "UPDATE vectors SET vector = zeroblob(10) WHERE chunk = 3")
    with pytest.raises(CorpusError, match="vectors do not fit its chunks"):
        made.open().search("apples")
    alter(made, "DELETE FROM vectors WHERE chunk = 3")
    with pytest.raises(CorpusError, match="6 chunks have 5 vectors"):
        made.open().search("apples")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM chunks WHERE id = 3",
        "DELETE FROM files WHERE id = 1",
        "UPDATE files SET metadata = 'x'",
        "UPDATE files SET metadata = '5'",
        "UPDATE chunks SET text = x'ff' WHERE id = 1",
        "UPDATE chunks SET heading = x'00'",
        "UPDATE chunks SET file = 99 WHERE id = 2",
        "UPDATE chunks SET text = ''",
        "UPDATE chunks SET start = 4611686018427387904, stop = start + length(text) WHERE id = 3",
        "UPDATE chunks SET start = start + 1e15, stop = stop + 1e15 WHERE id = 3",
        "UPDATE chunks SET page = 'x'",
        "UPDATE chunks SET begins = 1.0",
        "UPDATE files SET name = x'' WHERE id = 1",
        "UPDATE files SET name = '' WHERE id = 1",
        "UPDATE files SET metadata = '{\"title\": 5}'",
        f"UPDATE files SET metadata = '{{\"a\":{'[' * 950}{']' * 950}}}'",
    ],
)
def test_tables_that_contradict_each_other_are_an_error_or_made_anew(
    made: Made, change: str
) -> None:
    made.index.sync()
    alter(made, change)
    try:
        with made.open() as index:
            for hit in (*index.search("apples", 9, neighbours=1, floor=False), *index.all()):
                assert hit.source and len(hit.text) == hit.end - hit.start
    except CorpusError as error:
        assert "is damaged" in str(error)
    made.write("new.txt", "A new file about apples.")
    report = made.index.sync()
    assert report.rebuilt or report.added >= 1


@pytest.mark.fault("F73")
def test_words_of_chunks_that_are_not_there_are_damage(made: Made) -> None:
    made.index.sync()
    for table, column in (("chunks", "id"), ("vectors", "chunk")):
        alter(made, f"DELETE FROM {table} WHERE {column} = 2")
    with pytest.raises(CorpusError, match="its tables contradict each other"):
        made.open().search("apples", floor=False)


def test_errors_of_a_reranker_are_no_damage(made: Made) -> None:
    made.index.sync()
    with pytest.raises(KeyError, match="mine"):
        made.index.search("apples", rerank=lambda *_: {}["mine"])


def test_a_vector_of_nan_is_as_none(made: Made) -> None:
    made.index.sync()
    alter(made, f"UPDATE vectors SET vector = x'{'007e' * 48}' WHERE chunk = 2")
    hits = made.open().search("apples", 6, floor=False)
    assert len(hits) == 6 and all(0 <= hit.score <= 1 for hit in hits)
    alter(made, "UPDATE vectors SET vector = 'text' WHERE chunk = 2")
    with pytest.raises(CorpusError, match="its vectors do not fit its chunks"):
        made.open().search("apples")


READ_ONLY = """
import os, sys
from pathlib import Path
import filelock
from cactus.errors import CorpusError
from cactus.retrieval.index import Index
from tests.retrieval.made import Paragraphs, WordEmbedder
folder, cache = map(Path, sys.argv[1:])
index = Index(folder, Paragraphs(folder), WordEmbedder(), cache)
index.search("apples")  # what it imports another user may not be able to read
index.close()
os.setuid(65534)
print(index.search("Apples grow", 1, floor=False)[0].source)
try:
    index.sync()
except CorpusError as error:
    print(error)
"""


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user"
)
def test_where_nothing_can_be_written_it_is_read_all_the_same(made: Made) -> None:
    made.index.sync()
    made.index.close()
    made.cache.chmod(0o555)
    made.index.path.chmod(0o444)
    for parent in made.folder.parents[:3]:  # pytest's own, that are root's alone
        parent.chmod(0o755)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, made.folder, made.cache],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    lines = done.stdout.splitlines()
    assert lines[:1] == ["fruit.md"], done.stderr
    assert "cannot be written: Permission denied" in lines[1]


def test_an_index_that_was_made_anew_under_its_name_is_noticed(made: Made) -> None:
    made.index.sync()
    assert made.index.search("apples", 1, floor=False)
    made.index.path.unlink()
    made.write("fruit.md", "Quinces only.\n")
    with made.open() as other:
        other.sync()
    assert "Quinces" in made.index.search("quinces", 1, floor=False)[0].text


@pytest.mark.fault("F55")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.timeout(60)
def test_a_forked_child_opens_the_file_again(made: Made) -> None:
    made.index.sync()
    made.index.search("apples", 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if made.index.chunks == 6 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert made.index.chunks == 6


def test_paths_with_the_marks_of_addresses_are_paths(tmp_path: Path) -> None:
    folder = tmp_path / "what? 100% #1 & more"
    folder.mkdir()
    (folder / "a.txt").write_text("Apples grow.\n")
    with Index(folder, Paragraphs(folder), WordEmbedder(), tmp_path / "c?a%20c#he") as index:
        assert index.sync().chunks == 1
        assert index.search("apples", 1, floor=False)[0].source == "a.txt"


@pytest.mark.parametrize(
    "noted", ["{", "[1]", '{"rAlated": 1}', '{"trust": "x"}', '{"chunks": NaN}']
)
def test_measurements_that_are_damaged_are_made_again(made: Made, noted: str) -> None:
    made.index.sync()
    alter(made, f"UPDATE meta SET value = '{noted}' WHERE key = 'calibration'")
    assert made.open().search("Apples grow", 1, floor=False)[0].source == "fruit.md"
    assert not made.index.sync().rebuilt
    db = sqlite3.connect(made.index.path)
    assert db.execute("SELECT 1 FROM meta WHERE value = ?", (noted,)).fetchone() is None
    db.close()


@pytest.mark.fault("F73")
def test_a_list_of_tables_that_is_damaged_is_made_anew(made: Made) -> None:
    made.index.sync()
    made.index.close()
    data = bytearray(made.index.path.read_bytes())
    at = data.index(b"tablefilesfiles")
    data[at + 5 : at + 10] = b"\xfd" * 5  # a name that SQLite's message repeats
    at = data.index(b"CREATE TABLE files (")
    data[at + 19 : at + 20] = b"!"
    made.index.path.write_bytes(data)
    with pytest.raises(CorpusError, match="damaged"):
        made.open().search("apples")
    report = made.index.sync()
    assert (report.rebuilt, report.chunks) == ("it was damaged or of an older version", 6)


def test_names_that_are_no_text_are_damage(made: Made) -> None:
    made.index.sync()
    alter(made, "UPDATE files SET name = CAST(x'ff' || name AS TEXT)")
    with pytest.raises(CorpusError, match="damaged"):
        made.open().search("apples")
    assert made.index.sync().added == 2
    assert made.open().search("Apples grow", 1, floor=False)[0].source == "fruit.md"


@pytest.mark.parametrize("damaged", [False, True])
def test_a_full_disk_is_told_of_a_new_index_and_of_one_that_is_made_anew(
    made: Made, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damaged:
        made.index.sync()
        made.index.path.write_bytes(made.index.path.read_bytes()[:20_000])
    open_ = Store._open

    def small(store: Store, mode: str) -> sqlite3.Connection:
        db = open_(store, mode)
        db.execute("PRAGMA max_page_count = 3")
        return db

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_open", small)
        with pytest.raises(CorpusError, match=r"\.sqlite: database or disk is full"):
            made.index.sync()
    assert made.index.sync().added == 2


def test_an_index_whose_beginning_cannot_be_read_is_not_taken_for_another(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.index.sync()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", fail)
        with pytest.raises(CorpusError, match=r"\.sqlite cannot be read: Input/output error"):
            made.index.sync()
    assert made.index.sync().unchanged == 2
