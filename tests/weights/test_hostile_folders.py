"""Files of a model that are a pipe, a device, a folder, or far too large: an error, at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cactus
from cactus.api import cactus_get_last_error, cactus_init
from cactus.chat.template import ChatTemplate
from cactus.cli.main import run_cli
from cactus.errors import CactusError
from cactus.model import Model
from cactus.tokenizer import Tokenizer
from cactus.weights import locate
from cactus.weights.convert import convert
from cactus.weights.download import download_model
from cactus.weights.resolve import resolve


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 20 << 30)


KINDS: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a character device": lambda path: path.symlink_to("/dev/zero"),  # never to be deleted
    "a directory": Path.mkdir,
    "21474836480 bytes": sparse,
}


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Whatever waits for a file is interrupted, and the test fails."""

    def late(*_: object) -> None:
        raise TimeoutError("still reading")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def spoilt(source: Path, folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A copy of a folder in which one file is something else."""
    shutil.copytree(source, folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    return folder


@pytest.mark.fault("F10")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_weights_folder_is_refused_by_name(tiny_model, root: Path, name: str, kind: str) -> None:
    folder = spoilt(tiny_model, root / "tiny", name, KINDS[kind])
    with pytest.raises(CactusError) as refused:
        Model(folder)
    assert name in str(refused.value)
    if kind != "21474836480 bytes" or name == "config.json":
        assert kind in str(refused.value)
    assert cactus_init(str(folder)) is None
    assert name in str(cactus_get_last_error())


@pytest.mark.fault("F17")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_is_refused_by_name(tiny_model, root: Path, name: str, kind: str) -> None:
    folder = spoilt(tiny_model, root / "tiny", name, KINDS[kind])
    with pytest.raises(CactusError, match=name):
        Model(folder)


@pytest.mark.fault("F24")
@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_template_is_refused_by_name(tiny_model, root: Path, kind: str) -> None:
    folder = spoilt(tiny_model, root / "tiny", "chat_template.jinja", KINDS[kind])
    with pytest.raises(CactusError, match=r"chat_template\.jinja: .*" + kind):
        Model(folder)
    with pytest.raises(CactusError, match=r"chat_template\.jinja: .*" + kind):
        ChatTemplate.load(folder, Tokenizer.load(tiny_model))


@pytest.mark.fault("F10")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["preprocessor_config.json", "generation_config.json"])
def test_a_speech_model_is_refused_by_name(speech_folder, root, name: str, kind: str) -> None:
    folder = spoilt(speech_folder, root / "tiny", name, KINDS[kind])
    with pytest.raises(CactusError, match=name):
        Model(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_a_damaged_model_and_shows_the_others(
    tiny_model, root: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model, root / "sound")
    spoilt(tiny_model, root / "spoilt", "config.json", KINDS[kind])
    assert run_cli(["list"]) == 0
    said = capsys.readouterr()
    assert "  sound " in said.out and "  spoilt" not in said.out
    assert kind in said.err and str(root / "spoilt" / "config.json") in said.err


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_damaged_model_leads_to_what_is_wrong(tiny_model, root, kind: str) -> None:
    spoilt(tiny_model, root / "tiny", "config.json", KINDS[kind])
    with pytest.raises(CactusError, match=kind):
        resolve("tiny")


def test_a_damaged_model_does_not_hide_one_of_that_name_elsewhere(
    tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setattr(locate, "search_roots", lambda: roots)
    spoilt(tiny_model, roots[0] / "tiny", "config.json", os.mkfifo)
    shutil.copytree(tiny_model, roots[1] / "tiny")
    assert resolve("tiny") == roots[1] / "tiny"
    (entry,) = locate.entries()
    assert entry.folder == roots[1] / "tiny" and entry.fault is None


@pytest.mark.fault("F10")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "special_tokens_map.json",
        "model.safetensors.index.json",
    ],
)
def test_a_checkpoint_is_refused_by_name(
    tiny_checkpoint: Path, tmp_path: Path, name: str, kind: str
) -> None:
    folder = spoilt(tiny_checkpoint, tmp_path / "source", name, KINDS[kind])
    with pytest.raises(CactusError, match=name):
        convert(folder, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.fault("F69")
@pytest.mark.parametrize("kind", ["a named pipe", "a character device", "21474836480 bytes"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_the_hubs_cache_is_fetched_again(
    hub_server, tiny_checkpoint: Path, tmp_path: Path, root: Path, name: str, kind: str
) -> None:
    hub_server.add("acme/Tiny", {f.name: f.read_bytes() for f in tiny_checkpoint.iterdir()})
    download_model("acme/Tiny")
    (snapshot,) = (tmp_path / "hf/hub/models--acme--Tiny/snapshots").iterdir()
    blob = (snapshot / name).resolve()
    blob.unlink()
    KINDS[kind](blob)
    assert download_model("acme/Tiny", reconvert=True) == root / "tiny"
    assert hub_server.fetched().count(name) == 2
    assert Path("/dev/zero").is_char_device()


@pytest.mark.fault("F68")
def test_a_link_of_the_hubs_cache_is_removed_and_not_what_it_leads_to(
    hub_server, tiny_checkpoint: Path, tmp_path: Path, root: Path
) -> None:
    hub_server.add("acme/Tiny", {f.name: f.read_bytes() for f in tiny_checkpoint.iterdir()})
    download_model("acme/Tiny")
    (snapshot,) = (tmp_path / "hf/hub/models--acme--Tiny/snapshots").iterdir()
    (tmp_path / "diary").write_text("dear diary")
    blob = (snapshot / "model.safetensors").resolve()
    blob.unlink()
    blob.symlink_to(tmp_path / "diary")
    download_model("acme/Tiny", reconvert=True)
    assert (tmp_path / "diary").read_text() == "dear diary" and not blob.is_symlink()


@pytest.mark.fault("F69")
@pytest.mark.parametrize("kind", ["a named pipe", "a character device", "21474836480 bytes"])
def test_what_a_download_left_is_not_believed(
    hub_server, tiny_checkpoint: Path, tmp_path: Path, root: Path, kind: str
) -> None:
    files = {f.name: f.read_bytes() for f in tiny_checkpoint.iterdir()}
    hub_server.add("acme/Tiny", files)
    download_model("acme/Tiny")
    blobs = tmp_path / "hf/hub/models--acme--Tiny/blobs"
    for blob in list(blobs.iterdir()):
        blob.unlink()
        KINDS[kind](blob.with_name(blob.name + ".part"))
        KINDS[kind](blob.with_name(blob.name + ".part.json"))
    refs = tmp_path / "hf/hub/models--acme--Tiny/refs/main"
    refs.unlink()
    KINDS[kind](refs)
    assert download_model("acme/Tiny", reconvert=True) == root / "tiny"


UNGUARDED = re.compile(r"\.read_(bytes|text)\(|json\.load\(|open\([^)]*\"rb?\"")
OWN_FILES = {
    "batch/parts.py": "rows that the job itself has just written",
    "batch/state.py": "what a job has written, and the beginnings of files that are regular",
    "batch/tables.py": "what the job itself has just written",
    "chat/ranking.py": "the package's own words",
    "cloud/store.py": "settings, of a file that is regular and not large",
    "documents/ignore.py": "patterns, of a file that is regular and not large",
    "documents/read.py": "documents, which it guards itself",
    "inputs/files.py": "the guarded ways themselves",
    "engine/fit.py": "read ahead, of a file that is regular",
    "engine/plan_cache.py": "the package's own sources",
    "machine.py": "files of the kernel",
    "retrieval/folder.py": "a recording that the reader has found to be regular",
    "retrieval/store.py": "an index, of a file that is regular",
    "server/guard/keys.py": "keys, of a file that whoever starts the server names",
    "server/own/page.py": "the package's own page",
    "server/state.py": "what servers of this user have written",
    "weights/format/safetensors.py": "what the writer has just written",
    "weights/hub/fetch.py": "what a download has written, of a file that is regular",
    "weights/hub/wheel.py": "an archive that pip has just written",
}


@pytest.mark.fault("F20")
def test_the_library_reads_files_of_a_model_in_no_other_way() -> None:
    package = Path(cactus.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if UNGUARDED.search(path.read_text("utf-8")) and "cli" not in path.parts
    }
    assert found == set(OWN_FILES)
