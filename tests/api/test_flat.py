"""The flat functions and CactusModel, on the tiny model in the native core and on scripts."""

from __future__ import annotations

import gc
import json
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import (
    CactusError,
    CactusModel,
    Model,
    api,
    cactus_audio_embed,
    cactus_complete,
    cactus_destroy,
    cactus_embed,
    cactus_get_last_error,
    cactus_image_embed,
    cactus_init,
    cactus_rag_query,
    cactus_reset,
    cactus_stop,
    cactus_tokenize,
    cactus_transcribe,
)
from cactus.errors import InvalidRequest, ModelClosed, UnsupportedModel
from tests.api.fields import FIELDS
from tests.generate.scripted import InThread, babbling, saying, scripted_engine

HELLO = [{"role": "user", "content": "Hello"}]
MakeHandle = Callable[..., int]


@pytest.fixture
def handle(tiny_model: Path) -> Iterator[int]:
    """A handle of the tiny model, which babbles."""
    made = cactus_init(str(tiny_model))
    assert made is not None, cactus_get_last_error()
    yield made
    cactus_destroy(made)


@pytest.fixture
def scripted_handle(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeHandle]:
    """Makes handles of models that say what a script tells them."""
    made: list[int] = []

    def make(script: Any, **options: Any) -> int:
        model = Model.from_engine(scripted_engine(script, **options))
        monkeypatch.setattr(api, "_load", lambda *_: model)
        handle = cactus_init("scripted")
        assert handle is not None
        made.append(handle)
        return handle

    yield make
    for handle in made:
        cactus_destroy(handle)


def complete(model: Any, messages: Any = HELLO, **options: Any) -> dict[str, Any]:
    """The tiny model is unsure of everything: without a threshold of its own it answers here."""
    text = cactus_complete(model, messages, **{"confidence_threshold": 0, **options})
    assert isinstance(text, str)
    row = json.loads(text)
    assert list(row) == FIELDS
    return dict(row)


def failed(row: dict[str, Any]) -> str:
    """The error of a failed result, after a look at all its other fields."""
    assert row["success"] is False and row["cloud_handoff"] is False
    assert row["response"] is None and row["function_calls"] == []
    assert row["ram_usage_mb"] > 1
    zeros = [name for name in FIELDS[5:] if name != "ram_usage_mb"]
    assert all(row[name] == 0 for name in zeros)
    assert cactus_get_last_error() == row["error"]
    return str(row["error"])


def test_a_completion_has_all_fields_and_sane_numbers(handle: int) -> None:
    row = complete(handle, max_tokens=6)
    assert row["success"] is True and row["error"] is None and row["cloud_handoff"] is False
    assert isinstance(row["response"], str) and row["function_calls"] == []
    assert 0 <= row["confidence"] <= 1
    assert 0 < row["time_to_first_token_ms"] <= row["total_time_ms"]
    assert row["prefill_tps"] > 0 and row["decode_tps"] > 0 and row["ram_usage_mb"] > 1
    assert row["total_tokens"] == row["prefill_tokens"] + row["decode_tokens"]
    assert row["decode_tokens"] == 6


def test_calls_of_tools_are_in_their_field_and_not_in_the_text(
    scripted_handle: MakeHandle,
) -> None:
    called = {"name": "get_weather", "arguments": {"location": "Paris", "days": 2}}
    answer = f"I look.\n<tool_call>{json.dumps(called)}</tool_call>"
    tools = [{"name": "get_weather", "description": "Get weather for a location"}]
    model = scripted_handle(saying(answer), context=2000)
    shown: list[str] = []
    row = complete(model, tools=tools, callback=lambda text, *_: shown.append(text))
    assert (row["success"], row["response"], row["function_calls"]) == (True, "I look.", [called])
    assert "".join(shown) == "I look." and len(shown) == len(answer) == row["decode_tokens"]
    assert complete(model)["response"] == answer, "without tools it is text"


def test_greedy_is_deterministic_and_a_seed_repeats(handle: int) -> None:
    def answer(**options: Any) -> str:
        cactus_reset(handle)
        return str(complete(handle, max_tokens=12, **options)["response"])

    assert answer() == answer() == answer(temperature=0) == answer(temperature=1.5, top_k=1)
    sampled = [answer(temperature=1.5, seed=seed) for seed in range(4)]
    assert sampled == [answer(temperature=1.5, seed=seed) for seed in range(4)]
    assert len(set(sampled)) > 1
    assert len({answer(temperature=1.5) for _ in range(6)}) > 1, "without a seed, a fresh one"


