"""From what a user types to a weights folder (faults F64, F68)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cactus.errors import CactusError, ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.inputs.files import RegularFile
from cactus.weights import catalog, locate
from cactus.weights.resolve import resolve
from cactus.weights.sources.origin import describe_file, is_described
from tests.weights.forge import F32, tiny_llama


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a current folder outside any checkout."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(locate, "__file__", str(tmp_path / "site" / "locate.py"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def make_checkout(folder: Path) -> Path:
    (folder / "python" / "cactus").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "cactus"\n')
    return folder


def make_model(folder: Path, hub_id: str | None = None) -> Path:
    folder.mkdir(parents=True)
    own = {"format": 1} | ({"source": {"hub_id": hub_id}} if hub_id else {})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "cactus": own}))
    return folder


def test_downloads_go_to_the_users_data_folder_by_default(home: Path) -> None:
    root = locate.weights_root()
    assert root.is_relative_to(home) and root.name == "weights" and not root.exists()


def test_a_weights_folder_here_is_used(home: Path) -> None:
    (home / "work" / "weights").mkdir()
    assert locate.weights_root() == home / "work" / "weights"


def test_anywhere_inside_a_checkout_its_weights_folder_is_used(home: Path, monkeypatch) -> None:
    root = make_checkout(home / "checkout")
    monkeypatch.chdir(root / "python" / "cactus")
    assert locate.weights_root() == root / "weights"


def test_the_project_of_somebody_else_is_no_checkout(home: Path, monkeypatch) -> None:
    root = make_checkout(home / "other")
    (root / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.chdir(root)
    assert locate.weights_root() != root / "weights"


def test_the_environment_overrides_everything(home: Path, monkeypatch) -> None:
    (home / "work" / "weights").mkdir()
    monkeypatch.setenv("CACTUS_WEIGHTS", "~/models")
    assert locate.search_roots() == [home / "models"]


def test_models_of_the_users_folder_are_found_inside_a_checkout_too(home, monkeypatch) -> None:
    model = make_model(locate.weights_root() / "tiny")
    monkeypatch.chdir(make_checkout(home / "checkout"))
    assert resolve("tiny") == model


@pytest.mark.parametrize(
    "name", ["tiny-1b", "Tiny-1B", "acme/Tiny-1B", "weights/tiny-1b", "./weights/tiny-1b/"]
)
def test_every_way_to_name_a_model(home: Path, name: str) -> None:
    model = make_model(locate.weights_root() / "tiny-1b", "acme/Tiny-1B")
    assert resolve(name) == model


@pytest.mark.parametrize("name", ["unsloth/SmolLM2-135M-Instruct", "wieghts/smollm2-135m-instruct"])
def test_the_same_name_of_another_owner_is_another_model(home: Path, name: str) -> None:
    model = make_model(locate.weights_root() / "smollm2-135m-instruct")
    assert resolve("HuggingFaceTB/SmolLM2-135M-Instruct") == model
    with pytest.raises(ModelNotFound, match=r"is HuggingFaceTB/SmolLM2-135M-Instruct; to use"):
        resolve(name)


def test_a_damaged_folder_hides_no_whole_one_of_its_name(home: Path) -> None:
    whole = make_model(locate.weights_root() / "tiny")
    damaged = make_model(home / "work" / "weights" / "tiny")
    assert locate.installed() == [damaged]  # the one that is nearer
    (damaged / "config.json").write_text("{")
    assert locate.installed() == [whole]
    (whole / "config.json").write_text("{")
    assert [entry.folder for entry in locate.entries()] == [damaged]
    assert locate.installed() == []


def test_what_a_folder_records_counts_more_than_its_name(home: Path) -> None:
    model = make_model(
        locate.weights_root() / "smollm2-135m-instruct", "unsloth/SmolLM2-135M-Instruct"
    )
    assert resolve("unsloth/SmolLM2-135M-Instruct") == model
    assert locate.find_named("HuggingFaceTB/SmolLM2-135M-Instruct") is None


def test_an_unknown_source_belongs_to_no_hub_id(home: Path) -> None:
    make_model(locate.weights_root() / "tiny-1b")
    with pytest.raises(ModelNotFound, match=r'does not say where.* name it "tiny-1b"'):
        resolve("acme/Tiny-1B")


@pytest.mark.parametrize(
    "name", ["weights/lfm9-450m", "./lfm9-450m", "/x/y", "acme/x.gguf", "here/model"]
)
def test_a_path_that_is_not_there_is_no_hub_id(home: Path, name: str) -> None:
    (home / "work" / "here").mkdir()
    assert locate.is_path(name)
    with pytest.raises(ModelNotFound, match="is named without a folder") as refused:
        resolve(name)
    assert f"download {name}" not in str(refused.value)
    assert str(refused.value).endswith("as in lfm9-450m") == name.startswith("weights/")


def test_the_path_of_a_known_model_gets_its_id(home: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"cactus download LiquidAI/LFM2-350M$"):
        resolve("weights/lfm2-350m")


def test_a_path_is_taken_as_it_is(home: Path) -> None:
    model = make_model(home / "einü 🌵 folder" / "tiny")
    assert resolve(model) == model
    assert resolve(str(model) + "/") == model
    assert resolve("~/einü 🌵 folder/tiny") == model
    assert resolve(os.path.relpath(model)) == Path(os.path.relpath(model))


def test_a_folder_that_happens_to_have_a_models_name_does_not_hide_it(home: Path) -> None:
    model = make_model(locate.weights_root() / "tiny")
    (home / "work" / "tiny").mkdir()
    assert resolve("tiny") == model


def test_a_model_that_is_known_but_not_here_says_how_to_get_it(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="cactus download HuggingFaceTB/SmolLM2-135M-Instruct"):
        resolve("smollm2-135m-instruct")


def test_a_typing_mistake_gets_the_nearest_name(home: Path) -> None:
    make_model(locate.weights_root() / "my-finetune")
    with pytest.raises(ModelNotFound, match="did you mean my-finetune"):
        resolve("my-finetnue")
    with pytest.raises(ModelNotFound, match="did you mean smollm2-135m-instruct"):
        resolve("smolm2-135m-instruct")


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "../../etc/passwd", "..", ".", "/nonexistent", "C:\\models\\x", "con", "NUL.bin",
        "a/../../b", "a\0b", "x" * 4000, "owner/" + "x" * 300, "~nobody-here/x", "a b", "-rf", "ä",
    ],
)  # fmt: skip
def test_what_is_no_name_and_no_model_is_refused(home: Path, name: str) -> None:
    # The folder that a climbing name would reach holds a model, and must not be reached by it.
    locate.weights_root().mkdir(parents=True)
    with pytest.raises(ModelNotFound) as refused:
        resolve(name)
    assert len(str(refused.value)) < 1000


@pytest.mark.fault("F68")
@pytest.mark.parametrize("name", ["../outside", "owner/../outside", "weights/../../outside"])
def test_a_name_stays_below_the_weights_root(home: Path, name: str) -> None:
    make_model(locate.weights_root().parent / "outside")
    locate.weights_root().mkdir(parents=True)
    assert locate.find_named(name) is None


def test_a_checkpoint_that_is_not_converted_says_so(home: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelNotFound, match="a checkpoint is converted by: cactus convert"):
        resolve(tiny_checkpoint)


@pytest.mark.parametrize("text", ["{", "[]", '{"cactus"', "[" * 100_000])
def test_a_broken_config_is_no_model_and_no_crash(home: Path, text: str) -> None:
    folder = make_model(home / "broken")
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelFormatError, match=r"config\.json: (not valid JSON|expected|JSON is)"):
        resolve(folder)
    assert not locate.is_weights_folder(folder)


def test_a_folder_without_config_and_another_file_are_refused(home: Path) -> None:
    (home / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"it has no config\.json"):
        resolve(home / "empty")
    (home / "notes.txt").write_text("hello")
    with pytest.raises(ModelNotFound, match=r"neither a weights folder nor a GGUF file"):
        resolve(home / "notes.txt")


def test_installed_models_are_listed_once_and_unfinished_ones_not(home: Path) -> None:
    root = locate.weights_root()
    make_model(root / "b")
    make_model(root / "a")
    make_model(root / ".downloads" / "c")
    (root / "notes").mkdir()
    make_model(home / "work" / "weights" / "a")
    assert locate.installed() == [home / "work" / "weights" / "a", root / "b"]


@pytest.mark.fault("F21")
def test_a_gguf_is_converted_once_and_again_when_it_changes(home, starter_gguf, tmp_path) -> None:
    file = tmp_path / "model.gguf"
    shutil.copy(starter_gguf, file)
    steps: list[str] = []
    folder = resolve(file, lambda label, *_: steps.append(label))
    assert locate.is_weights_folder(folder) and folder.is_relative_to(locate.cache_root())
    assert steps and set(steps) == {"converting model.gguf"}
    assert resolve(str(file), lambda *_: pytest.fail("converted again")) == folder
    os.utime(file, (1, 1))
    newer = resolve(file)
    assert newer != folder and locate.is_weights_folder(newer) and not folder.exists()


def replace_keeping_the_date(file: Path, data: bytes) -> None:
    """What ``cp -p`` of another file with the same date does."""
    status = file.stat()
    assert len(data) == status.st_size and data != file.read_bytes()
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.fault("F21")
@pytest.mark.parametrize("where", ["header", "tensors"])
def test_a_replaced_file_of_the_same_size_and_date_is_converted_again(home, where) -> None:
    file = home / "model.gguf"
    file.write_bytes(tiny_llama().build())
    folder = resolve(file)
    before = (folder / "model.safetensors").read_bytes()
    other = tiny_llama()
    if where == "header":
        other.set("llama.rope.freq_base", F32, 20000.0)
    else:
        name = "blk.1.ffn_up.weight"
        other.tensor(name).data = bytes(len(other.tensor(name).data))
    replace_keeping_the_date(file, other.build())
    folder = resolve(file)
    config = json.loads((folder / "config.json").read_text())
    after = (folder / "model.safetensors").read_bytes()
    assert (config["rope_theta"] == 20000) == (where == "header")
    assert (after != before) == (where == "tensors")


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("model.safetensors", False),
        ("model.safetensors", True),
        ("config.json", False),
        ("config.json", True),
        ("tokenizer.json", False),
    ],
)
def test_a_conversion_of_which_files_were_deleted_is_made_again(home, name: str, cut: bool) -> None:
    file = home / "model.gguf"
    file.write_bytes(tiny_llama().build())
    kept = resolve(file) / name
    before = kept.read_bytes()
    if cut:
        os.truncate(kept, len(before) // 2)
    else:
        kept.unlink()
    assert (resolve(file) / name).read_bytes() == before


def test_a_large_file_is_sampled_everywhere(tmp_path: Path) -> None:
    """64 MB: 32 kB that differ anywhere out of every 256 kB are noticed."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    opened = RegularFile(path)
    described = describe_file(opened, 100)
    opened.close()
    assert is_described(path, described)
    with path.open("r+b") as file:
        for at in range(32 << 20, 40 << 20, 256 << 10):
            file.seek(at)
            file.write(b"\1" * (32 << 10))
    assert not is_described(path, described)
    assert not is_described(tmp_path / "gone", described)
    assert not is_described(path, {"file": "large"})


