"""`convert`: what comes out of GGUF files, and that it is whole or not there at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cactus.errors import (
    CactusError,
    ModelFormatError,
    UnsupportedModel,
)
from cactus.weights.convert import ConversionReport, convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.sources.gguf.blocks import LOSSLESS, STORED
from cactus.weights.sources.gguf.read import read_gguf
from tests.models import encoders, vision
from tests.weights.forge import TYPES, Forge, tiny_lfm2, tiny_llama
from tests.weights.made import small_checkpoint, tree, values_of, write, write_checkpoint

_PLAIN = ("F32", "F16", "BF16")
_NAMES = {number: name for name, (number, _, _) in TYPES.items()}


def without_rotary_order(matrix: Any, head_dim: int) -> Any:
    """What a converter to GGUF did to the rows of q and k, undone one row at a time."""
    half = head_dim // 2
    order = [
        head + 2 * (row % half) + row // half
        for head in range(0, len(matrix), head_dim)
        for row in range(head_dim)
    ]
    return matrix[order]


# Lossless import

KEPT = {"Q4_0": "q4_0", "Q4_1": "q4", "IQ4_NL": "q4_nl", "Q8_0": "q8"}


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "IQ4_NL", "Q8_0", "F16", "BF16", "F32"])
@pytest.mark.parametrize("piece", [1, 700, 1 << 18])
def test_llama_is_imported_without_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, piece: int
) -> None:
    """Also in pieces of a tile, or of a head where rows are permuted."""
    monkeypatch.setattr("cactus.weights.write.PIECE", piece)
    model = tiny_llama(kind)
    report = convert(write(tmp_path, model), tmp_path / "out")
    assert all(tensor.relative_rms == 0 for tensor in report.tensors)
    with WeightsFolder.open(tmp_path / "out") as folder:
        assert len(folder.tensors) == len(model.tensors)
        dtype = KEPT.get(kind, kind.lower())
        for old, new in (
            ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_gate", "mlp.gate_proj"),
            ("ffn_up", "mlp.up_proj"),
            ("ffn_down", "mlp.down_proj"),
        ):
            name = f"model.layers.1.{new}.weight"
            wanted = values_of(model, f"blk.1.{old}.weight")
            assert folder.tensors[name].dtype == dtype
            assert np.array_equal(folder.dequantize(name), wanted)
        for old, new in (("attn_q", "q_proj"), ("attn_k", "k_proj")):
            wanted = without_rotary_order(values_of(model, f"blk.0.{old}.weight"), 16)
            assert np.array_equal(
                folder.dequantize(f"model.layers.0.self_attn.{new}.weight"), wanted
            )
        embedding = folder.dequantize("model.embed_tokens.weight")
        assert np.array_equal(embedding, values_of(model, "token_embd.weight"))
        for old, new in (
            ("output_norm", "model.norm"),
            ("blk.0.attn_norm", "model.layers.0.input_layernorm"),
            ("blk.0.ffn_norm", "model.layers.0.post_attention_layernorm"),
        ):
            stored = folder.tensors[f"{new}.weight"]
            assert (stored.dtype, stored.layout, stored.shape) == ("f32", "plain", (32,))
            wanted = values_of(model, f"{old}.weight")
            assert np.array_equal(folder.dequantize(f"{new}.weight"), wanted)


def test_lfm2_is_imported_without_loss(tmp_path: Path) -> None:
    model = tiny_lfm2()
    convert(write(tmp_path, model), tmp_path / "out")
    with WeightsFolder.open(tmp_path / "out") as folder:
        for old, new in (
            ("blk.0.shortconv.in_proj", "model.layers.0.conv.in_proj"),
            ("blk.0.shortconv.out_proj", "model.layers.0.conv.out_proj"),
            ("blk.0.shortconv.conv", "model.layers.0.conv.conv"),
            ("blk.0.attn_norm", "model.layers.0.operator_norm"),
            ("blk.0.ffn_norm", "model.layers.0.ffn_norm"),
            ("blk.1.attn_q", "model.layers.1.self_attn.q_proj"),
            ("blk.1.attn_k", "model.layers.1.self_attn.k_proj"),
            ("blk.1.attn_output", "model.layers.1.self_attn.out_proj"),
            ("blk.1.attn_q_norm", "model.layers.1.self_attn.q_layernorm"),
            ("blk.1.attn_k_norm", "model.layers.1.self_attn.k_layernorm"),
            ("blk.1.ffn_gate", "model.layers.1.feed_forward.w1"),
            ("blk.1.ffn_down", "model.layers.1.feed_forward.w2"),
            ("blk.1.ffn_up", "model.layers.1.feed_forward.w3"),
            ("token_embd_norm", "model.embedding_norm"),
        ):
            wanted = values_of(model, f"{old}.weight")
            assert np.array_equal(folder.dequantize(f"{new}.weight"), wanted), new
        kernel = folder.tensors["model.layers.0.conv.conv.weight"]
        assert (kernel.dtype, kernel.layout, kernel.shape) == ("f32", "plain", (32, 3))


def test_rotary_order_of_a_known_matrix(tmp_path: Path) -> None:
    """The permutation is the inverse of the one that llama.cpp's converter documents."""
    model = tiny_llama("F32")
    original = np.arange(32 * 32, dtype="<f4").reshape(32, 32)
    stored = original.reshape(2, 2, 8, 32).swapaxes(1, 2).reshape(32, 32)
    model.tensor("blk.0.attn_q.weight").data = stored.tobytes()
    convert(write(tmp_path, model), tmp_path / "out")
    with WeightsFolder.open(tmp_path / "out") as folder:
        read = folder.dequantize("model.layers.0.self_attn.q_proj.weight")
    assert np.array_equal(read, original)


