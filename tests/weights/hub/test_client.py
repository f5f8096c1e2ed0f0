"""From a hub id to a weights folder, with a server that speaks the hub's protocol.

The client that asks is the real `huggingface_hub`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path

import pytest

from cactus.errors import (
    DownloadError,
    InvalidRequest,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
)
from cactus.model import Model
from cactus.weights import catalog, locate
from cactus.weights.convert import convert
from cactus.weights.download import download_model, find_or_download
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.hub import client as hub
from cactus.weights.hub.fetch import OfflineError
from cactus.weights.resolve import resolve
from tests.weights.forge import parts_of, tiny_llama

TINY = "acme/Tiny-Llama"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The repository's folder in the hub's cache."""
    return tmp_path / "hf" / "hub" / "models--acme--Tiny-Llama"


def source_of(folder: Path) -> dict[str, object]:
    return locate.describe(folder)["source"]


# -- the ordinary way


def test_a_model_is_fetched_converted_and_then_simply_there(server, root: Path) -> None:
    steps: list[str] = []
    folder = download_model(TINY, progress=lambda label, *_: steps.append(label))
    assert folder == root / "tiny-llama" == resolve(TINY)
    assert locate.describe(folder)["precision"] == "INT8"
    made = source_of(folder)
    assert (made["hub_id"], made["revision"], made["commit"]) == (TINY, "main", "a" * 40)
    fetched = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    assert server.fetched() == fetched
    assert [step for step in dict.fromkeys(steps) if step.startswith("downloading")] == [
        f"downloading {name}" for name in fetched
    ]
    count = len(server.requests)
    assert download_model(TINY) == folder
    assert len(server.requests) == count


def test_a_speech_model_comes_with_all_that_it_hears_by(
    server, root: Path, speech_folder: Path, sound
) -> None:
    """And without the copies of its weights that are published for other libraries."""
    source = speech_folder.parent / "checkpoint"
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    others = ("pytorch_model.bin", "flax_model.msgpack", "model.fp32-00001-of-00002.safetensors")
    server.add("acme/Tiny-Whisper", files | dict.fromkeys(others, b"other weights"))
    folder = download_model("acme/Tiny-Whisper", precision="FP32")
    assert sorted(server.fetched()) == sorted(files)
    options = {"language": "de", "vad": False, "temperature": 0.0}
    with Model(folder) as fetched, Model(speech_folder) as converted:
        text = fetched.transcribe(sound, **options).text
        assert text and text == converted.transcribe(sound, **options).text


def test_the_library_finds_what_we_fetched(server, files, cache: Path) -> None:
    from huggingface_hub import hf_hub_download, scan_cache_dir

    download_model(TINY)
    for name in ("config.json", "model.safetensors"):
        path = Path(hf_hub_download(TINY, name, cache_dir=cache.parent, local_files_only=True))
        assert path.read_bytes() == files[name]
    scanned = scan_cache_dir(cache.parent)
    (repo,) = scanned.repos
    assert repo.repo_id == TINY and repo.nb_files == 4 and not scanned.warnings
    count = len(server.fetched())
    # Online, too, it has nothing to fetch.
    hf_hub_download(TINY, "model.safetensors", cache_dir=cache.parent, endpoint=server.url)
    assert len(server.fetched()) == count


def test_what_the_library_fetched_is_used(server, files, cache: Path) -> None:
    from huggingface_hub import hf_hub_download

    for name in ("model.safetensors", "tokenizer.json"):
        path = hf_hub_download(TINY, name, cache_dir=cache.parent, endpoint=server.url)
        assert Path(path).read_bytes() == files[name]
    server.requests.clear()
    steps: list[str] = []
    download_model(TINY, progress=lambda label, *_: steps.append(label))
    assert server.fetched() == ["config.json", "tokenizer_config.json"]
    assert "checking model.safetensors" in steps


def test_a_file_that_another_commit_has_too_is_not_fetched_again(server, root, files) -> None:
    download_model(TINY)
    server.repos[TINY].commits["b" * 40] = {**files, "tokenizer_config.json": b'{"x": 1}'}
    server.repos[TINY].revisions["next"] = "b" * 40
    server.requests.clear()
    download_model(TINY, revision="next")
    assert server.fetched() == ["tokenizer_config.json"]
    assert source_of(root / "tiny-llama")["commit"] == "b" * 40