@pytest.mark.fault("F21")
@pytest.mark.parametrize(
    "name", ["sha256-74701a8c35f6c8d9a4b91f3f3497643001d63e0c7a84e085", "m.bin"]
)
def test_a_gguf_is_known_by_its_content(home, name: str) -> None:
    (home / name).write_bytes(tiny_llama().build())
    assert locate.is_weights_folder(resolve(home / name))


@pytest.mark.fault("F20")
def test_a_pipe_is_not_waited_for(home) -> None:
    os.mkfifo(home / "pipe")
    with pytest.raises(ModelNotFound, match="neither a weights folder nor a GGUF file"):
        resolve(home / "pipe")


def test_a_gguf_without_a_writable_cache_says_what_to_do(home, monkeypatch, tmp_path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CactusError, match="cactus convert"):
        resolve(tmp_path / "model.gguf")


@pytest.mark.fault("F64")
def test_without_a_home_and_in_a_deleted_folder_there_is_still_a_root(home, monkeypatch) -> None:
    monkeypatch.delenv("HOME")
    gone = home / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert locate.weights_root().is_absolute()


@pytest.mark.parametrize(
    "name",
    [
        "https://huggingface.co/acme/Tiny-1B",
        "https://huggingface.co/acme/Tiny-1B/",
        "http://www.huggingface.co/acme/tiny-1b?library=transformers",
        "https://huggingface.co/acme/Tiny-1B/tree/main",
        "https://huggingface.co/acme/Tiny-1B/tree/v2",
        "https://huggingface.co/acme/Tiny-1B/blob/main/README.md",
        "https://huggingface.co/acme/Tiny-1B/resolve/v2/Tiny-1B-Q4_K_M.gguf?download=true",
        "huggingface.co/acme/Tiny-1B",
        "hf.co/acme/Tiny-1B:Q4_K_M",
        "hf://acme/Tiny-1B",
        "hf://acme/Tiny-1B@v2",
        "hf://models/acme/Tiny-1B@v2/Tiny-1B-Q4_K_M.gguf",
        "acme/Tiny-1B:Q4_K_M",
        "acme/Tiny-1B:tiny-1b-q4_k_m.gguf",
    ],
)
def test_every_address_of_a_model_finds_it(home: Path, name: str) -> None:
    model = make_model(locate.weights_root() / "tiny-1b")
    source = {"hub_id": "acme/Tiny-1B", "revision": "v2", "file": "Tiny-1B-Q4_K_M.gguf"}
    own = {"model_type": "llama", "cactus": {"format": 1, "source": source}}
    (model / "config.json").write_text(json.dumps(own))
    assert resolve(name) == model


