from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.engine.contract import Sampling
from cactus.errors import InvalidRequest
from cactus.generate.options import Options, parse_options
from cactus.schemas.functions import Tool

VOCABULARY = 300


def parse(**raw: Any) -> Options:
    return parse_options(raw, vocab_size=VOCABULARY)


def get_time(city: str) -> str:
    """Get the time."""
    return city


def test_functions_become_definitions_and_the_rest_stays() -> None:
    given = {"name": "other"}
    tools = parse(tools=[given, get_time, Tool(get_time, name="time")]).tools
    assert tools[0] is given
    assert [each["function"]["name"] for each in tools[1:]] == ["get_time", "time"]
    assert tools[1]["function"]["parameters"]["required"] == ["city"]


def test_a_function_that_cannot_be_a_tool_is_named_with_its_place() -> None:
    def stars(*values: int) -> None: ...

    with pytest.raises(InvalidRequest, match=r"^tools\[1\]: stars: a model cannot be told of \*"):
        parse(tools=[get_time, stars])


def test_the_defaults_are_greedy_and_512_tokens() -> None:
    options = parse()
    assert options == Options()
    assert options.max_tokens == 512
    assert options.sampling == Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=None)
    assert options.sampling.repetition_penalty == 1.0
    assert options.confidence_threshold is None


NAMES = [
    "max_tokens",
    "max_total_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "repetition_window",
    "sampling",
    "seed",
    "stop_loops",
    "logprobs",
    "top_logprobs",
    "stop",
    "stop_sequences",
    "include_stop_sequences",
    "tools",
    "force_tools",
    "tool_rag_top_k",
    "confidence_threshold",
    "speculation",
]


@pytest.mark.parametrize("name", NAMES)
def test_none_means_the_default(name: str) -> None:
    assert parse(**{name: None}) == Options()


@pytest.mark.fault("F33")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 2**31),
        ("max_tokens", 2**64),
        ("temperature", 0),
        ("temperature", 100),
        ("temperature", Fraction(1, 2)),
        ("temperature", np.float32(0.5)),
        ("top_p", 0),
        ("top_p", 1),
        ("top_k", 0),
        ("top_k", np.int64(40)),
        ("min_p", 1.0),
        ("repetition_penalty", 1.1),
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("seed", 0),
        ("seed", 2**64 - 1),
        ("confidence_threshold", 0),
        ("confidence_threshold", 1),
        ("tool_rag_top_k", 0),
        ("force_tools", False),
        ("include_stop_sequences", True),
    ],
)
def test_the_ends_of_every_range_are_accepted(name: str, value: Any) -> None:
    options = parse(**{name: value})
    home = options.sampling if hasattr(options.sampling, name) else options
    assert getattr(home, name) == value


@pytest.mark.fault("F31", "F33")
@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "seed",
        "tool_rag_top_k",
        "confidence_threshold",
    ],
)
@pytest.mark.parametrize(
    "value",
    [-1, -5, math.nan, math.inf, -math.inf, 1e308, -1e308, "1", "", [], {}, (), True, b"1", 1j],
)
def test_numbers_out_of_range_or_of_no_number_are_refused(name: str, value: Any) -> None:
    with pytest.raises(
        InvalidRequest, match=rf"^{name} must be (a number|an integer) from .*, got "
    ):
        parse(**{name: value})


@pytest.mark.fault("F33")
@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308, -1e308, 10**400, "1", True])
def test_penalties_may_be_negative_but_not_huge(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{name} must be a number from -100 to 100, got "):
        parse(**{name: value})


@pytest.mark.fault("F33")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2**64),
        ("top_k", 2**31),
        ("max_tokens", 1.0),
        ("top_p", 2),
        ("min_p", 2),
        ("temperature", 10**400),
        ("repetition_penalty", 0),
        ("repetition_penalty", 1e-300),
        ("include_stop_sequences", 1),
        ("force_tools", "yes"),
    ],
)
def test_the_first_value_past_a_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} must be "):
        parse(**{name: value})


def test_an_unknown_option_is_named_with_its_nearest_neighbour() -> None:
    with pytest.raises(InvalidRequest, match="'temprature': did you mean temperature"):
        parse(temprature=0.5)


def test_an_unknown_option_is_refused_even_when_none() -> None:
    with pytest.raises(InvalidRequest, match="unknown option 'zzz'"):
        parse(zzz=None)


def test_one_stop_string_may_stand_alone() -> None:
    assert parse(stop="\n").stop == ("\n",)
    assert parse(stop_sequences=["a", "b"]).stop == ("a", "b")
    assert parse(stop=[]).stop == ()


