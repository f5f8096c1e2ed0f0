"""Text encoders against transformers on tiny random checkpoints: in NumPy and on every tier."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.engine.loading import load
from cactus.engine.options import LoadOptions
from cactus.errors import ModelFormatError
from cactus.graph.plan import build, with_int8_activations
from cactus.graph.reference import ReferenceProgram
from cactus.models.uses import abilities_of
from cactus.native import Program
from cactus.tokenizer import Tokenizer
from cactus.weights.convert import convert
from cactus.weights.locate import read_config
from tests.models import encoders
from tests.models.golden import fused
from tests.native.programs import ENCODER_TIER, EXACT_TIERS, TIERS, store
from tests.tolerances import assert_close

names = pytest.mark.parametrize("name", encoders.NAMES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    return {name: encoders.write(name, home / name) for name in encoders.NAMES}


@names
def test_states_in_numpy(name: str, folders: dict[str, Path]) -> None:
    golden = encoders.load(name, folders[name])
    for graph in (golden.graph, fused(golden.graph, "f32")):
        program = ReferenceProgram(graph, golden.tensors, vocab_size=0)
        assert_close(encoders.run(program, golden.tokens), golden.states, "f32", name)
    quantised = fused(golden.graph, "q8")
    assert any(node.attrs.get("quantize") for node in quantised.nodes)
    program = ReferenceProgram(quantised, golden.tensors, vocab_size=0)
    assert_close(encoders.run(program, golden.tokens), golden.states, "q12", name)


@pytest.mark.parametrize("isa", TIERS)
@names
def test_states_on_every_tier(
    name: str, isa: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    golden = encoders.load(name, folders[name])
    for kind, allowed in (("f32", "f16"), ("f16", "q12"), ("q8", "q12")):
        packed = store(golden.graph, golden.tensors, tmp_path / kind, kind)
        graph, want = fused(golden.graph, kind), golden.states
        if kind == "q8":
            values: Any = golden.tensors | packed.values
            reference = ReferenceProgram(graph, values, vocab_size=0, kv_dtype="f16")
            want = encoders.run(reference, golden.tokens)
        limit = golden.architecture.config.context_length
        plan = build(graph, packed.tensors, vocab_size=0, context_length=limit)
        exact = isa in EXACT_TIERS
        blob = plan.blob if exact else with_int8_activations(plan.blob)
        with Program(blob, packed.path, isa=isa, chunk=64) as program:
            got = encoders.run(program, golden.tokens)
        assert_close(got, want, allowed if exact else "bf16 model", f"{name} {kind} {isa}")


@pytest.mark.parametrize("name", encoders.PAIRS)
def test_a_pair_has_the_score_of_transformers(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    golden = encoders.load(name, folders[name])
    convert(folders[name], tmp_path / name, "FP32")
    query, document = encoders.parts(golden)
    assert abilities_of(read_config(tmp_path / name)) == ("rerank",)
    with Model(tmp_path / name) as model:
        (ranked,) = model.rerank(query, [document])
    assert golden.score is not None
    logit = golden.score
    want = logit if name == "bert_ranker" else 1 / (1 + np.exp(-logit))
    assert ranked.score == pytest.approx(want, abs=2e-3)


@pytest.mark.parametrize("name", [name for name in encoders.NAMES if name not in encoders.PAIRS])
def test_a_text_has_the_vector_of_transformers(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    golden = encoders.load(name, folders[name])
    report = convert(folders[name], tmp_path / name, "FP32")
    told = any("no modules.json" in note for note in report.notes)
    assert told == (name in ("xlm_roberta", "nomic_bert", "nomic_bert_moe", "modernbert"))
    want = golden.states[-1] if name == "qwen3_embedding" else golden.states.mean(0)
    if golden.embedding is not None:
        want = golden.embedding
    assert abilities_of(read_config(tmp_path / name)) == ("embed",)
    with Model(tmp_path / name) as model:
        vector = model.embed(encoders.words(golden.tokens), normalize=True)
    assert vector @ want / np.linalg.norm(want) > 0.99999


@pytest.mark.parametrize("precision", ["FP32", "FP16", "INT8"])
def test_products_are_rounded_to_bf16_unless_weights_are_f32_or_options_say_otherwise(
    precision: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    convert(folders["bert"], tmp_path / "made", precision)
    exact = EXACT_TIERS[-1]
    fast = ENCODER_TIER if precision != "FP32" else exact
    cases: tuple[tuple[Any, str], ...] = (
        ({}, fast),
        ({"activations": "int8"}, exact),
        ({"isa": exact}, exact),
    )
    for options, isa in cases:
        with closing(load(tmp_path / "made", **options)) as loaded:
            assert loaded.tokens.info.isa == isa


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (("scalar", "avx2", "avx512"), None),
        (("scalar", "avx2", "avx512_bf16", "avx512"), "avx512_bf16"),
        (("scalar", "avx2", "avx512_bf16", "avx512", "amx_bf16", "amx"), "amx_bf16"),
        (("scalar", "neon"), None),
    ],
)
def test_an_encoder_takes_the_fastest_tier_of_bf16(
    available: tuple[str, ...], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.native.available_isas", lambda: available)
    monkeypatch.delenv("CACTUS_ISA", raising=False)
    assert LoadOptions().of_program(may_round=True)["isa"] == chosen
    assert LoadOptions().of_program(may_round=False)["isa"] is None
    assert LoadOptions(isa="avx2").of_program(may_round=True)["isa"] == "avx2"
    monkeypatch.setenv("CACTUS_ISA", "avx2")
    assert LoadOptions().of_program(may_round=True)["isa"] is None


def test_what_the_tokenizer_says_of_cutting_and_padding_is_left_out(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    convert(folders["bert"], tmp_path / "made")
    text = (tmp_path / "made" / "tokenizer.json").read_text()
    assert '"truncation": null' in text and '"padding": null' in text
    words = encoders.words(list(range(5, 35)))
    assert len(Tokenizer.load(tmp_path / "made").encode(words, special=True)) == 32


def test_a_tensor_of_no_part_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from cactus.weights.format.safetensors import write_safetensors
    from tests.models.golden import read_tensors

    folder = encoders.write("bert", tmp_path / "bert")
    tensors = read_tensors(folder / "model.safetensors")
    extra = {f"cls.{name}": np.ones(4, np.float16) for name in ("bias", "decoder.weight")}
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model.safetensors", tensors | extra)
    convert(folder, tmp_path / "made")  # a head that guesses words is left out
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model.safetensors", tensors | {"adapter.up": extra["cls.bias"]})
    with pytest.raises(ModelFormatError, match=r"adapter\.up belongs to no module of a bert"):
        convert(folder, tmp_path / "other")