@pytest.mark.fault("F69")
def test_a_damaged_file_of_the_cache_is_found_out_and_fetched_again(server, cache, files) -> None:
    download_model(TINY)
    blob = cache / "blobs" / hashlib.sha256(files["model.safetensors"]).hexdigest()
    blob.write_bytes(files["model.safetensors"][:-1] + b"?")
    server.requests.clear()
    with pytest.raises(DownloadError, match="is damaged: its SHA-256"):
        download_model(TINY, reconvert=True, offline=True)
    download_model(TINY, reconvert=True)
    assert server.fetched() == ["model.safetensors"]
    assert blob.read_bytes() == files["model.safetensors"]


@pytest.mark.fault("F67")
def test_the_token_goes_to_the_hub_and_to_no_other_host(server) -> None:
    server.repos[TINY].token = "secret"
    download_model(TINY, token="secret")
    elsewhere = [headers for _, path, headers in server.requests if path.startswith("/cdn/")]
    assert elsewhere and not any("authorization" in headers for headers in elsewhere)
    asked = [headers for _, path, headers in server.requests if not path.startswith("/cdn/")]
    assert all(headers.get("authorization") == "Bearer secret" for headers in asked)


def test_where_there_are_no_links_the_files_themselves_lie_in_the_snapshot(
    server, cache: Path, monkeypatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links on this file system")

    monkeypatch.setattr(Path, "symlink_to", refused)
    download_model(TINY)
    weights = cache / "snapshots" / ("a" * 40) / "model.safetensors"
    assert weights.is_file() and not weights.is_symlink()
    assert list((cache / "blobs").iterdir()) == []
    server.requests.clear()
    download_model(TINY, reconvert=True)
    assert server.fetched() == []


def test_a_cache_that_is_complete_need_not_be_writable(server, cache: Path, monkeypatch) -> None:
    folder = download_model(TINY)
    (cache / "refs" / "main").unlink()
    shutil.rmtree(folder)

    def read_only(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    real_mkdir = Path.mkdir

    def mkdir(path: Path, *rest, **named) -> None:
        (read_only if path.is_relative_to(cache.parent) else real_mkdir)(path, *rest, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert download_model(TINY) == folder and not (cache / "refs" / "main").exists()


# -- revision, precision, source, reconvert


def test_another_precision_is_converted_from_the_cache_without_the_hub(server, root) -> None:
    folder = download_model(TINY)
    server.requests.clear()
    assert download_model(TINY, precision="INT8") == folder and server.requests == []
    download_model(TINY, precision="FP16", offline=True)
    assert locate.describe(folder)["precision"] == "FP16" and server.requests == []


def test_reconvert_takes_the_newest_files_of_the_revision(server, root, files) -> None:
    folder = download_model(TINY)
    server.repos[TINY].commits["c" * 40] = files
    server.repos[TINY].revisions["main"] = "c" * 40
    assert source_of(download_model(TINY))["commit"] == "a" * 40
    server.requests.clear()
    download_model(TINY, reconvert=True)
    assert source_of(folder)["commit"] == "c" * 40 and server.fetched() == []


def test_a_folder_of_another_revision_is_not_taken_for_the_one_asked(server, root, files) -> None:
    server.repos[TINY].commits["d" * 40] = files
    server.repos[TINY].revisions["feature/x"] = "d" * 40
    folder = download_model(TINY, revision="feature/x")
    assert source_of(folder)["revision"] == "feature/x"
    count = len(server.requests)
    for same in ("feature/x", "d" * 40, "d" * 7):
        download_model(TINY, revision=same)
    download_model(TINY)  # nothing is said of a revision: the folder that is there will do
    assert len(server.requests) == count
    assert source_of(download_model(TINY, revision="main"))["commit"] == "a" * 40


@pytest.mark.parametrize("asked", [{"revision": "main"}, {"precision": "FP16"}])
def test_a_folder_that_no_download_made_is_not_replaced_unasked(
    server, root, tiny_checkpoint: Path, asked
) -> None:
    convert(tiny_checkpoint, root / "tiny-llama", "INT8", origin={"hub_id": TINY})
    with pytest.raises(InvalidRequest, match="not made by a download; --reconvert replaces it"):
        download_model(TINY, **asked)
    assert server.requests == []
    assert "commit" in source_of(download_model(TINY, reconvert=True, **asked))


def test_a_folder_of_something_else_is_found_out_before_anything_is_fetched(server, root) -> None:
    (root / "tiny-llama").mkdir(parents=True)
    (root / "tiny-llama" / "photo.jpg").write_text("")
    with pytest.raises(InvalidRequest, match="not a weights folder"):
        download_model(TINY)
    assert server.requests == []


@pytest.mark.fault("F68")
@pytest.mark.parametrize("revision", ["../x", "a b", "", "/main", "x" * 300])
def test_a_revision_that_could_leave_the_cache_is_refused(server, revision: str) -> None:
    with pytest.raises(InvalidRequest, match="revision is"):
        download_model(TINY, revision=revision)
    assert server.requests == []


def test_a_revision_that_is_not_there_is_named_with_those_that_are(server) -> None:
    with pytest.raises(ModelNotFound, match=r"no revision 'v9'; branches and tags: main"):
        download_model(TINY, revision="v9")


@pytest.mark.fault("F68")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (TINY, {"source": "package"}, "this model has none of"),
        (TINY, {"source": "nowhere"}, "expected hub, package, or the id"),
        (TINY, {"source": "../x.gguf"}, "cactus convert"),
        (f"{TINY}:Q8_0", {"source": "acme/Other:Q4_0"}, "expected hub, package, or the id"),
        (catalog.STARTER.hub_id, {"source": "package", "revision": "main"}, "no revisions"),
    ],
)
def test_a_source_that_cannot_be_is_refused(server, name: str, options, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        download_model(name, **options)
    assert server.requests == []


def test_the_starter_can_come_from_the_hub(server, root, files) -> None:
    server.add(catalog.STARTER.hub_id, files)
    folder = download_model(catalog.STARTER.hub_id, source="hub")
    assert folder == root / catalog.STARTER.name
    assert locate.describe(folder)["precision"] == "INT8"
    assert source_of(folder)["commit"] == "a" * 40


# -- GGUF


@pytest.fixture
def gguf(starter_gguf: Path) -> bytes:
    return starter_gguf.read_bytes()


def test_a_repository_of_gguf_files_gives_the_one_that_is_named(server, root, gguf) -> None:
    names = ["Some-Q4_1.gguf", "Some-Q2_K.gguf", "mmproj-Some-Q4_1.gguf"]
    server.add("acme/Some-GGUF", dict.fromkeys(names, gguf))
    folder = download_model("acme/Some-GGUF:q4_1")
    assert folder == root / "some-gguf" and server.fetched() == ["Some-Q4_1.gguf"]
    assert locate.describe(folder)["precision"] == "INT4"  # as the file has them
    assert source_of(folder)["file"] == "Some-Q4_1.gguf"
    server.requests.clear()
    download_model("acme/Some-GGUF")
    download_model("acme/Some-GGUF:Some-Q4_1.gguf")
    assert server.requests == []


def test_the_weights_of_a_model_can_come_from_another_repository(server, root, gguf) -> None:
    server.add("other/Tiny-GGUF", {"Tiny-Q4_1.gguf": gguf})
    folder = download_model(TINY, source="other/Tiny-GGUF")
    assert folder == root / "tiny-llama" == resolve(TINY)
    made = source_of(folder)
    assert (made["hub_id"], made["repository"]) == (TINY, "other/Tiny-GGUF")
    count = len(server.requests)
    download_model(TINY, source="other/Tiny-GGUF:Q4_1")
    assert len(server.requests) == count
    assert "repository" not in source_of(download_model(TINY, source="hub"))


def test_a_gguf_file_that_cannot_run_is_refused_before_it_comes(server, gguf) -> None:
    server.add("acme/Odd-GGUF", {"Odd-Q8_0.gguf": gguf}, gguf="unheard_of")
    with pytest.raises(UnsupportedModel, match=r"architecture 'unheard_of', expected .*llama"):
        download_model("acme/Odd-GGUF")
    assert server.fetched() == []


PARTS = [f"a-Q8_0-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]


def test_a_model_in_several_gguf_files_is_fetched_whole(server, root) -> None:
    files = dict(zip(PARTS, (part.build() for part in parts_of(tiny_llama())), strict=True))
    server.add("acme/Parts-GGUF", files)
    folder = download_model("acme/Parts-GGUF:Q8_0")
    assert sorted(server.fetched()) == PARTS
    source = source_of(folder)
    assert [source["file"], *(part["file"] for part in source["parts"])] == PARTS


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["a-Q4_0.gguf", "a-Q8_0.gguf", "a-F16.gguf"], None, "a-Q8_0.gguf"),
        (["a-IQ2_XS.gguf"], None, "a-IQ2_XS.gguf"),
        (["a.q4_k_m.gguf", "a.q8_0.gguf"], "Q4_K_M", "a.q4_k_m.gguf"),
        (["a-Q4_0.gguf", "b-Q4_0.gguf"], "b-q4_0.gguf", "b-Q4_0.gguf"),
        (["mmproj-a-F16.gguf", "a-Q4_0.gguf"], None, "a-Q4_0.gguf"),
        (["a-Q4_0.gguf", *PARTS], None, PARTS[0]),
        (["a-Q4_0.gguf", *PARTS], "q8_0", PARTS[0]),
    ],
)
def test_which_gguf_file_is_meant(names: list[str], wanted: str | None, chosen: str) -> None:
    from cactus.weights.hub.files import choose_gguf

    assert choose_gguf("acme/a", names, wanted) == chosen