def test_rotary_order_of_a_bias(tmp_path: Path) -> None:
    """Biases are permuted with their rows; the model file may refuse them, the source does not."""
    from cactus.weights.sources.open import open_source

    model = tiny_llama("F32")
    bias = np.arange(32, dtype="<f4")
    for layer in (0, 1):
        for name, rows in (("attn_q", 32), ("attn_k", 16), ("attn_v", 16), ("attn_output", 32)):
            model.add(f"blk.{layer}.{name}.bias", "F32", (rows,))
    stored = bias.reshape(2, 2, 8).swapaxes(1, 2).reshape(32)
    model.tensor("blk.1.attn_q.bias").data = stored.tobytes()
    source = open_source(write(tmp_path, model))
    tensors = {tensor.name: tensor for tensor in source.tensors}
    read = tensors["model.layers.1.self_attn.q_proj.bias"].rows(0, 1).view(np.float32)
    assert np.array_equal(read[0], bias)
    assert source.config["attention_bias"] is True
    source.close()


def test_starter_model(starter_gguf: Path, starter_folder: Path, starter_reader: Any) -> None:
    """Embedding and every eighth tensor of the real file equal what the `gguf` package reads."""
    reader = starter_reader
    renamed = {"attn_output": "self_attn.o_proj", "ffn_down": "mlp.down_proj",
               "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
               "ffn_up": "mlp.up_proj", "attn_norm": "input_layernorm",
               "attn_v": "self_attn.v_proj", "ffn_gate": "mlp.gate_proj",
               "ffn_norm": "post_attention_layernorm"}  # fmt: skip
    checked = 0
    with WeightsFolder.open(starter_folder) as folder:
        assert folder.config["cactus"]["precision"] == "INT4"
        assert {t.dtype for t in folder.tensors.values()} == {"q4", "q8", "f32"}
        first = reader.tensors[0]
        assert first.name == "token_embd.weight"
        wanted = gguf.quants.dequantize(first.data, first.tensor_type)
        assert np.array_equal(folder.dequantize("model.embed_tokens.weight"), wanted)
        for tensor in reader.tensors[1:-1:8]:
            _, layer, name, _ = tensor.name.split(".")
            wanted = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if name in ("attn_q", "attn_k"):
                wanted = without_rotary_order(wanted, 64)
            read = folder.dequantize(f"model.layers.{layer}.{renamed[name]}.weight")
            assert np.array_equal(read, wanted)
            checked += 1
        assert checked >= 30
        assert folder.nbytes < starter_gguf.stat().st_size


