"""Loading: from a weights folder to an engine, and what a damaged folder says."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.engine import loading as engine
from cactus.errors import (
    InvalidRequest,
    ModelFormatError,
    ModelNotFound,
    NativeError,
    TemplateError,
    TokenizerError,
    UnsupportedModel,
)

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder that may be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def change(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text("utf-8"))
    document.update(values)
    path.write_text(json.dumps(document))


def test_an_engine_knows_its_model(tiny_model: Path) -> None:
    loaded = engine.load(tiny_model, threads=1)
    try:
        assert (loaded.name, loaded.architecture) == (tiny_model.name, "llama")
        assert (loaded.context_length, loaded.program.vocab_size) == (512, 300)
        assert loaded.end_tokens == frozenset(loaded.tokenizer.eos_ids) == {2}
    finally:
        loaded.close()


def test_a_smaller_context_can_be_asked_for_and_no_larger_one(tiny_model: Path) -> None:
    with Model(tiny_model, context=100) as model:
        assert model.context_length == 100
        assert model.chat(HELLO, logit_bias={2: -100}).metrics.total_tokens == 100
    with pytest.raises(InvalidRequest, match=r"context must be at most 512.* got 513"):
        Model(tiny_model, context=513)


def test_keys_and_values_in_int8(tiny_model: Path) -> None:
    pages, read = {}, {}
    for kv in ("f16", "int8"):
        loaded = engine.load(tiny_model, threads=1, kv=kv)
        info = loaded.program.info
        pages[kv] = info.page_bytes / info.page_positions
        read[kv] = loaded.work().position_bytes
        loaded.close()
        with Model(tiny_model, kv=kv) as model:
            assert model.chat(HELLO, max_tokens=3, logit_bias={2: -100}).metrics.decode_tokens == 3
    assert read == pages
    assert pages["int8"] / pages["f16"] == (32 + 4) / 64  # a head of 32 and its scale
    with closing(engine.load(tiny_model, threads=1)) as loaded:
        assert loaded.work().position_bytes == read["int8"]


def test_what_a_speech_model_keeps_of_its_tokens_is_f16(speech_folder: Path) -> None:
    pages = []
    for kv in (None, "f16", "int8"):
        with closing(engine.load(speech_folder, threads=1, kv=kv)) as loaded:
            pages.append(loaded.program.info.page_bytes)
    assert pages[0] == pages[1] > pages[2]


@pytest.mark.parametrize("preload", ["yes", None, 2])
def test_preload_is_yes_or_no(preload: Any) -> None:
    with pytest.raises(InvalidRequest, match="preload must be True or False"):
        Model("no-such-model", preload=preload)


def test_activations_in_int8(tiny_model: Path) -> None:
    logprobs = []
    for activations in ("int12", "int8"):
        with Model(tiny_model, activations=activations) as model:
            answer = model.chat(HELLO, max_tokens=3, logit_bias={2: -100})
            assert answer.metrics.decode_tokens == 3
            logprobs.append(answer.logprobs)
    assert logprobs[0] != logprobs[1]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=0.3)


@pytest.mark.parametrize("activations", ["int4", "", "INT8", 8, ["int8"]])
def test_activations_that_there_are_not(tiny_model: Path, activations: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"activations must be 'int12' or 'int8', got "):
        Model(tiny_model, activations=activations)


@pytest.mark.parametrize("kv", ["q4", "", "F16", 8, ["int8"]])
def test_a_cache_that_there_is_not(tiny_model: Path, kv: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"kv must be 'f16' or 'int8', got "):
        Model(tiny_model, kv=kv)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(ModelNotFound):
        engine.load(Path("/nonexistent/model"))


def test_a_model_type_that_nobody_knows(copy: Path) -> None:
    change(copy / "config.json", model_type="cactaceae")
    with pytest.raises(UnsupportedModel, match="cactaceae"):
        Model(copy)


def test_one_loader_loads_whatever_it_is(tiny_model: Path, speech_folder: Path) -> None:
    for folder, ability, other in (
        (tiny_model, "chat", "transcribe"),
        (speech_folder, "transcribe", "chat"),
    ):
        loaded = engine.load(folder, threads=1)
        loaded.require(ability)
        with pytest.raises(UnsupportedModel, match=rf"^{folder.name} .* cannot {other}"):
            loaded.require(other)
        loaded.close()


def test_all_calls_of_what_a_model_lacks_end_in_one_kind_of_error(
    tiny_model: Path, speech_folder: Path
) -> None:
    wave = bytes(3200)
    with Model(tiny_model) as text, Model(speech_folder) as speech:
        for call in (
            lambda: text.transcribe(wave, sample_rate=16_000),
            lambda: text.transcribe_stream(wave, sample_rate=16_000),
            lambda: text.transcribe_live(),
            lambda: text.detect_language(wave, sample_rate=16_000),
            lambda: text.embed_audio(wave, sample_rate=16_000),
            lambda: speech.chat(HELLO),
            lambda: speech.stream(HELLO),
            lambda: speech.complete("a"),
            lambda: speech.complete_stream("a"),
            lambda: speech.chat_many([HELLO]),
            lambda: speech.conversation(),
            lambda: speech.count_tokens("a"),
            lambda: speech.sampling_defaults,
        ):
            with pytest.raises(UnsupportedModel, match=r"cannot .*; models that .* cactus list"):
                call()
        assert speech.tokenize("a") and speech.reset() is None


@pytest.mark.fault("F08")
def test_a_config_that_contradicts_the_tensors(copy: Path) -> None:
    change(copy / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelFormatError, match=r"model\.layers\.2\..* is missing"):
        Model(copy)


@pytest.mark.fault("F17")
def test_a_tokenizer_that_is_damaged_frees_the_program(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    before = set(os.listdir("/proc/self/task"))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json") as caught:
        Model(copy, threads=2)
    # The error, and with it every frame below, is still held here.
    assert caught.value is not None and set(os.listdir("/proc/self/task")) <= before


def test_when_both_sides_are_damaged_the_weights_are_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        Model(copy)


@pytest.mark.fault("F24")
def test_a_broken_template_is_told_at_the_first_chat(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{% if %}")
    with Model(copy) as model:
        assert model.tokenize("a")
        for _ in range(2):
            with pytest.raises(TemplateError, match=r"copy cannot chat: .*line 1"):
                model.chat(HELLO)


@pytest.mark.fault("F17")
def test_a_tokenizer_of_another_model_is_noticed(copy: Path) -> None:
    document = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    document["model"]["vocab"]["H"] = 310
    (copy / "tokenizer.json").write_text(json.dumps(document))
    with Model(copy) as model, pytest.raises(TokenizerError, match="'H' has id 310"):
        model.chat(HELLO)


@pytest.mark.fault("F57")
def test_an_isa_that_does_not_exist(tiny_model: Path) -> None:
    with pytest.raises((NativeError, InvalidRequest), match="mmx"):
        Model(tiny_model, isa="mmx")


@pytest.mark.fault("F57")
def test_every_isa_of_this_processor_answers_alike(tiny_model: Path) -> None:
    from cactus.native import available_isas

    answers = set()
    for isa in available_isas():
        with Model(tiny_model, isa=isa) as model:
            answers.add(model.chat(HELLO, max_tokens=12).tokens)
    assert len(answers) == 1