@pytest.mark.fault("F33")
def test_zero_switches_top_k_and_min_p_off_and_top_p_to_greedy(handle: int) -> None:
    def answer(**options: Any) -> str:
        cactus_reset(handle)
        return str(complete(handle, max_tokens=12, **options)["response"])

    plain = answer(temperature=1.5, seed=3)
    assert answer(temperature=1.5, seed=3, top_k=0, min_p=0, top_p=1) == plain
    assert answer(temperature=1.5, seed=3, top_k=None, min_p=None, top_p=None) == plain
    assert answer(temperature=1.5, seed=3, top_p=0) == answer()


@pytest.mark.fault("F33")
@pytest.mark.parametrize("temperature", [1e-300, 1e-42, 1e-38, 1e-6])
def test_a_vanishing_temperature_is_greedy_and_no_overflow(handle: int, temperature: float) -> None:
    greedy = complete(handle, max_tokens=8)["response"]
    cactus_reset(handle)
    row = complete(handle, max_tokens=8, temperature=temperature, seed=1)
    assert row["response"] == greedy


@pytest.mark.fault("F33")
@pytest.mark.parametrize("temperature", [0.01, 1, 100])
@pytest.mark.parametrize("penalty", [0.01, 100])
def test_extreme_options_never_produce_nonsense(
    handle: int, temperature: float, penalty: float
) -> None:
    options = {"presence_penalty": 100, "frequency_penalty": -100, "top_p": 1e-9, "min_p": 1}
    row = complete(
        handle, max_tokens=8, temperature=temperature, repetition_penalty=penalty, **options
    )
    assert row["success"] and 0 <= row["confidence"] <= 1


@pytest.mark.fault("F32")
def test_logit_bias_forbids_and_forces_tokens(handle: int) -> None:
    token = cactus_tokenize(handle, "Z")[0]
    forced = complete(handle, max_tokens=3, logit_bias={str(token): 100})
    assert forced["response"] == "ZZZ"


def test_the_second_turn_counts_only_what_is_new(handle: int) -> None:
    first = complete(handle, max_tokens=6)
    turns = [
        *HELLO,
        {"role": "assistant", "content": first["response"]},
        {"role": "user", "content": "And then?"},
    ]
    new = len(cactus_tokenize(handle, "<|im_start|>user\nAnd then?<|im_end|>\n"))
    second = complete(handle, turns, max_tokens=1)
    assert second["success"] and 0 < second["prefill_tokens"] < first["prefill_tokens"] + new
    cactus_reset(handle)
    cold = complete(handle, turns, max_tokens=1)
    assert cold["prefill_tokens"] > second["prefill_tokens"]
    assert cold["response"] == second["response"]


@pytest.mark.parametrize(
    "messages",
    [None, "", '[{"role"', [], [{}], 5, [{"role": "user"}], [{"role": "x", "content": "y"}]],
)
def test_bad_messages_come_back_as_json(handle: int, messages: Any) -> None:
    assert "messages" in failed(complete(handle, messages))
    assert complete(handle, max_tokens=1)["success"] and cactus_get_last_error() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", float("nan")),
        ("temperature", -1),
        ("top_p", 2),
        ("top_k", -5),
        ("max_tokens", -1),
        ("max_tokens", "many"),
        ("stop_sequences", ""),
        ("stop_sequences", ["x"] * 17),
        ("include_stop_sequences", 1),
        ("tools", 5),
        ("force_tools", "yes"),
        ("force_tools", True),
        ("tool_rag_top_k", -1),
        ("confidence_threshold", 1.5),
        ("callback", "print"),
        ("seed", 2**64),
        ("logprobs", True),
        ("logprobs", np.array([True, False])),
        ("nonsense", 1),
    ],
)
def test_bad_options_come_back_as_json(handle: int, name: str, value: Any) -> None:
    assert name in failed(complete(handle, **{name: value}))


def test_images_for_a_text_model_come_back_as_json(handle: int) -> None:
    message = {"role": "user", "content": "Describe this image", "images": ["path/to/image.png"]}
    assert "cannot look at images" in failed(complete(handle, [message]))


