"""Hugging Face folders as the source of a conversion, honest and hostile."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import SafetensorsWriter, write_safetensors
from cactus.weights.sources.checkpoint import INDEX
from tests.weights.made import write_tokenizer

_SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (40, 32),
    "model.embedding_norm.weight": (32,),
    "model.layers.0.operator_norm.weight": (32,),
    "model.layers.0.ffn_norm.weight": (32,),
    "model.layers.0.conv.in_proj.weight": (96, 32),
    "model.layers.0.conv.out_proj.weight": (32, 32),
    "model.layers.0.conv.conv.weight": (32, 1, 3),
    "model.layers.0.feed_forward.w1.weight": (64, 32),
    "model.layers.0.feed_forward.w2.weight": (32, 64),
    "model.layers.0.feed_forward.w3.weight": (64, 32),
}


def config() -> dict[str, Any]:
    return {
        "model_type": "lfm2",
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 64,
        "block_auto_adjust_ff_dim": False,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "norm_eps": 1e-5,
        "conv_L_cache": 3,
        "layer_types": ["conv"],
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def tensors() -> dict[str, Any]:
    random = np.random.default_rng(2)
    return {name: random.normal(size=s).astype(np.float32) for name, s in _SHAPES.items()}


def folder(tmp_path: Path, contents: dict[str, Any] | None = None) -> Path:
    """A folder with config.json and, unless None, model.safetensors."""
    path = tmp_path / "hf"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config()))
    write_tokenizer(path)
    if contents is not None:
        write_safetensors(path / "model.safetensors", contents)
    return path


def sharded(tmp_path: Path) -> Path:
    """The same model in two shards with an index."""
    path = folder(tmp_path)
    names = list(_SHAPES)
    values = tensors()
    shards = {"one.safetensors": names[:4], "two.safetensors": names[4:]}
    for shard, members in shards.items():
        write_safetensors(path / shard, {name: values[name] for name in members})
    write_index(path, {name: shard for shard, members in shards.items() for name in members})
    return path


def write_index(path: Path, weight_map: Any) -> None:
    (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def read_index(path: Path) -> dict[str, str]:
    weight_map: dict[str, str] = json.loads((path / INDEX).read_text())["weight_map"]
    return weight_map


def refuse(
    source: Path, match: str, kind: type[CactusError] = ModelFormatError, precision: str = "INT8"
) -> None:
    with pytest.raises(kind, match=match):
        convert(source, source.parent / "out", precision)
    assert not (source.parent / "out").exists()


def check(out: Path) -> None:
    values = tensors()
    with WeightsFolder.open(out) as opened:
        assert opened.tensors.keys() == values.keys()
        for name, value in values.items():
            wanted = value[:, 0] if value.ndim == 3 else value
            assert np.array_equal(opened.dequantize(name), wanted), name


def test_one_file(tmp_path: Path) -> None:
    report = convert(folder(tmp_path, tensors()), tmp_path / "out")
    assert report.precision == "FP32"
    check(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["cactus"]["source"]["file"] == "model.safetensors"
    assert {key: written[key] for key in config()} == config()
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2}


def test_several_files(tmp_path: Path) -> None:
    convert(sharded(tmp_path), tmp_path / "out", "FP32")
    check(tmp_path / "out")


@pytest.mark.parametrize(("dtype", "stored"), [("F16", "f16"), ("BF16", "bf16")])
def test_half_precision_is_kept(tmp_path: Path, dtype: str, stored: str) -> None:
    source = folder(tmp_path)
    values = tensors()
    infos = [(name, dtype, value.shape) for name, value in values.items()]
    with SafetensorsWriter(source / "model.safetensors", infos, {}) as writer:
        for name, value in values.items():
            writer.begin(name)
            if dtype == "F16":
                writer.write(value.astype(np.float16))
                values[name] = value.astype(np.float16).astype(np.float32)
            else:
                bits = (value.view(np.uint32) >> 16).astype(np.uint16)
                writer.write(bits)
                values[name] = (bits.astype(np.uint32) << 16).view(np.float32)
    assert convert(source, tmp_path / "out").precision == "FP16"
    with WeightsFolder.open(tmp_path / "out") as opened:
        assert opened.tensors["model.embed_tokens.weight"].dtype == stored
        for name, value in values.items():
            wanted = value[:, 0] if value.ndim == 3 else value
            assert np.array_equal(opened.dequantize(name), wanted), name


def test_tokenizer_files_and_templates(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())
    (source / "special_tokens_map.json").write_text('{"eos_token": "x"}')
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (source / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    (source / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    (source / "notes.txt").write_text("not copied")
    convert(source, tmp_path / "out")
    out = tmp_path / "out"
    for name in ("tokenizer.json", "special_tokens_map.json"):
        assert (out / name).read_text() == (source / name).read_text()
    assert (out / "chat_template.jinja").read_text() == "D"
    assert json.loads((out / "generation_config.json").read_text()) == {"eos_token_id": [2, 7]}
    assert not (out / "notes.txt").exists()
    (source / "chat_template.jinja").write_text("J")
    convert(source, out)
    assert (out / "chat_template.jinja").read_text() == "J"


def test_a_tokenizer_file_that_is_no_json(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())
    (source / "tokenizer.json").write_text("{")
    refuse(source, r"tokenizer\.json: not valid JSON")


def test_buffers_and_tied_heads_are_dropped(tmp_path: Path) -> None:
    contents = tensors()
    contents["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    contents["model.position_ids"] = np.arange(4)
    contents["lm_head.weight"] = contents["model.embed_tokens.weight"]
    report = convert(folder(tmp_path, contents), tmp_path / "out", "FP32")
    check(tmp_path / "out")
    assert len(report.notes) == 3


@pytest.mark.fault("F08")
def test_missing_misshapen_and_extra_tensors_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())

    def rewrite(change: Any) -> None:
        contents = tensors()
        change(contents)
        write_safetensors(source / "model.safetensors", contents)

    rewrite(lambda c: c.pop("model.layers.0.feed_forward.w2.weight"))
    refuse(source, r"feed_forward\.w2\.weight")
    rewrite(lambda c: c.update({"model.embedding_norm.weight": np.ones(16, np.float32)}))
    refuse(source, r"embedding_norm\.weight.*\[32\].*\[16\]")
    rewrite(lambda c: c.update({"model.layers.9.mystery": np.ones(16, np.float32)}))
    refuse(source, r"model\.layers\.9\.mystery")
    rewrite(lambda c: c.update({"model.embedding_norm.weight": np.ones((32, 0), np.float32)}))
    refuse(source, r"embedding_norm\.weight' is empty")
    rewrite(dict.clear)
    refuse(source, "no tensor to convert")


def test_quantised_checkpoints_are_named(tmp_path: Path) -> None:
    contents = tensors()
    contents["model.layers.0.conv.in_proj.weight"] = np.ones((96, 32), np.int8)
    source = folder(tmp_path, contents)
    refuse(source, r"in_proj\.weight' is I8, expected one of F32, F16, BF16", UnsupportedModel)


@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"model_type": None}, "model_type is None"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"max_position_embeddings": 2**31}, "max_position_embeddings"),
    ],
)
def test_a_config_that_lies_is_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    source = folder(tmp_path, tensors())
    (source / "config.json").write_text(json.dumps(config() | change))
    refuse(source, match)


def test_an_unknown_model_type_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())
    for name in ("gpt9", "../../os", "base"):
        (source / "config.json").write_text(json.dumps(config() | {"model_type": name}))
        refuse(source, "model_type", UnsupportedModel)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\xff", '{"a": NaN}', '{"a":1,"a":2}', "[" * 10**5]
)
def test_a_config_that_is_not_a_json_object_is_refused(tmp_path: Path, text: str) -> None:
    source = folder(tmp_path, tensors())
    (source / "config.json").write_text(text, encoding="latin-1")
    refuse(source, r"config\.json: ")


# The index of shards


@pytest.mark.fault("F14")
@pytest.mark.parametrize(
    ("shard", "match"),
    [
        ("../../etc/passwd", "not a plain file name"),
        ("../hf/one.safetensors", "not a plain file name"),
        ("/etc/passwd", "not a plain file name"),
        ("sub/one.safetensors", "not a plain file name"),
        ("..\\one.safetensors", "not a plain file name"),
        ("..", "not a plain file name"),
        (".", "not a plain file name"),
        ("", "not a plain file name"),
        ("one\0.safetensors", "not a plain file name"),
        ("n" * 300, "is missing"),
        ("\ud800", "surrogate"),
        ("three.safetensors", "'three.safetensors' is missing"),
        (7, "is not a file name"),
        (None, "is not a file name"),
        (["one.safetensors"], "is not a file name"),
    ],
)
def test_shard_names_cannot_leave_the_folder(tmp_path: Path, shard: Any, match: str) -> None:
    source = sharded(tmp_path)
    write_index(source, read_index(source) | {"model.embedding_norm.weight": shard})
    refuse(source, match)


@pytest.mark.fault("F14")
def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A link may stay in the folder or lead to the blobs of its download cache, nowhere else."""
    source = sharded(tmp_path)
    outside = tmp_path / "secret.safetensors"
    (source / "one.safetensors").rename(outside)
    (source / "one.safetensors").symlink_to(outside)
    refuse(source, "link out of the folder")
    (source / "one.safetensors").unlink()
    (source / "one.safetensors").symlink_to("two.safetensors")
    refuse(source, "is not in 'one.safetensors'")
    (source / "one.safetensors").unlink()
    (source / "one.safetensors").symlink_to(tmp_path / "absent")
    refuse(source, "'one.safetensors' is missing")