@pytest.mark.parametrize(
    ("names", "wanted", "kind", "said"),
    [
        (["a-Q4_0.gguf", "a-Q8_0.gguf"], "Q5_0", ModelNotFound, "a:Q4_0; there are Q4_0, Q8_0"),
        (["a-IQ2_XS.gguf", "a-IQ1_S.gguf"], None, ModelNotFound, "which file"),
        (["a-Q4_0.gguf", PARTS[0], PARTS[2]], None, UnsupportedModel, f"but not {PARTS[1]}"),
        ([], "Q4_0", ModelNotFound, "no .gguf file Q4_0"),
    ],
)  # fmt: skip
def test_a_gguf_file_that_is_not_there_is_an_error_with_a_list(names, wanted, kind, said) -> None:
    from cactus.weights.hub.files import choose_gguf

    with pytest.raises(kind, match=said):
        choose_gguf("acme/a", names, wanted)


# -- what the hub refuses


def test_a_gated_model_says_where_its_terms_are(server) -> None:
    server.repos[TINY].token, server.repos[TINY].gated = "secret", True
    with pytest.raises(DownloadError, match=rf"accept its terms at {server.url}/{TINY}, then give"):
        download_model(TINY)
    with pytest.raises(DownloadError, match="the account of this token has no access yet"):
        download_model(TINY, token="of another")
    assert download_model(TINY, token="secret").is_dir()


