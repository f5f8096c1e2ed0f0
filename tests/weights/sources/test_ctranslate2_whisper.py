"""CTranslate2's Whisper under the names of its Hugging Face checkpoint."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.open import open_source
from cactus.weights.sources.source import Source
from tests.weights import ct2
from tests.weights.ct2 import Bin, whisper_bin, whisper_tensors, write_folder


def values(source: Source) -> dict[str, Any]:
    found = {}
    for tensor in source.tensors:
        raw = tensor.rows(0, math.prod(tensor.shape[:-1]))
        assert raw.nbytes == tensor.nbytes
        found[tensor.name] = dequantize(tensor.kind, raw).reshape(tensor.shape)
    return found


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_floats_are_the_checkpoints(tmp_path: Path, kind: str) -> None:
    want = whisper_tensors()
    source = open_source(write_folder(tmp_path / "model", whisper_bin(want, kind)))
    got = values(source)
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert np.array_equal(got[name], array), name
    assert {tensor.kind for tensor in source.tensors} == {
        {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[kind]
    }
    assert source.notes == ()
    source.close()


@pytest.mark.parametrize(("kind", "step"), [("int8", 1 / 127), ("int16", 1 / 1024)])
def test_codes_are_within_half_a_step(tmp_path: Path, kind: str, step: float) -> None:
    want = whisper_tensors()
    source = open_source(write_folder(tmp_path / "model", whisper_bin(want, kind)))
    got = values(source)
    assert got.keys() == want.keys()
    for name, array in want.items():
        # Half a step, and an eleventh bit of rounding where the step becomes f16.
        most = np.abs(array).max() * (0.5 * step + 2**-11)
        assert np.abs(got[name] - array).max() <= (most if array.ndim > 1 else 0), name
    kinds = {tensor.name: tensor.kind for tensor in source.tensors}
    attention = kinds["model.decoder.layers.1.self_attn.v_proj.weight"]
    assert attention == ("Q8_0" if kind == "int8" else "F32")
    assert kinds["model.encoder.conv2.weight"] == "F32"
    assert "quantised already" in source.notes[0]
    source.close()


def test_rows_come_in_any_pieces(tmp_path: Path) -> None:
    for kind in ("float16", "int8", "int16"):
        model = whisper_bin(whisper_tensors(1), kind)
        source = open_source(write_folder(tmp_path / kind, model))
        for tensor in source.tensors:
            rows = math.prod(tensor.shape[:-1])
            whole = tensor.rows(0, rows)
            cuts = [*range(0, rows, 48), rows]
            pieces = [tensor.rows(a, b) for a, b in itertools.pairwise(cuts)]
            assert np.array_equal(np.concatenate(pieces), whole), tensor.name
        source.close()


def test_tiny_and_empty_rows_of_codes(tmp_path: Path) -> None:
    want = whisper_tensors(1)
    want["model.encoder.layers.0.fc1.weight"][0] = 0
    want["model.encoder.layers.0.fc2.weight"] *= np.float32(1e-6)  # too small a step for f16
    source = open_source(write_folder(tmp_path / "model", whisper_bin(want, "int8")))
    got = values(source)
    assert not got["model.encoder.layers.0.fc1.weight"][0].any()
    np.testing.assert_allclose(
        got["model.encoder.layers.0.fc2.weight"],
        want["model.encoder.layers.0.fc2.weight"],
        atol=0.5e-6 * 0.51 / 127,
    )
    source.close()


def test_the_configuration_follows_from_the_shapes(tmp_path: Path) -> None:
    source = open_source(write_folder(tmp_path / "model", whisper_bin(whisper_tensors())))
    config = source.config
    assert config["model_type"] == "whisper"
    assert config["architectures"] == ["WhisperForConditionalGeneration"]
    wanted = {"d_model": 64, "vocab_size": 160, "num_mel_bins": 16, "tie_word_embeddings": True}
    for part in ("encoder", "decoder"):
        wanted |= {f"{part}_layers": 2, f"{part}_attention_heads": 4, f"{part}_ffn_dim": 96}
    wanted |= {"max_source_positions": 30, "max_target_positions": 20}
    wanted |= {"decoder_start_token_id": 101, "eos_token_id": 100}
    assert {key: config[key] for key in wanted} == wanted
    assert source.origin["format"] == "ctranslate2"
    source.close()


def test_what_generation_needs(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", whisper_bin(whisper_tensors(1)))
    (folder / "config.json").write_text(json.dumps(ct2.config() | {"alignment_heads": [[0, 3]]}))
    source = open_source(folder)
    generation = source.generation
    assert generation["suppress_tokens"] == [1, 2, 7]
    assert generation["begin_suppress_tokens"] == [10, 100]
    assert generation["alignment_heads"] == [[0, 3]]
    assert generation["no_timestamps_token_id"] == 109
    assert generation["prev_sot_token_id"] == 107
    # A vocabulary of 160 is no multilingual one.
    assert generation["is_multilingual"] is False
    assert "lang_to_id" not in generation
    source.close()


def test_the_tokenizer_and_the_features_settings_are_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", whisper_bin(whisper_tensors(1)))
    source = open_source(folder)
    (tmp_path / "out").mkdir()
    source.write_tokenizer(tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["preprocessor_config.json", "tokenizer.json"]
    settings = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert settings["feature_size"] == 16
    (folder / "preprocessor_config.json").write_text('{"feature_size": 8, "chunk_length": 30}')
    source.write_tokenizer(tmp_path / "out")
    assert "chunk_length" in (tmp_path / "out" / "preprocessor_config.json").read_text()
    source.close()


# What files can lie about


def drop(name: str) -> Callable[[Bin], None]:
    def change(model: Bin) -> None:
        model.entries.remove(model.entry(name))

    return change


def replace(name: str, kind: str, array: Any) -> Callable[[Bin], None]:
    def change(model: Bin) -> None:
        at = model.entries.index(model.entry(name))
        model.add(name, kind, array)
        model.entries[at] = model.entries.pop()

    return change


def add(name: str, kind: str, array: Any) -> Callable[[Bin], None]:
    return lambda model: model.add(name, kind, array)


def spec(name: bytes, revision: int = 3) -> Callable[[Bin], None]:
    def change(model: Bin) -> None:
        model.spec, model.revision = name, revision

    return change


ONE = np.ones(64)


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (spec(b"TransformerSpec"), UnsupportedModel, "holds a 'TransformerSpec'"),
        (spec(b"WhisperSpec", 4), UnsupportedModel, "revision 4, expected 1 to 3"),
        (drop("encoder/conv1/bias"), ModelFormatError, "'encoder/conv1/bias' is missing"),
        (drop("encoder/num_heads"), ModelFormatError, "'encoder/num_heads' is missing"),
        (replace("decoder/num_heads", "int16", 0), ModelFormatError, "num_heads is 0"),
        (replace("decoder/num_heads", "int16", 7), ModelFormatError, "does not divide 64"),
        (replace("decoder/num_heads", "int16", [4, 4]), ModelFormatError, "expected an integer"),
        (replace("decoder/activation", "int8", 0), UnsupportedModel, "activation is 0, expected 3"),
        (replace("decoder/alibi", "int8", 1), UnsupportedModel, "alibi is 1"),
        (
            replace("encoder/layer_norm/beta", "float16", np.ones(63)),
            ModelFormatError,
            r"shape \[63\], expected \[64\]",
        ),
        (replace("encoder/layer_norm/beta", "int8", ONE), UnsupportedModel, "expected a float"),
        (
            replace("encoder/layer_0/self_attention/linear_0/weight", "float16", np.ones((64, 64))),
            ModelFormatError,
            r"shape \[64, 64\], expected \[192, 64\]",
        ),
        (
            replace("encoder/layer_0/self_attention/linear_0/bias", "float16", np.ones(192)),
            UnsupportedModel,
            "keys have a bias",
        ),
        (
            replace("decoder/layer_0/attention/linear_1/weight", "int32", np.ones((128, 64))),
            UnsupportedModel,
            "is int32, expected a float",
        ),
        (
            replace("decoder/layer_0/attention/linear_1/weight", "int8", np.ones((128, 64))),
            ModelFormatError,
            "weight_scale' is missing",
        ),
        (drop("encoder/layer_0/self_attention/linear_0/weight"), ModelFormatError, "has 0 layers"),
        (add("decoder/layer_0/attention/rotary", "float16", ONE), UnsupportedModel, "not part of"),
        (
            lambda model: (
                model.aliases.clear() or model.add("decoder/projection/weight", "int8", 1)
            ),
            UnsupportedModel,
            "not tied",
        ),
    ],
    ids=range(18),
)
def test_variables_that_do_not_fit(
    tmp_path: Path, change: Callable[[Bin], None], kind: type[CactusError], match: str
) -> None:
    model = whisper_bin(whisper_tensors(1))
    change(model)
    folder = write_folder(tmp_path / "model", model)
    with pytest.raises(kind, match=match) as caught:
        open_source(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-38, np.nan, np.inf])
def test_scales_that_are_none(tmp_path: Path, scale: float) -> None:
    model = whisper_bin(whisper_tensors(1), "int8")
    scales = np.ones(96, np.float32)
    scales[7] = scale
    replace("encoder/layer_0/ffn/linear_0/weight_scale", "float32", scales)(model)
    with pytest.raises(ModelFormatError, match="scales that are not above 1e-30"):
        open_source(write_folder(tmp_path / "model", model))


@pytest.mark.parametrize(("kind", "most"), [("int8", 127), ("int16", 32767)])
@pytest.mark.parametrize("scale", [1.01e-30, 3e38])
def test_the_smallest_and_the_largest_scale(
    tmp_path: Path, kind: str, most: int, scale: float
) -> None:
    model = whisper_bin(whisper_tensors(1), kind)
    name = "encoder/layer_0/ffn/linear_0/weight"
    replace(name, kind, np.full((96, 64), most))(model)
    scales = np.full(96 if kind == "int8" else (), scale)
    replace(f"{name}_scale", "float32", scales)(model)
    source = open_source(write_folder(tmp_path / "model", model))
    with np.errstate(all="raise", under="ignore"):
        got = values(source)["model.encoder.layers.0.fc1.weight"]
    np.testing.assert_allclose(got, most / scale, rtol=1e-6, atol=1e-38)
    source.close()


def test_scales_of_another_number(tmp_path: Path) -> None:
    model = whisper_bin(whisper_tensors(1), "int8")
    replace("encoder/layer_0/ffn/linear_0/weight_scale", "float32", np.ones(95))(model)
    with pytest.raises(ModelFormatError, match="has 95 values, expected 96"):
        open_source(write_folder(tmp_path / "model", model))


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("config.json", {"suppress_ids": [160]}, "suppress_ids: .* expected a list of ids below"),
        ("config.json", {"suppress_ids_begin": "x"}, "suppress_ids_begin"),
        ("config.json", {"lang_ids": [-1]}, "lang_ids"),
        ("config.json", {"lang_ids": [True]}, "lang_ids"),
        ("config.json", {"alignment_heads": [[0, 4]]}, "a head below 4"),
        ("config.json", {"alignment_heads": [[1, 0]]}, "a layer below 1"),
        ("config.json", {"alignment_heads": [0]}, "alignment_heads"),
        ("config.json", {"alignment_heads": {"a": 1}}, "alignment_heads"),
        ("tokenizer.json", {"added_tokens": []}, r"<\|endoftext\|> is missing"),
        ("tokenizer.json", {"added_tokens": [{"id": 160, "content": "x"}]}, "id below 160"),
        ("tokenizer.json", {"added_tokens": [{"id": 1}]}, "and content"),
        ("tokenizer.json", {"added_tokens": [None]}, "and content"),
    ],
    ids=range(12),
)
def test_json_that_does_not_fit(
    tmp_path: Path, file: str, change: dict[str, Any], match: str
) -> None:
    folder = write_folder(tmp_path / "model", whisper_bin(whisper_tensors(1)))
    right = {
        "config.json": ct2.config() | {"alignment_heads": []},
        "tokenizer.json": ct2.tokenizer(),
    }
    for name, content in right.items():
        (folder / name).write_text(json.dumps(content | (change if name == file else {})))
    with pytest.raises(ModelFormatError, match=match) as caught:
        open_source(folder)
    assert str(folder / file) in str(caught.value)


def test_a_folder_without_a_tokenizer_says_where_to_get_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", whisper_bin(whisper_tensors(2)))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFormatError, match=r"tokenizer.json is missing; copy it there"):
        open_source(folder)