# Precisions and formats


@pytest.mark.parametrize(
    ("precision", "matrix", "embedding", "bound"),
    [
        ("INT4", "q4", "q8", 0.09),
        ("INT8", "q8", "q8", 0.0065),
        ("FP16", "f16", "f16", 0.0003),
        ("FP32", "f32", "f32", 0.0),
    ],
)
def test_precisions(
    tmp_path: Path, precision: str, matrix: str, embedding: str, bound: float
) -> None:
    model = tiny_llama("F32")
    model.add("output.weight", "F32", (272, 32))
    embed = model.tensors.index(model.tensor("token_embd.weight"))
    model.add("token_embd.weight", "F32", (272, 32))
    model.tensors[embed] = model.tensors.pop()
    report = convert(write(tmp_path, model), tmp_path / "out", precision, calibration=None)
    with WeightsFolder.open(tmp_path / "out") as folder:
        assert folder.config["cactus"]["precision"] == precision == report.precision
        for tensor in report.tensors:
            stored = folder.tensors[tensor.name]
            if stored.layout == "plain":
                assert tensor.relative_rms == 0
                continue
            big = tensor.name in ("model.embed_tokens.weight", "lm_head.weight")
            wanted = embedding if big else matrix
            if stored.cols == 64 and wanted in ("q4", "q8"):
                wanted += "_64"
                assert tensor.bits_per_weight == {"q4_64": 4.5, "q8_64": 8.25}[wanted]
            assert stored.dtype == tensor.dtype == wanted
            assert tensor.relative_rms <= bound
            assert (tensor.relative_rms > 0) == (precision != "FP32")
        name = "model.layers.0.mlp.down_proj.weight"
        values = values_of(model, "blk.0.ffn_down.weight")
        error = np.linalg.norm(folder.dequantize(name) - values) / np.linalg.norm(values)
        reported = next(t.relative_rms for t in report.tensors if t.name == name)
        assert error == pytest.approx(reported, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "IQ4_NL"])
def test_int4_keeps_what_has_4_bits_already(tmp_path: Path, kind: str) -> None:
    report = convert(write(tmp_path, tiny_llama(kind)), tmp_path / "out", "INT4")
    assert report.worst.relative_rms == 0
    assert {tensor.dtype for tensor in report.tensors} == {KEPT[kind], "q8", "f32"}


def test_int8_loses_nothing_of_iq4_nl(tmp_path: Path) -> None:
    """Its levels are whole numbers of 8 bits."""
    report = convert(write(tmp_path, tiny_llama("IQ4_NL")), tmp_path / "out", "INT8")
    assert {tensor.dtype for tensor in report.tensors} == {"q8", "f32"}
    assert report.worst.relative_rms == 0


@pytest.mark.parametrize(("kind", "dtype"), [("Q8_0", "q4_64"), ("F16", "q4_64"), ("Q4_1", "q4")])
def test_int4_takes_wide_groups_where_they_fit(tmp_path: Path, kind: str, dtype: str) -> None:
    report = convert(write(tmp_path, tiny_llama(kind)), tmp_path / "out", "INT4")
    dtypes = {tensor.shape: tensor.dtype for tensor in report.tensors}
    assert dtypes[32, 64] == dtype
    assert dtypes[32, 32] == "q4"


@pytest.mark.parametrize(("kind", "dtype"), [("F32", "q8_64"), ("Q8_0", "q8")])
def test_8_bits_have_wide_groups_where_all_of_the_source_are_floats(
    tmp_path: Path, kind: str, dtype: str
) -> None:
    """Beside one matrix in groups of 32 none has them, so what is read together can be merged."""
    model = tiny_llama("F16", width=64)
    embedding = model.tensor("token_embd.weight")
    model.tensors.remove(embedding)
    model.add("token_embd.weight", kind, (272, 64))
    path = write(tmp_path, model)
    for precision, expected in (("INT8", {dtype, "f32"}), ("INT4", {"q4_64", dtype, "f32"})):
        report = convert(path, tmp_path / precision, precision, calibration=None)
        assert {tensor.dtype for tensor in report.tensors} == expected