def test_a_wrong_token_is_not_called_a_missing_model(server) -> None:
    server.unknown_token = "wrong"
    with pytest.raises(DownloadError, match="the hub does not accept this token; make a new one"):
        download_model(TINY, token="wrong")


def test_a_model_that_is_not_there_suggests_the_nearest(server) -> None:
    with pytest.raises(
        ModelNotFound, match=r"or it is private \(then give --token .*mean LiquidAI"
    ):
        download_model("LiquidAI/LFM2-350N")
    with pytest.raises(ModelNotFound, match=r"did you mean .*HuggingFaceTB/SmolLM2-135M-Instruct"):
        download_model("HuggingFaceTB/SmolLM2-136M-Instruct", token="x")


def test_a_busy_hub_is_asked_again(server) -> None:
    server.busy = [429, 503]
    assert download_model(TINY).is_dir()


@pytest.mark.fault("F67")
def test_a_hub_that_stays_busy_is_one_clear_error(server) -> None:
    server.busy = [429] * hub.TRIES
    with pytest.raises(DownloadError, match=r"too many requests from here \(429\); wait some"):
        download_model(TINY)
    assert server.busy == []


def test_a_known_model_that_cannot_run_is_said_without_the_hub(server) -> None:
    with pytest.raises(UnsupportedModel, match=r"which this version cannot run; it runs .*llama"):
        download_model("UsefulSensors/moonshine-base")
    assert server.requests == []


def test_an_architecture_that_cannot_run_is_refused_before_its_weights_come(server, files) -> None:
    files["config.json"] = json.dumps({"model_type": "unheard_of"}).encode()
    server.add(TINY, files)
    with pytest.raises(UnsupportedModel, match=r"unheard_of.*llama"):
        download_model(TINY)
    assert server.fetched() == ["config.json"]


@pytest.mark.parametrize(
    ("name", "commit"),
    [
        ("https://huggingface.co/acme/Tiny-Llama", "a"),
        ("https://huggingface.co/acme/Tiny-Llama/tree/v2", "b"),
        ("hf://acme/Tiny-Llama@v2", "b"),
    ],
)
def test_the_address_of_a_model_downloads_it(server, root, files, name: str, commit: str) -> None:
    server.repos[TINY].revisions["v2"] = "b" * 40
    server.repos[TINY].commits["b" * 40] = files
    folder = find_or_download(name)
    assert folder == root / "tiny-llama" and source_of(folder)["commit"] == commit * 40
    count = len(server.requests)
    assert find_or_download(name) == folder and len(server.requests) == count


def test_two_revisions_in_one_request_are_refused(server) -> None:
    with pytest.raises(InvalidRequest, match="says revision 'v2', the option 'v3'"):
        download_model("hf://acme/Tiny-Llama@v2", revision="v3")


