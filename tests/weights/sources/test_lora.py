"""Merging adapters: PEFT's own results, and adapters that do not fit their base."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.graph.reference import ReferenceProgram
from cactus.models.base import load_architecture
from cactus.weights.convert import ConversionReport, convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors, write_safetensors
from cactus.weights.sources.lora import merge
from cactus.weights.sources.open import open_source
from tests.models import golden
from tests.tolerances import assert_close
from tests.weights import forge
from tests.weights.made import small_checkpoint, write, write_checkpoint, write_tokenizer

ADAPTERS = {"lora_llama": "llama", "lora_lfm2": "lfm2", "lora_qwen3": "qwen3"}

A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
NORM = "base_model.model.model.norm.weight"


def values_of(folder: Path) -> dict[str, Any]:
    with WeightsFolder.open(folder) as opened:
        return {name: opened.dequantize(name) for name in opened.tensors}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_merged_model_is_what_peft_makes(name: str, tmp_path: Path) -> None:
    base = shutil.copytree(golden.FOLDER / ADAPTERS[name], tmp_path / "base")
    write_tokenizer(base)
    expected = np.load(golden.FOLDER / name / "golden.npz")
    convert(base, tmp_path / "plain", "FP32")
    report = convert(base, tmp_path / "merged", "FP32", lora=golden.FOLDER / name)
    before, after = values_of(tmp_path / "plain"), values_of(tmp_path / "merged")
    changed = {key.removeprefix("merged/") for key in expected if key.startswith("merged/")}
    tied = HEAD in before or HEAD not in after
    assert {key for key in before if not np.array_equal(before[key], after[key])} == changed
    for key in changed:
        want = expected[f"merged/{key}"]
        got = after[key][[0, 1, -1]] if want.ndim == 2 else after[key]
        assert np.abs(got - want).max() <= 4e-7 * max(1, np.abs(want).max()), key
    # The model with the adapter beside it, as it was trained.
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    graph = load_architecture(config).build()
    logits = golden.run_all(ReferenceProgram(graph, after), expected["input_ids"].tolist())
    assert_close(logits[expected["rows"]], expected["logits"], "f32", name)
    assert tied == (name != "lora_lfm2")
    assert any("unties" in note for note in report.notes) == (not tied)


def small_adapter(folder: Path, **settings: Any) -> dict[str, Any]:
    """Write an adapter of rank 2 for the queries of the small checkpoint; give its tensors."""
    random = np.random.default_rng(3)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["q_proj"]}
    tensors = {A: random.normal(size=(2, 32)), B: random.normal(size=(32, 2))}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    write_adapter(folder, config | settings, tensors)
    return tensors


def write_adapter(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_safetensors(folder / "adapter_model.safetensors", tensors)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "base", *small_checkpoint())
    return tmp_path / "base"


@pytest.fixture
def merged(tmp_path: Path, base: Path) -> Callable[..., ConversionReport]:
    """Convert the small checkpoint with the adapter in ``adapter``."""

    def run(precision: str | None = "FP32", source: Path = base) -> ConversionReport:
        return convert(source, tmp_path / "out", precision, lora=tmp_path / "adapter")

    return run


def test_the_formula(tmp_path: Path, merged: Any) -> None:
    _, before = small_checkpoint()
    tensors = small_adapter(tmp_path / "adapter")
    merged()
    want = before[Q] + 3 / 2 * tensors[B] @ tensors[A]
    assert np.allclose(values_of(tmp_path / "out")[Q], want, rtol=0, atol=1e-6)
    small_adapter(
        tmp_path / "adapter",
        use_rslora=True,
        alpha_pattern={r"layers\.[0-9]+\.self_attn.q_proj": 5},
    )
    merged()
    want = before[Q] + 5 / 2**0.5 * tensors[B] @ tensors[A]
    assert np.allclose(values_of(tmp_path / "out")[Q], want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("value", [3e38, 1e30])
def test_products_beyond_floats_are_named(value: float, tmp_path: Path, merged: Any) -> None:
    """Whether a factor overflows as it is scaled, or the product of both."""
    tensors = small_adapter(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    large = {A: np.full_like(tensors[A], 1e30), B: np.full_like(tensors[B], value)}
    write_adapter(tmp_path / "adapter", config, large)
    with pytest.raises(ModelFormatError, match=rf"{re.escape(Q)}.*finite"):
        merged()


def test_threads_may_ask_for_rows_at_once() -> None:
    path = golden.FOLDER / "llama"
    merged = merge(open_source(path), golden.FOLDER / "lora_llama", path)
    changed = [tensor for tensor in merged.tensors if tensor.kind == "F32"]
    assert len(changed) == 4
    want = [tensor.rows(0, tensor.shape[0]) for tensor in changed]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(tensor.rows, 0, tensor.shape[0]) for tensor in changed * 50]
        assert all(np.array_equal(job.result(), want[i % 4]) for i, job in enumerate(jobs))
    merged.close()


def test_it_is_quantised_after_merging(tmp_path: Path, merged: Any) -> None:
    _, before = small_checkpoint()
    tensors = small_adapter(tmp_path / "adapter")
    report = merged(None)
    assert report.precision == "INT8"
    kinds = {tensor.name: (tensor.source_type, tensor.dtype) for tensor in report.tensors}
    assert kinds[Q] == ("F32", "q8")
    want = before[Q] + 3 / 2 * tensors[B] @ tensors[A]
    assert np.abs(values_of(tmp_path / "out")[Q] - want).max() < 0.02 * np.abs(want).max()


def test_a_gguf_file_can_be_the_base(tmp_path: Path, merged: Any) -> None:
    path = write(tmp_path, forge.tiny_llama("Q4_1"), "base-model.gguf")
    convert(path, tmp_path / "plain")
    settings = {"target_modules": ["layers.0.self_attn.q_proj"]}
    settings["base_model_name_or_path"] = "someone/Base-Model"
    tensors = small_adapter(tmp_path / "adapter", **settings)
    assert merged(source=path).notes == ()
    change = values_of(tmp_path / "out")[Q] - values_of(tmp_path / "plain")[Q]
    assert np.allclose(change, 3 / 2 * tensors[B] @ tensors[A], rtol=0, atol=1e-5)
    small_adapter(tmp_path / "adapter")
    write_adapter(tmp_path / "adapter", {"peft_type": "LORA", "r": 2}, {NORM: np.ones(32, "f4")})
    with pytest.raises(UnsupportedModel, match=r"model\.norm.*give the Hugging Face folder"):
        merged(source=path)


def test_whole_tensors_and_an_output_matrix_of_its_own(tmp_path: Path, merged: Any) -> None:
    _, before = small_checkpoint()
    tensors = small_adapter(tmp_path / "adapter", modules_to_save=["norm", "lm_head"])
    head = np.ones((40, 32), np.float16)
    tensors |= {NORM: np.full(32, 2, np.float32), f"base_model.model.{HEAD}": head}
    write_safetensors(tmp_path / "adapter" / "adapter_model.safetensors", tensors)
    report = merged()
    assert any("unties" in note for note in report.notes)
    after = values_of(tmp_path / "out")
    assert (after["model.norm.weight"] == 2).all()
    assert (after[HEAD] == 1).all()
    assert np.array_equal(after[EMBEDDING], before[EMBEDDING])
    # A tied pair that was saved twice stays tied.
    tensors[f"base_model.model.{EMBEDDING}"] = head
    write_safetensors(tmp_path / "adapter" / "adapter_model.safetensors", tensors)
    merged()
    after = values_of(tmp_path / "out")
    assert HEAD not in after
    assert (after[EMBEDDING] == 1).all()


def test_what_a_user_should_know(tmp_path: Path, merged: Any) -> None:
    small_adapter(tmp_path / "adapter", base_model_name_or_path="LiquidAI/LFM2-350M")
    (tmp_path / "adapter" / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    report = merged()
    assert [note[:40] for note in report.notes] == [
        "the chat template is the adapter's own",
        "the adapter was trained on 'LiquidAI/LFM",
    ]
    assert (tmp_path / "out" / "chat_template.jinja").read_text().endswith("!")
    source = json.loads((tmp_path / "out" / "config.json").read_text())["cactus"]["source"]
    assert source["lora"]["file"] == "adapter_model.safetensors"


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


@pytest.mark.fault("F19")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({A: None}, r"q_proj\.lora_B\.weight' has no lora_A beside it"),
        ({B: None}, r"q_proj\.lora_A\.weight' has no lora_B beside it"),
        ({A: zeros(3, 32)}, r"lora_A\.weight': want rank 2, \[2, \.\.\.\], got \[3, 32\]"),
        ({B: zeros(32, 4)}, r"lora_B\.weight': want rank 2, \[\.\.\., 2\], got \[32, 4\]"),
        ({A: zeros(2, 48)}, r"lora_A\.weight': want \[2, 32\] for '.*q_proj.weight'.*\[2, 48\]"),
        ({B: zeros(64, 2)}, r"lora_B\.weight': want \[32, 2\] for '.*q_proj.weight'.*\[64, 2\]"),
        ({A: None, B: None}, "no tensor to merge"),
        (
            {A.replace("layers.0", "layers.7"): zeros(2, 32)}
            | {B.replace("layers.0", "layers.7"): zeros(32, 2)},
            r"layers\.7.* which the base does not have; give the model",
        ),
        ({NORM: zeros(64)}, r"model\.norm\.weight': want \[32\] as in the base, got \[64\]"),
        ({"base_model.model.model.bias": zeros(4)}, "'model.bias', which the base does not have"),
        ({A.replace("lora_A.weight", "lora_magnitude_vector"): zeros(32)}, "use_dora is false"),
        ({B.replace("weight", "bias"): zeros(32)}, r"lora_B\.bias' cannot be merged"),
        ({A: np.zeros((2, 32), np.int8)}, "is I8, expected one of F32, F16, BF16"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, merged: Any, change: dict[str, Any], said: str
) -> None:
    tensors = small_adapter(tmp_path / "adapter") | change
    tensors = {name: value for name, value in tensors.items() if value is not None}
    write_safetensors(tmp_path / "adapter" / "adapter_model.safetensors", tensors)
    with pytest.raises((ModelFormatError, UnsupportedModel), match=said):
        merged()
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("F19")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not supported; known: LORA"),
        ({"r": 0}, "r: want an integer from 1"),
        ({"lora_alpha": "much"}, "lora_alpha: want a number"),
        ({"use_dora": True}, "magnitude vector of .*q_proj' is missing"),
        ({"rank_pattern": {"q_proj": 4}}, r"want rank 4, \[4, \.\.\.\], got \[2, 32\]"),
        ({"rank_pattern": {"(a+)+": 4}}, "too involved"),
        ({"alpha_pattern": {"(": 4}}, "is not an expression"),
        ({"target_modules": ["q_proj", "v_proj"]}, "names 'model.layers.0.self_attn.v_proj'"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' changed the weights"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is set"),
        ({"lora_bias": True}, "lora_bias is set"),
    ],
)
def test_configurations_that_cannot_be_merged(
    tmp_path: Path, merged: Any, settings: dict[str, Any], said: str
) -> None:
    small_adapter(tmp_path / "adapter", **settings)
    with pytest.raises((ModelFormatError, UnsupportedModel), match=said):
        merged()


@pytest.mark.fault("F19")
def test_a_folder_that_is_no_adapter(tmp_path: Path, merged: Any, base: Path) -> None:
    shutil.copytree(base, tmp_path / "adapter")
    with pytest.raises(ModelFormatError, match=r"no adapter_config\.json"):
        merged()
    small_adapter(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(
        tmp_path / "adapter" / "adapter_model.bin"
    )
    with pytest.raises(UnsupportedModel, match="a pickle can run any code"):
        merged()


@pytest.mark.fault("F19")
def test_a_cut_adapter(tmp_path: Path, merged: Any) -> None:
    small_adapter(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    whole = path.read_bytes()
    end = read_safetensors(path).data_offset
    for length in (0, 7, 8, 40, end, end + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CactusError, match="adapter_model"):
            merged()