@pytest.mark.fault("F31")
def test_a_prompt_that_is_too_long_names_both_numbers(handle: int) -> None:
    error = failed(complete(handle, [{"role": "user", "content": "x" * 5000}]))
    assert "512" in error and "50" in error


@pytest.mark.fault("F52")
@pytest.mark.parametrize("handle", [None, 0, -1, 10**9, True, "1", 1.0, [1]])
def test_what_is_no_handle_is_an_error_everywhere(handle: Any) -> None:
    assert "handle" in failed(complete(handle)) or "integer" in failed(complete(handle))
    for use in (
        lambda: cactus_tokenize(handle, "x"),
        lambda: cactus_reset(handle),
        lambda: cactus_stop(handle),
        lambda: cactus_embed(handle, "x"),
    ):
        with pytest.raises(InvalidRequest):
            use()


def test_a_failed_init_is_none_and_says_why() -> None:
    handle = cactus_init("weights/no-such-model")
    assert handle is None
    why = cactus_get_last_error()
    assert why is not None and "no-such-model" in why
    assert "no-such-model" in failed(complete(handle)), "the reason is not lost on the way"
    cactus_destroy(handle)


@pytest.mark.parametrize("path", [None, 5, "", b"x", "a\x00b"])
def test_init_never_raises_for_a_bad_path(path: Any) -> None:
    assert cactus_init(path) is None
    assert cactus_get_last_error()


@pytest.mark.fault("F52")
def test_a_destroyed_handle_is_an_error_and_never_comes_back(tiny_model: Path) -> None:
    first = cactus_init(str(tiny_model))
    cactus_destroy(first)
    cactus_destroy(first)
    assert f"model {first} has been destroyed" in failed(complete(first))
    for use in (lambda: cactus_tokenize(first, "x"), lambda: cactus_reset(first)):  # type: ignore[arg-type]
        with pytest.raises(ModelClosed):
            use()
    cactus_stop(first)  # type: ignore[arg-type]
    second = cactus_init(str(tiny_model))
    assert second != first
    cactus_destroy(second)


def test_the_last_error_belongs_to_its_thread_and_ends_with_the_next_success(handle: int) -> None:
    complete(handle, None)
    assert cactus_get_last_error()
    assert InThread(cactus_get_last_error).result() is None
    assert cactus_get_last_error(), "asking does not clear it"
    cactus_tokenize(handle, "x")
    assert cactus_get_last_error() is None
    with pytest.raises(CactusError):
        cactus_image_embed(handle, "x.png")
    assert "cannot embed images" in (cactus_get_last_error() or "")


