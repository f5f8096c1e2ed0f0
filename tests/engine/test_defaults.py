"""The sampling that a model's makers recommend: where it comes from, and damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.engine.contract import Sampling
from cactus.engine.defaults import SamplingDefaults, read_defaults
from cactus.errors import InvalidRequest, ModelFormatError
from cactus.generate.options import parse_options
from cactus.weights import locate
from cactus.weights.catalog import CATALOG
from cactus.weights.recommended import recommended


def folder(tmp_path: Path, generation: dict[str, Any] | str | None, hub_id: str = "") -> Path:
    where = tmp_path / "somebodys-model"
    where.mkdir()
    source = {"source": {"hub_id": hub_id}} if hub_id else {}
    (where / "config.json").write_text(json.dumps({"cactus": source}))
    if generation is not None:
        text = generation if isinstance(generation, str) else json.dumps(generation)
        (where / "generation_config.json").write_text(text)
    return where


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "eos_token_id": 2},
            SamplingDefaults(0.6, 20, 0.95, source="model"),
        ),
        # What is left out is what transformers takes.
        ({"do_sample": True}, SamplingDefaults(1.0, 50, source="model")),
        ({"do_sample": False, "temperature": 0.6}, SamplingDefaults(source="model")),
        (
            {"do_sample": False, "repetition_penalty": 1.1},
            SamplingDefaults(repetition_penalty=1.1, source="model"),
        ),
        ({"temperature": 0.3, "min_p": 0.15}, SamplingDefaults(0.3, 50, 1.0, 0.15, source="model")),
        (
            {"repetition_penalty": 1.2},
            SamplingDefaults(repetition_penalty=1.2, source="model"),
        ),
        ({"temperature": None, "eos_token_id": 1}, SamplingDefaults()),
        ({}, SamplingDefaults()),
        (None, SamplingDefaults()),
    ],
)
def test_a_models_own_file_says_how_it_is_sampled(
    tmp_path: Path, generation: dict[str, Any] | None, expected: SamplingDefaults
) -> None:
    assert read_defaults(folder(tmp_path, generation)) == expected


def test_the_catalog_knows_where_the_file_says_nothing(tmp_path: Path) -> None:
    where = folder(tmp_path, {"eos_token_id": 2}, "LiquidAI/LFM2-1.2B")
    expected = SamplingDefaults(0.3, 50, 1.0, 0.15, 1.05, source="catalog")
    assert read_defaults(where) == expected
    assert read_defaults(where.rename(tmp_path / "smollm2-360m-instruct")) == expected


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"temperature": "hot"}', "temperature"),
        ('{"temperature": NaN}', "NaN"),
        ('{"temperature": 1e308}', "temperature"),
        ('{"temperature": -1}', "temperature"),
        ('{"temperature": true}', "temperature"),
        ('{"do_sample": "yes"}', "do_sample"),
        ('{"do_sample": true, "top_k": 2.5}', "top_k"),
        ('{"do_sample": true, "top_k": 99999999999999999999}', "top_k"),
        ('{"do_sample": false, "top_p": Infinity}', "Infinity"),
        ('{"min_p": [0.1]}', "min_p"),
        ('{"repetition_penalty": 0}', "repetition_penalty"),
    ],
)
def test_a_damaged_value_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"generation_config.json: {field} is"):
        read_defaults(folder(tmp_path, text))


def test_explicit_options_override_single_values() -> None:
    defaults = SamplingDefaults(0.6, 20, 0.95, source="model")

    def sampling(**raw: Any) -> Sampling:
        return parse_options(raw, vocab_size=9, model_defaults=defaults).sampling

    assert sampling() == sampling(sampling="greedy") == Sampling()
    assert sampling(sampling="model") == Sampling(0.6, 20, 0.95)
    assert sampling(sampling="model", top_k=3, seed=1) == Sampling(0.6, 3, 0.95, seed=1)
    assert sampling(sampling="model", temperature=0).temperature == 0
    assert sampling(sampling="model", temperature=None).temperature == 0.6
    with pytest.raises(InvalidRequest, match="sampling must be 'greedy' or 'model', got 'hot'"):
        sampling(sampling="hot")


def test_every_recommendation_is_a_valid_one_of_the_catalog(tmp_path: Path) -> None:
    known = [entry for entry in CATALOG if recommended(entry.hub_id)]
    assert len(known) > 15
    for number, entry in enumerate(known):
        (tmp_path / str(number)).mkdir()
        defaults = read_defaults(folder(tmp_path / str(number), None, entry.hub_id))
        assert defaults.source == "catalog"
    assert recommended("LiquidAI/LFM2-1.2B-Tool") == {"temperature": 0.0}
    assert recommended("somebody/else") == {}


@pytest.mark.parametrize(
    "name",
    ["qwen2.5-coder-0.5b", "Qwen2.5-0.5B-Instruct-Q4_K_M", "somebody/Qwen2.5-0.5B-Instruct-GGUF"],
)
def test_a_family_is_known_by_the_name_of_a_file(name: str) -> None:
    assert recommended(name) == recommended("Qwen/Qwen2.5-0.5B-Instruct") != {}


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("gguf/SmolLM2-135M-Instruct.Q4_1-125effec154ed893/2.2-98362432-1795", {}),
        ("mine", {"file": "SmolLM2-135M-Instruct.Q4_1.gguf"}),
        ("smollm2-135m-instruct", None),
        ("mine", {"hub_id": "HuggingFaceTB/SmolLM2-135M-Instruct"}),
    ],
)
def test_a_model_from_a_file_is_sampled_as_its_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, source: Any
) -> None:
    monkeypatch.setattr(locate, "cache_root", lambda: tmp_path)
    where = tmp_path / place
    where.mkdir(parents=True)
    (where / "config.json").write_text(json.dumps({"cactus": {"source": source}}))
    defaults = read_defaults(where)
    values = recommended("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert defaults.source == "catalog" and values["temperature"] > 0
    assert {name: getattr(defaults, name) for name in values} == values


def test_the_starter_is_not_kept_from_the_words_of_the_prompt() -> None:
    values = recommended("SmolLM2-135M-Instruct.Q4_1-125effec154ed893")
    assert "repetition_penalty" not in values and values["presence_penalty"] > 0


def test_a_model_with_a_damaged_file_answers_and_says_so_when_asked(tiny_model: Path) -> None:
    path = tiny_model / "generation_config.json"
    kept = path.read_text()
    messages = [{"role": "user", "content": "Hello"}]
    try:
        path.write_text('{"eos_token_id": 2, "temperature": "hot"}')
        with Model(tiny_model) as model:
            assert model.chat(messages, max_tokens=3).tokens
            with pytest.raises(ModelFormatError, match="temperature is 'hot', expected a number"):
                model.chat(messages, max_tokens=3, sampling="model")
            with pytest.raises(ModelFormatError, match="temperature"):
                _ = model.sampling_defaults
        path.write_text('{"eos_token_id": 2, "do_sample": true, "temperature": 0.7}')
        with Model(tiny_model) as model:
            assert model.sampling_defaults == SamplingDefaults(0.7, 50, source="model")
            drawn = model.chat(messages, max_tokens=9, sampling="model", seed=4)
            same = model.chat(messages, max_tokens=9, temperature=0.7, top_k=50, seed=4)
            assert drawn.tokens == same.tokens != model.chat(messages, max_tokens=9).tokens
    finally:
        path.write_text(kept)


def test_a_penalty_sees_the_prompt_however_much_of_it_is_cached(tiny_model: Path) -> None:
    messages = [{"role": "user", "content": "abcdefgh"}]
    options: dict[str, Any] = {"max_tokens": 12, "repetition_penalty": 3.0}
    with Model(tiny_model) as model:
        cold = model.chat(messages, **options)
        warm = model.chat(messages, **options)
        assert warm.metrics.cached_tokens > 0
        (together, _) = model.chat_many([messages] * 2, **options)
        windowed = model.chat(messages, **options, repetition_window=1)
    assert isinstance(together, type(cold))
    assert cold.tokens == warm.tokens == together.tokens
    assert windowed.tokens != cold.tokens


def test_the_error_of_a_damaged_file_does_not_grow() -> None:
    damaged = ModelFormatError("generation_config.json: temperature is 'hot'")

    def frames() -> int:
        with pytest.raises(ModelFormatError) as caught:
            parse_options({"sampling": "model"}, vocab_size=9, model_defaults=damaged)
        return len(caught.traceback)

    assert [frames() for _ in range(5)] == [frames()] * 5