@pytest.mark.parametrize("name", ["acme/Tiny-1B:Q8_0", "hf://acme/Tiny-1B@v3"])
def test_another_file_or_revision_than_the_one_here_is_not_found(home: Path, name: str) -> None:
    make_model(locate.weights_root() / "tiny-1b", "acme/Tiny-1B")
    assert locate.find_named("acme/Tiny-1B") is not None and locate.find_named(name) is None


def test_a_part_of_one_models_name_is_enough(home: Path) -> None:
    root = locate.weights_root()
    starter = make_model(root / "smollm2-135m-instruct")
    make_model(root / "whisper-base")
    (root / "whisper-base" / "config.json").write_text('{"model_type": "whisper", "cactus": {}}')
    for name in ("smollm2", "SmolLM2-135M", "135m", "inst"):
        assert resolve(name) == starter
    assert resolve("base") == root / "whisper-base"
    assert locate.find_named("smollm2") is None  # what deletes needs the whole name
    for name in ("lm2", "s", "35m"):  # the middle of a word, or a letter
        with pytest.raises(ModelNotFound):
            resolve(name)
    with pytest.raises(UnsupportedModel, match=r"whisper-base \(whisper\) cannot chat"):
        resolve("base", ability="chat")


def test_a_part_of_several_names_is_a_question(home: Path) -> None:
    for name in ("tiny-a", "tiny-b", "other"):
        make_model(locate.weights_root() / name)
    with pytest.raises(ModelNotFound, match='"tiny" could be tiny-a or tiny-b: name one of them'):
        resolve("tiny")