def test_a_model_that_cannot_do_what_is_wanted_is_refused_before_its_weights_come(server) -> None:
    with pytest.raises(UnsupportedModel, match=r"^acme/Tiny-Llama .llama. cannot .*whisper-base"):
        download_model(TINY, ability="transcribe")
    assert server.fetched() == ["config.json"]


# -- what comes wrong


@pytest.mark.fault("F67")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_with_the_wrong_hash_leaves_no_model(server, root, cache, files, name) -> None:
    server.served[name] = files[name][:-2] + b"??"
    with pytest.raises(DownloadError, match=rf"{name}: damaged or replaced on the way: .*SHA"):
        download_model(TINY)
    assert not (root / "tiny-llama").exists()
    assert not (cache / "snapshots" / ("a" * 40) / name).exists()
    assert not list((cache / "blobs").glob("*.part"))
    server.served.clear()
    server.requests.clear()
    download_model(TINY)
    assert "config.json" not in server.fetched()  # what was right is kept


@pytest.mark.fault("F67")
def test_a_file_that_changes_between_two_halves_is_started_over(server, files) -> None:
    name = "model.safetensors"
    server.served[name] = bytes(len(files[name]))
    server.cuts = [len(files[name]) // 2]
    progress = []

    def replaced(label: str, *_: int) -> None:
        if label == f"downloading {name}":
            server.served.clear()
        progress.append(label)

    folder = download_model(TINY, progress=replaced)
    WeightsFolder.open(folder).close()
    assert len(server.ranges()) == 1


@pytest.mark.fault("F15")
def test_a_pickle_is_refused_with_the_reason(server, files) -> None:
    del files["model.safetensors"]
    server.add(TINY, files)
    with pytest.raises(UnsupportedModel, match=r"only pytorch_model\.bin: a pickle can run any"):
        download_model(TINY)


@pytest.mark.fault("F68")
@pytest.mark.parametrize(
    "name", ["../../x.safetensors", "/etc/x.safetensors", "C:\\x.safetensors", "con.safetensors",
             "x" * 4000 + ".safetensors", "sub/x.safetensors", "x.bin"],
)  # fmt: skip
def test_a_shard_name_that_could_leave_the_folder_is_refused(server, files, name: str) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    server.add(TINY, files | {name: b"x"})
    with pytest.raises(ModelFormatError, match="refusing the file name"):
        download_model(TINY)


@pytest.mark.fault("F68")
def test_shard_names_that_differ_in_case_only_are_refused(server, files) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "Model-1.safetensors"}}
    server.add(TINY, files | {"model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(ModelFormatError, match="upper and lower case"):
        download_model(TINY)


@pytest.mark.fault("F65")
def test_too_little_space_is_said_before_the_weights_are_fetched(server, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 20_000))
    with pytest.raises(DownloadError, match="MB are free; make room"):
        download_model(TINY)
    assert "model.safetensors" not in server.fetched()


# -- offline


@pytest.mark.fault("F70")
def test_offline_the_cache_is_converted(server, monkeypatch, root) -> None:
    folder = download_model(TINY)
    shutil.rmtree(folder)

    def no_socket(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    assert download_model(TINY, offline=True) == folder
    assert source_of(folder)["commit"] == "a" * 40
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download_model(TINY, reconvert=True) == folder
    with pytest.raises(OfflineError, match="downloads are switched off"):
        download_model(TINY, revision="v9")


@pytest.mark.fault("F70")
def test_a_hub_that_cannot_be_reached_leaves_the_cache(server, monkeypatch, root) -> None:
    folder = download_model(TINY)
    shutil.rmtree(folder)

    def no_dns(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")  # no connection is open to there
    assert download_model(TINY) == folder
    with pytest.raises(OfflineError, match=r"acme/Tiny: no way to the hub .*seems to be offline"):
        download_model("acme/Tiny")
    with pytest.raises(OfflineError, match=r"no way to the hub .*the hub: --source package"):
        download_model(catalog.STARTER.hub_id, precision="FP16")
    with pytest.raises(OfflineError, match=r"no way to the hub .*did you mean LiquidAI/LFM2-350M"):
        download_model("LiquidAI/LFM2-350N")


@pytest.mark.fault("F69")
def test_half_a_model_in_the_cache_is_none(server, root, cache) -> None:
    folder = download_model(TINY)
    shutil.rmtree(folder)
    (cache / "snapshots" / ("a" * 40) / "model.safetensors").unlink()
    with pytest.raises(OfflineError, match="downloads are switched off"):
        download_model(TINY, offline=True)


def test_a_cache_that_cannot_be_written_is_an_error_with_advice(server, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "hub").write_text("")
    with pytest.raises(DownloadError, match="set HF_HOME to a folder that can be written"):
        download_model(TINY)