def test_8_bits_of_what_reads_a_text_or_a_picture_whole_have_small_groups(tmp_path: Path) -> None:
    """Its activations have 8 bits, too, and lose more in wide groups."""
    seeing = convert(vision.write("gemma3", tmp_path / "a"), tmp_path / "seeing", "INT8")
    dtypes = {tensor.name: tensor.dtype for tensor in seeing.tensors if tensor.shape[-1] == 64}
    looking = {each for name, each in dtypes.items() if name.startswith(("vision", "multi"))}
    assert looking == {"q8", "f32"}
    assert "q8" not in {each for name, each in dtypes.items() if name.startswith("model")}
    reading = convert(encoders.write("bert", tmp_path / "b"), tmp_path / "reading", "INT8")
    assert "q8_64" not in {tensor.dtype for tensor in reading.tensors}
    assert any(tensor.shape[-1] == 64 for tensor in reading.tensors)


@pytest.mark.parametrize("kind", sorted(set(STORED) - set(_PLAIN)))
def test_every_block_format_is_imported(tmp_path: Path, kind: str) -> None:
    """Each matrix in its format, and the report is true: what is read back differs by so much."""
    model = tiny_llama(kind, width=256)
    report = convert(write(tmp_path, model), tmp_path / "out")
    matrices = [t for t in report.tensors if len(t.shape) == 2 and t.name[6:11] != "embed"]
    assert {(t.source_type, t.dtype) for t in matrices} == {(kind, STORED[kind])}
    assert len(matrices) == 14
    with WeightsFolder.open(tmp_path / "out") as folder:
        for tensor in matrices:
            if "down_proj" in tensor.name:
                wanted = values_of(model, f"blk.{tensor.name.split('.')[2]}.ffn_down.weight")
                error = np.linalg.norm(folder.dequantize(tensor.name) - wanted)
                error /= np.linalg.norm(wanted)
                assert error == pytest.approx(tensor.relative_rms, rel=1e-3, abs=1e-12)
                assert (error == 0) == (kind in LOSSLESS)


def test_unsupported_type_is_named(tmp_path: Path) -> None:
    model = tiny_llama("F32")
    tensor = model.tensor("blk.1.ffn_up.weight")
    number, _, nbytes = TYPES["IQ1_S"]
    tensor.type, tensor.dims, tensor.data = number, [256, 8], bytes(8 * nbytes)
    path = write(tmp_path, model)
    with pytest.raises(CactusError, match=r"blk\.1\.ffn_up\.weight"):
        convert(path, tmp_path / "out")
    # In its proper shape it gets as far as the choice of a format.
    model = Forge([e for e in tiny_llama().entries], [])
    model.set("llama.embedding_length", 4, 256)
    model.set("llama.rope.dimension_count", 4, 128)
    for old in tiny_llama().tensors:
        shape = tuple({32: 256, 16: 128}.get(side, side) for side in reversed(old.dims))
        kind = "IQ1_S" if old.name == "blk.1.ffn_up.weight" else "F32"
        model.add(str(old.name), kind, shape)
    with pytest.raises(UnsupportedModel, match=r"mlp\.up_proj\.weight' has the type IQ1_S"):
        convert(write(tmp_path, model), tmp_path / "out")
    assert tree(tmp_path) == ["model.gguf"]


def test_a_vector_of_no_numbers_is_named(tmp_path: Path) -> None:
    model = tiny_llama("F32")
    model.tensor("output_norm.weight").type = 26  # as I32: as many bytes, and no number of a norm
    with pytest.raises(UnsupportedModel, match=r"model\.norm\.weight' has the type I32"):
        convert(write(tmp_path, model), tmp_path / "out")


def test_columns_that_are_no_groups_stay_f16(tmp_path: Path) -> None:
    config, tensors = small_checkpoint(hidden=48)
    source = tmp_path / "hf"
    write_checkpoint(source, config, tensors)
    convert(source, tmp_path / "out", "INT4")
    with WeightsFolder.open(tmp_path / "out") as folder:
        kinds = {name: tensor.dtype for name, tensor in folder.tensors.items()}
    assert kinds["model.layers.0.mlp.gate_proj.weight"] == "f16"  # 48 columns
    assert kinds["model.layers.0.mlp.down_proj.weight"] == "q4_64"  # 64 columns