def test_the_links_of_a_download_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    source = sharded(tmp_path)
    snapshot.mkdir(parents=True)
    for index, file in enumerate(sorted(source.iterdir())):
        (blobs / str(index)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(index))
    convert(snapshot, tmp_path / "out", "FP32")
    check(tmp_path / "out")


def test_the_blobs_that_all_models_of_a_download_cache_share_are_read(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    store, blobs = cache / "blobs" / "ab", cache / "models--x" / "blobs"
    snapshot = cache / "models--x" / "snapshots" / "1"
    for place in (store, blobs, snapshot):
        place.mkdir(parents=True)
    for index, file in enumerate(sorted(sharded(tmp_path).iterdir())):
        (store / str(index)).write_bytes(file.read_bytes())
        (blobs / str(index)).symlink_to(Path("../../blobs/ab") / str(index))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(index))
    convert(snapshot, tmp_path / "out", "FP32")
    check(tmp_path / "out")
    snapshot.parent.rename(snapshot.parent.with_name("elsewhere"))
    refuse(cache / "models--x" / "elsewhere" / "1", "link out of the folder")


@pytest.mark.fault("F14")
def test_a_link_for_the_single_file_is_checked(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())
    (source / "model.safetensors").rename(tmp_path / "elsewhere")
    (source / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    refuse(source, "link out of the folder")


@pytest.mark.fault("F14")
@pytest.mark.parametrize("weight_map", [None, [], {}, "x", 5])
def test_an_index_without_a_map_is_refused(tmp_path: Path, weight_map: Any) -> None:
    source = sharded(tmp_path)
    write_index(source, weight_map)
    refuse(source, "weight_map is missing")


@pytest.mark.fault("F13")
def test_an_index_that_contradicts_the_shards_is_refused(tmp_path: Path) -> None:
    source = sharded(tmp_path)
    weight_map = read_index(source)
    write_index(source, weight_map | {"model.embedding_norm.weight": "two.safetensors"})
    refuse(source, "'model.embedding_norm.weight' is not in 'two.safetensors'")
    write_index(source, weight_map | {"ghost": "two.safetensors"})
    refuse(source, "'ghost' is not in 'two.safetensors'")
    write_index(source, weight_map)
    values = tensors()
    twice = {name: values[name] for name in list(_SHAPES)[3:]}
    write_safetensors(source / "two.safetensors", twice)
    refuse(source, "'model.layers.0.ffn_norm.weight' is in 'one.* and in 'two")


def test_tensors_outside_the_index_are_noted(tmp_path: Path) -> None:
    source = sharded(tmp_path)
    values = tensors()
    contents = {name: values[name] for name in list(_SHAPES)[4:]} | {"more": np.ones(3)}
    write_safetensors(source / "two.safetensors", contents)
    report = convert(source, tmp_path / "out", "FP32")
    assert report.notes == ("tensor 'more' of 'two.safetensors' is not in the index; ignored",)
    check(tmp_path / "out")


@pytest.mark.fault("F14")
def test_too_many_files_are_refused(tmp_path: Path) -> None:
    source = folder(tmp_path)
    write_safetensors(source / "0", {"t": np.ones(1)})
    for index in range(1, 1025):
        os.link(source / "0", source / str(index))
    write_index(source, {f"t{index}": str(index) for index in range(1025)})
    refuse(source, "more than 1024 files")
    assert len(os.listdir("/proc/self/fd")) < 100


# Pickles


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.fault("F15")
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".PT"])
def test_pickles_are_refused(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "marker"
    source = folder(tmp_path)
    bomb = source / f"pytorch_model{suffix}"
    bomb.write_bytes(pickle.dumps(Bomb(marker)))
    refuse(source, "a pickle can run any code", UnsupportedModel)
    refuse_file = pytest.raises(UnsupportedModel, match="a pickle can run any code")
    with refuse_file:
        convert(bomb, tmp_path / "out")
    assert not marker.exists()


@pytest.mark.fault("F15")
def test_pickles_under_other_names_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = pickle.dumps(Bomb(marker))
    source = folder(tmp_path)
    (source / "model.safetensors").write_bytes(data + bytes(100))
    refuse(source, "header length")
    (tmp_path / "model.gguf").write_bytes(data + bytes(100))
    with pytest.raises(ModelFormatError, match="magic"):
        convert(tmp_path / "model.gguf", tmp_path / "out")
    assert not marker.exists()


@pytest.mark.fault("F15")
def test_zip_bombs_are_never_opened(tmp_path: Path) -> None:
    source = folder(tmp_path)
    with zipfile.ZipFile(source / "model.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(100_000_000))
    refuse(source, "a pickle can run any code", UnsupportedModel)
    (source / "model.pt").rename(source / "model.safetensors")
    refuse(source, "header length|header begins")


# F16: code of the model


@pytest.mark.fault("F16")
def test_code_of_the_model_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = folder(tmp_path, tensors())
    marker = tmp_path / "marker"
    (source / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w').close()")
    evil = {
        "auto_map": {"AutoModelForCausalLM": "modeling_evil.Model"},
        "trust_remote_code": True,
        "_attn_implementation_internal": "evil/kernel",
        "_name_or_path": "harmless",
    }
    (source / "config.json").write_text(json.dumps(config() | evil))
    with caplog.at_level(logging.WARNING, "cactus.weights"):
        report = convert(source, tmp_path / "out", "FP32")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert not written.keys() & evil.keys()
    assert {note.split("'")[1] for note in report.notes} == evil.keys() - {"_name_or_path"}
    assert len(caplog.records) == 3
    assert not marker.exists()
    assert "modeling_evil" not in sys.modules
    assert not (tmp_path / "out" / "modeling_evil.py").exists()


# Other sources


@pytest.mark.fault("F20")
def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", r"no config\.json")
    source = folder(tmp_path)
    refuse(source, "neither model.safetensors nor")


def test_converting_twice(tmp_path: Path) -> None:
    convert(folder(tmp_path, tensors()), tmp_path / "first")
    refuse(tmp_path / "first", "is converted already", UnsupportedModel)


def test_a_lone_safetensors_file(tmp_path: Path) -> None:
    source = folder(tmp_path, tensors())
    with pytest.raises(UnsupportedModel, match="give its folder"):
        convert(source / "model.safetensors", tmp_path / "out")


@pytest.mark.fault("F20")
def test_special_files_in_the_folder_are_refused(tmp_path: Path) -> None:
    source = folder(tmp_path)
    os.mkfifo(source / "model.safetensors")
    refuse(source, "a named pipe")
    (source / "config.json").unlink()
    os.mkfifo(source / "config.json")
    refuse(source, "a named pipe")
    (source / "config.json").unlink()
    (source / "config.json").mkdir()
    refuse(source, "a directory")
