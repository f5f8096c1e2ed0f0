"""Every flat function names an argument of a wrong type, what was expected, and what it got."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cactus
from cactus import cactus_destroy, cactus_get_last_error, cactus_init

FLAT = {name: getattr(cactus, name) for name in cactus.__all__ if name.startswith("cactus_")}
WRONG: list[Any] = [None, 5, 1.5, True, b"x", [5], {"a": 1}, {5}, object(), len, "x"]
# The types that each parameter takes, where the value is not wrong in itself but for other reasons.
TAKES: dict[str, tuple[Any, ...]] = {
    "model": (int,),
    "stream": (int,),
    "model_path": (str,),
    "corpus_dir": (str, type(None)),
    "cache_index": (bool,),
    "messages": (str, bytes),
    "audio_path": (str, bytes, list),
    "pcm": (bytes, list),
    "pcm_data": (bytes, list),
    "prompt": (str,),
    "callback": (type(None), type(len)),
    "options": (dict, str, type(None)),
    "language": (str, type(None)),
    "text": (str,),
    "normalize": (bool,),
    "image_path": (str,),
    "query": (str,),
    "top_k": (int,),
}
# A right value for the parameters that have no default.
RIGHT: dict[str, Any] = {
    "model_path": "no-such-model",
    "messages": "Hello",
    "audio_path": "no-such.wav",
    "pcm": b"\0\0",
    "text": "x",
    "image_path": "x.png",
    "query": "x",
}


def cases() -> Iterator[tuple[str, str, Any]]:
    for function, made in FLAT.items():
        for name, parameter in inspect.signature(made).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            for value in WRONG:
                bad = type(value) not in TAKES[name]
                either = function == "cactus_vad" and value is None  # one of two is given
                if bad and not either and not (function == "cactus_destroy" and value is None):
                    yield function, name, value


def error_of(function: str, **arguments: Any) -> str:
    """What a call says of its arguments, in JSON, as the last error or by raising."""
    try:
        said = FLAT[function](**arguments)
    except (cactus.CactusError, RuntimeError) as error:
        assert cactus_get_last_error() == str(error)
        return str(error)
    if said is None:
        return cactus_get_last_error() or ""
    return str(json.loads(said)["error"])


@pytest.fixture(scope="module")
def text_model(tiny_model: Path) -> Iterator[int]:
    handle = cactus_init(str(tiny_model))
    assert handle is not None
    yield handle
    cactus_destroy(handle)


@pytest.fixture(scope="module")
def speech_model(speech_folder: Path) -> Iterator[int]:
    handle = cactus_init(str(speech_folder))
    assert handle is not None, cactus_get_last_error()
    yield handle
    cactus_destroy(handle)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    list(cases()),
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_argument_of_a_wrong_type_is_named(
    function: str, name: str, value: Any, text_model: int, speech_model: int
) -> None:
    parameters = inspect.signature(FLAT[function]).parameters
    speech = function in ("cactus_transcribe", "cactus_stream_transcribe_start")
    given = {
        other: RIGHT[other]
        for other, parameter in parameters.items()
        if other in RIGHT and (parameter.default is inspect.Parameter.empty)
    }
    if "model" in parameters:
        given["model"] = speech_model if speech else text_model
    if function == "cactus_vad" and name in ("model", "options"):
        given["pcm_data"] = b"\0\0"
    stream = None
    if "stream" in parameters:
        stream = given["stream"] = cactus.cactus_stream_transcribe_start(speech_model)
    try:
        error = error_of(function, **{**given, name: value})
    finally:
        if stream is not None:
            cactus.cactus_stream_transcribe_stop(stream)
    assert name in error and ("must be" in error or "expected" in error), error
    kind = "None" if value is None else type(value).__name__
    seen = (kind, repr(value), "null", "got 5", "an object")  # messages say it as JSON has it
    assert "got" in error and any(word in error for word in seen), error


def test_the_table_names_every_parameter() -> None:
    used = {
        name
        for made in FLAT.values()
        for name, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert used == set(TAKES)


def test_a_call_of_every_function_was_tried() -> None:
    tried = {function for function, _, _ in cases()}
    without: set[Callable[..., Any]] = set(FLAT) - tried  # type: ignore[assignment]
    assert without == {"cactus_get_last_error"}