def test_a_name_of_the_catalog_means_no_longer_name_here(home: Path) -> None:
    make_model(locate.weights_root() / "qwen3-0.6b-mine")
    with pytest.raises(ModelNotFound, match=r"cactus download Qwen/Qwen3-0\.6B"):
        resolve("qwen3-0.6b")


@pytest.mark.parametrize("name", ["gpt-4", "gpt-4o-mini", "o3", "claude-opus", "gemini-2.5-pro"])
def test_a_model_of_a_service_is_not_taken_for_a_download(home: Path, name: str) -> None:
    make_model(locate.weights_root() / "tiny")
    with pytest.raises(ModelNotFound, match=r"is a service of .* here; on this") as refused:
        resolve(name)
    assert "smollm2" not in str(refused.value)


def test_an_unknown_name_gets_advice_that_fits(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model is on this machine yet: cactus download sm"):
        resolve("zebra")
    with pytest.raises(ModelNotFound, match="cactus download whisper-base fetches a small one"):
        resolve("zebra", ability="transcribe")
    with pytest.raises(ModelNotFound, match="did you mean whisper-small"):
        resolve("small", ability="transcribe")
    make_model(locate.weights_root() / "tiny")
    with pytest.raises(ModelNotFound, match=r'^no model "zebra"; on this machine: tiny$'):
        resolve("zebra")
    with pytest.raises(ModelNotFound, match=r"fetch it with: cactus download acme/New:Q4_K_M$"):
        resolve("acme/New:Q4_K_M")


@pytest.mark.parametrize(
    "name", ["https://huggingface.co/", "hf.co/acme", "https://huggingface.co/datasets/acme/x"]
)
def test_an_address_of_something_else_says_what_is_expected(home: Path, name: str) -> None:
    with pytest.raises(ModelNotFound, match="not the address of a model; expected https"):
        resolve(name)


def test_a_converted_file_has_the_name_of_the_file(home: Path, starter_gguf: Path) -> None:
    file = home / "ok.v2.gguf"
    file.symlink_to(starter_gguf)
    (home / "copy").mkdir()
    shutil.copy(starter_gguf, home / "copy" / "ok.v2.gguf")
    assert locate.name_of(resolve(home / "copy" / "ok.v2.gguf")) == "ok.v2"
    assert locate.name_of(home / "weights" / "tiny") == "tiny"
    assert locate.name_of(Path(".")) == "work"


def test_names_of_the_catalog_are_names() -> None:
    for entry in catalog.CATALOG:
        assert catalog.is_hub_id(entry.hub_id) and catalog.is_name(entry.name)
        assert catalog.find(entry.name) is catalog.find(entry.hub_id.upper()) is entry
    assert len({entry.name for entry in catalog.CATALOG}) == len(catalog.CATALOG)