def test_two_names_for_the_stops_are_one_too_many() -> None:
    with pytest.raises(InvalidRequest, match="stop and stop_sequences"):
        parse(stop="a", stop_sequences=["b"])


@pytest.mark.fault("F34")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"stop\[0\] must have 1 to 1024 bytes of UTF-8, got 0"),
        (["ok", ""], r"stop\[1\] must have 1 to 1024 bytes"),
        (["x" * 1025], r"stop\[0\] .* got 1025"),
        (["é" * 513], r"stop\[0\] .* got 1026"),
        (["x"] * 17, "stop has 17 strings; at most 16"),
        (["x"] * 10_000, "stop has 10000 strings; at most 16"),
        ("x" * 1_000_000, r"stop\[0\] .* got 1000000"),
        (["a", 5], r"stop\[1\] must be a string, got 5"),
        (["\ud800"], r"stop\[0\] holds half a surrogate pair"),
        (5, "stop must be a string or a list of strings, got 5"),
        ({"a": 1}, "stop must be a string or a list of strings"),
    ],
)
def test_bad_stop_strings_are_named(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        parse(stop=value)


@pytest.mark.fault("F34")
def test_sixteen_stops_of_a_kilobyte_are_accepted() -> None:
    stops = ["x" * 1023 + chr(65 + index) for index in range(16)]
    assert parse(stop_sequences=stops).stop == tuple(stops)


def test_logit_bias_takes_ids_as_numbers_or_as_json_has_them() -> None:
    assert parse(logit_bias={5: 1, "7": -100}).sampling.logit_bias == {5: 1.0, 7: -100.0}


@pytest.mark.fault("F32")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({300: 1}, r"logit_bias\[300\] is not a token: the vocabulary has 300 tokens"),
        ({"abc": 1}, r"the key of logit_bias\['abc'\] must be an integer"),
        ({"٣": 1}, r"the key of logit_bias\['٣'\] must be an integer"),
        ({"9" * 5000: 1}, r"the key of logit_bias\['9999"),
        ({-1: 1}, r"the key of logit_bias\[-1\] must be an integer from 0"),
        ({True: 1}, r"the key of logit_bias\[True\]"),
        ({5: math.nan}, r"logit_bias\[5\] must be a number from -100 to 100, got nan"),
        ({5: 1e308}, r"logit_bias\[5\] must be a number"),
        ({5: -1e308}, r"logit_bias\[5\] must be a number"),
        ({5: None}, r"logit_bias\[5\] must be a number"),
        ([(5, 1)], "logit_bias must be a mapping"),
        ({index: 1 for index in range(1025)}, "logit_bias has 1025 entries; at most 1024"),
    ],
)
def test_bad_biases_are_named(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        parse(logit_bias=value)


def test_a_value_whose_repr_fails_is_refused_all_the_same() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(InvalidRequest, match="temperature must be a number from 0 to 100, got "):
        parse(temperature=Rude())


def test_a_long_value_is_quoted_in_short() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(temperature="x" * 10**6)
    assert len(str(caught.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a1é\ud800", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a1", max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.fault("F33")
@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from([*NAMES, "nonsense"]), json_values, max_size=4))
def test_whatever_is_given_is_either_in_range_or_named_in_the_error(raw: dict[str, Any]) -> None:
    try:
        options = parse_options(raw, vocab_size=VOCABULARY)
    except InvalidRequest as error:
        assert any(name in str(error) for name in raw)
        return
    sampling = options.sampling
    assert 0 <= sampling.temperature <= 100
    assert 0 <= sampling.top_p <= 1 and 0 <= sampling.min_p <= 1
    assert 0 <= sampling.top_k < 2**31
    assert 0.01 <= sampling.repetition_penalty <= 100
    assert sampling.seed is None or 0 <= sampling.seed < 2**64
    assert options.max_tokens >= 0
    assert all(0 <= token < VOCABULARY for token in sampling.logit_bias)
    assert all(math.isfinite(bias) for bias in sampling.logit_bias.values())
    assert all(1 <= len(stop.encode()) <= 1024 for stop in options.stop)
    if options.tools is None:
        json.dumps([options.stop, options.force_tools, options.include_stop_sequences])


@pytest.mark.fault("F32")
@pytest.mark.parametrize(
    "raw",
    [
        {"top_logprobs": 10**6, "logprobs": True},
        {"logit_bias": {str(token): 1 for token in range(10**6)}},
        {"logit_bias": {300: 1}},
        {"logit_bias": {"abc": 1}},
        {"logit_bias": {1: 1e308}},
        {"logit_bias": {1: -1e308}},
        {"n": 10**6},
        {"best_of": 10**6},
    ],
    ids=lambda raw: str(raw)[:40],
)
def test_what_would_multiply_the_work_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(raw))):
        parse(**raw)