def test_values_beyond_f16_say_what_to_do(tmp_path: Path) -> None:
    config, tensors = small_checkpoint()
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = 1e9
    write_checkpoint(tmp_path / "hf", config, tensors)
    for precision in ("INT4", "INT8", "FP16"):
        with pytest.raises(
            UnsupportedModel, match=r"up_proj\.weight' has values up to 1e\+09.*FP32"
        ):
            convert(tmp_path / "hf", tmp_path / "out", precision)
    convert(tmp_path / "hf", tmp_path / "out", "FP32")
    assert tree(tmp_path / "out")


@pytest.mark.fault("F12")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "IQ4_NL", "Q8_0", "F16", "BF16", "F32"])
def test_one_value_or_scale_that_is_not_finite_is_refused(
    tmp_path: Path, kind: str, bad: float
) -> None:
    model = tiny_llama(kind)
    tensor = model.tensor("blk.1.ffn_gate.weight")
    data = bytearray(tensor.data)
    if kind == "F32":
        data[-4:] = np.array([bad], "<f4").tobytes()
    elif kind == "BF16":
        data[-2:] = np.array([bad], "<f4").tobytes()[2:]
    else:
        data[:2] = np.array([bad], "<f2").tobytes()
    tensor.data = bytes(data)
    with pytest.raises(ModelFormatError, match=r"mlp\.gate_proj\.weight' holds .* NaN or inf"):
        convert(write(tmp_path, model), tmp_path / "out")
    assert tree(tmp_path) == ["model.gguf"]


def test_large_scales_of_q4_0_are_kept(tmp_path: Path) -> None:
    """Beyond 8,188 minus eight scales is no f16; q4_0 stores none."""
    model = tiny_llama("Q4_0")
    tensor = model.tensor("blk.1.ffn_gate.weight")
    tensor.data = np.array([9000], "<f2").tobytes() + tensor.data[2:]
    convert(write(tmp_path, model), tmp_path / "out")
    with WeightsFolder.open(tmp_path / "out") as folder:
        stored = folder.dequantize("model.layers.1.mlp.gate_proj.weight")
    assert np.array_equal(stored, values_of(model, "blk.1.ffn_gate.weight"))


# What else is in the folder


def test_the_folder(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())
    calls: list[tuple[str, int, int]] = []
    report = convert(source, tmp_path / "a" / "b" / "out", None, lambda *args: calls.append(args))
    out = tmp_path / "a" / "b" / "out"
    assert {
        "config.json",
        "generation_config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    } <= set(tree(out))
    config = json.loads((out / "config.json").read_text())
    header = read_gguf(source).data_offset
    assert config["cactus"] == {
        "format": 1,
        "precision": "INT4",
        "source": {
            "format": "gguf",
            "file": "model.gguf",
            "bytes": source.stat().st_size,
            "header_bytes": header,
            "header_sha256": hashlib.sha256(source.read_bytes()[:header]).hexdigest(),
            # A small file is read whole.
            "samples_sha256": hashlib.sha256(source.read_bytes()[header:]).hexdigest(),
        },
    }
    assert (out / "chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"
    assert isinstance(report, ConversionReport)
    assert report.target == out
    assert report.parameters == 272 * 32 + 5 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    assert report.nbytes == sum(path.stat().st_size for path in out.iterdir())
    assert 4 < report.bits_per_weight < 9
    assert {label for label, _, _ in calls} == {"converting model.gguf"}
    done = [done for _, done, _ in calls]
    assert done == sorted(done)
    assert done[-1] == calls[-1][2] == sum(len(t.data) for t in tiny_llama().tensors)


def test_template_bytes_are_kept(tmp_path: Path) -> None:
    model = tiny_llama()
    model.set("tokenizer.chat_template", 8, "a\r\nb\n é")
    convert(write(tmp_path, model), tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_bytes() == "a\r\nb\n é".encode()
    with WeightsFolder.open(tmp_path / "out") as folder:
        assert folder.chat_template == "a\r\nb\n é"