def test_an_embedding_is_a_list_of_floats_of_length_one_on_request(
    handle: int, tiny_model: Path
) -> None:
    raw, unit = cactus_embed(handle, "Hello world"), cactus_embed(handle, "Hello world", True)
    assert len(raw) == 64 and {type(value) for value in [*raw, *unit]} == {float}
    length = math.sqrt(sum(value * value for value in raw))
    assert length > 1.5 and [value / length for value in raw] == pytest.approx(unit, rel=1e-5)
    assert cactus_embed(handle, "Hello world", normalize=False) == raw
    assert not any(cactus_embed(handle, "", normalize=True)), "no tokens: zero, and never NaN"
    with CactusModel(str(tiny_model)) as model:
        assert model.embed("Hello world", normalize=True) == unit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "text must be a string"),
        ((b"x",), "text must be a string"),
        ((["a", "b"],), "text must be a string"),
        (("a\ud800",), "half a surrogate pair"),
        (("x", 1), "normalize must be True or False"),
        (("x" * 513,), "text has 513 tokens"),
    ],
)
def test_what_cannot_be_embedded_is_named(
    handle: int, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        cactus_embed(handle, *arguments)
    assert message in (cactus_get_last_error() or "")


def test_calls_that_a_text_model_has_not(handle: int) -> None:
    for use, ability in (
        (lambda: cactus_image_embed(handle, "image.png"), "embed images"),
        (lambda: cactus_audio_embed(handle, "audio.wav"), "embed audio"),
    ):
        with pytest.raises(UnsupportedModel, match=f"cannot {ability}"):
            use()
        assert ability in (cactus_get_last_error() or "")
    with pytest.raises(InvalidRequest, match="corpus_dir=DIR"):
        cactus_rag_query(handle, "What?", top_k=3)
    row = json.loads(cactus_transcribe(handle, "audio.wav", prompt="<|en|>"))
    assert list(row) == [*FIELDS, "segments"]
    assert row["segments"] == [] and "cannot transcribe audio" in failed(row)


def test_the_callback_gets_every_token_as_text_id_and_none(scripted_handle: MakeHandle) -> None:
    handle = scripted_handle(saying("Hé 🎉"))
    got: list[tuple[Any, ...]] = []
    row = complete(handle, callback=lambda *arguments: got.append(arguments))
    assert "".join(text for text, _, _ in got) == row["response"] == "Hé 🎉"
    assert bytes(token for _, token, _ in got).decode() == "Hé 🎉"
    assert all(isinstance(text, str) and data is None for text, _, data in got)


@pytest.mark.fault("F54")
def test_what_the_callback_raises_is_raised_and_the_next_call_works(
    scripted_handle: MakeHandle,
) -> None:
    handle = scripted_handle(saying("Hello"))

    def fail(token: str, token_id: int, user_data: None) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        cactus_complete(handle, HELLO, callback=fail, confidence_threshold=0)
    assert "mine" in (cactus_get_last_error() or "")
    assert complete(handle)["response"] == "Hello"


@pytest.mark.fault("F54")
def test_even_our_own_errors_are_raised_when_the_callback_raises_them(
    scripted_handle: MakeHandle,
) -> None:
    def fail(*_: object) -> None:
        raise InvalidRequest("the caller's")

    with pytest.raises(InvalidRequest, match="the caller's"):
        cactus_complete(scripted_handle(saying("Hi")), HELLO, callback=fail)


@pytest.mark.fault("F54")
def test_a_callback_with_the_wrong_signature_is_told_so(scripted_handle: MakeHandle) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        cactus_complete(scripted_handle(saying("Hi")), HELLO, callback=lambda text: None)  # type: ignore[misc,arg-type]


@pytest.mark.fault("F51")
def test_stop_from_the_callback_ends_within_the_token(scripted_handle: MakeHandle) -> None:
    handle = scripted_handle(babbling)
    got: list[str] = []

    def stop(token: str, token_id: int, user_data: None) -> None:
        got.append(token)
        if len(got) == 3:
            cactus_stop(handle)

    row = complete(handle, callback=stop)
    assert row["success"] and row["response"] == "".join(got) and row["decode_tokens"] == 3
    assert complete(handle, max_tokens=5)["decode_tokens"] == 5


@pytest.mark.fault("F54")
def test_the_model_can_be_called_from_its_own_callback(scripted_handle: MakeHandle) -> None:
    handle = scripted_handle(saying("Hi"))
    inner: list[str] = []
    row = complete(handle, callback=lambda *_: inner.append(complete(handle)["response"]))
    assert row["response"] == "Hi"
    assert inner == ["Hi", "Hi"]


def test_another_model_can_be_called_too(scripted_handle: MakeHandle) -> None:
    one, two = scripted_handle(saying("Hi")), scripted_handle(saying("there"))
    inner: list[str] = []
    complete(one, callback=lambda *_: inner.append(complete(two)["response"]))
    assert inner == ["there", "there"]


@pytest.mark.fault("F53")
def test_reset_in_the_callback_forgets_the_answer_that_runs(scripted_handle: MakeHandle) -> None:
    handle = scripted_handle(saying("Hi"))
    row = complete(handle, callback=lambda *_: cactus_reset(handle))
    again = complete(handle)
    assert row["response"] == again["response"] == "Hi"
    assert again["prefill_tokens"] == row["prefill_tokens"]


@pytest.mark.fault("F54")
def test_destroy_in_the_callback_ends_the_call(scripted_handle: MakeHandle) -> None:
    handle = scripted_handle(saying("Hi"))
    row = complete(handle, callback=lambda *_: cactus_destroy(handle))
    assert "destroyed while this call was running" in failed(row)
    assert "has been destroyed" in failed(complete(handle))


@pytest.mark.fault("F52")
def test_destroy_from_another_thread_during_a_call(tiny_model: Path) -> None:
    handle = cactus_init(str(tiny_model))
    started = threading.Event()
    call = InThread(lambda: complete(handle, max_tokens=400, callback=lambda *_: started.set()))
    assert started.wait(10)
    cactus_destroy(handle)
    row = call.result()
    # Unless it was through already, which 400 tokens of a tiny model may be.
    assert row["success"] or "destroyed while this call was running" in row["error"]


def test_the_context_manager_destroys(tiny_model: Path) -> None:
    with CactusModel(str(tiny_model)) as model:
        row = json.loads(model.complete(HELLO, max_tokens=2, confidence_threshold=0))
        assert list(row) == FIELDS and row["success"]
        assert model.tokenize("a") == model.tokenize("a") != []
        model.reset()
        model.stop()
        assert len(model.embed("x")) == 64
        with pytest.raises(UnsupportedModel):
            model.image_embed("x.png")
        with pytest.raises(UnsupportedModel):
            model.audio_embed("x.wav")
        with pytest.raises(InvalidRequest):
            model.rag_query("x")
        assert json.loads(model.transcribe("x.wav"))["success"] is False
    model.destroy()
    for name, arguments in {
        "complete": (HELLO,),
        "transcribe": ("x.wav",),
        "embed": ("x",),
        "image_embed": ("x",),
        "audio_embed": ("x",),
        "rag_query": ("x",),
        "tokenize": ("x",),
        "reset": (),
        "stop": (),
    }.items():
        with pytest.raises(RuntimeError, match="Model has been destroyed"):
            getattr(model, name)(*arguments)
    with pytest.raises(RuntimeError), model:
        pass


def test_cactus_model_raises_when_it_cannot_load() -> None:
    with pytest.raises(CactusError, match="no-such-model"):
        CactusModel("weights/no-such-model")
    assert "no-such-model" in (cactus_get_last_error() or "")


def test_a_dropped_model_is_freed_at_once(tiny_model: Path) -> None:
    model = CactusModel(str(tiny_model))
    model.complete(HELLO, max_tokens=1)
    program = weakref.ref(model._model._engine.program)
    gc.disable()  # not even a cycle to be found
    try:
        del model
        assert program() is None
    finally:
        gc.enable()


def test_values_that_cannot_even_be_shown(tiny_model: Path) -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    huge = 10**5000
    handle = cactus_init(str(tiny_model))
    for messages in (
        huge,
        [{"role": "user", "content": huge}],
        [{"role": Silent(), "content": ""}],
    ):
        answer = json.loads(cactus_complete(handle, messages))  # type: ignore[arg-type]
        assert answer["success"] is False and "messages" in answer["error"]
    assert "not a handle" in json.loads(cactus_complete(huge, []))["error"]
    cactus_destroy(handle)


def test_using_a_destroyed_model_is_the_last_error(tiny_model: Path) -> None:
    model = CactusModel(str(tiny_model))
    model.destroy()
    for call in (lambda: model.complete([]), lambda: model.transcribe("x")):
        cactus_tokenize_works(tiny_model)
        assert cactus_get_last_error() is None
        with pytest.raises(RuntimeError, match="destroyed"):
            call()
        assert "destroyed" in (cactus_get_last_error() or "")


def cactus_tokenize_works(folder: Path) -> None:
    with CactusModel(str(folder)) as model:
        model.tokenize("a")


def test_the_error_for_a_failed_init_has_one_size(tiny_model: Path) -> None:
    """Only why the handle is None is quoted, not the errors that quoted it before."""
    handle = cactus_init("weights/no-such-model")
    why = cactus_get_last_error()
    sizes = {len(failed(complete(handle))) for _ in range(10_000)}
    assert len(sizes) == 1 and max(sizes) < 500
    error = failed(complete(handle))
    assert error.endswith(f"got None (cactus_init failed: {why})")
    with CactusModel(str(tiny_model)) as model:
        model.tokenize("a")
    assert "no-such-model" in failed(complete(handle)), "another model says nothing about it"
    cactus_destroy(cactus_init(str(tiny_model)))
    assert "failed" not in failed(complete(None)), "the last init has not failed"


def test_log_probabilities_are_refused_where_the_json_has_no_field(tiny_model: Path) -> None:
    with CactusModel(str(tiny_model)) as model:
        result = json.loads(model.complete("Hello", logprobs=True))
    assert not result["success"]
    assert "use Model.chat" in result["error"]
