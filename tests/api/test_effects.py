"""No option of a chat is accepted without an effect: each changes something, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cactus
from cactus import Model
from cactus.engine.defaults import SamplingDefaults
from cactus.engine.loading import load
from tests.generate.scripted import saying

Make = Callable[..., Model]
HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"name": "clock"}, {"name": "weather"}]
CALL = '<tool_call>{"name": "clock"}</tool_call>'
SAMPLED = {"temperature": 1.5, "seed": 3, "max_tokens": 12}

# Of the tiny model: what is added to a sampled answer, and makes it another one.
SAMPLING: dict[str, Any] = {
    "temperature": 0,
    "top_p": 1e-6,
    "top_k": 1,
    "min_p": 0.9,
    "repetition_penalty": 50,
    "presence_penalty": 100,
    "frequency_penalty": 100,
    "logit_bias": {90: 100},
    "seed": 4,
    "repetition_window": 1,
    "sampling": "model",
}
# What the options above need beside them.
BESIDE: dict[str, dict[str, Any]] = {
    "repetition_window": {"repetition_penalty": 1.5},
    "sampling": {"temperature": None},
}
# Of a script: the options without it, and the value of it that makes another answer or prompt.
SCRIPTED: dict[str, tuple[dict[str, Any], Any]] = {
    "max_tokens": ({}, 3),
    "max_total_tokens": ({}, 60),
    "stop": ({}, "a"),
    "include_stop_sequences": ({"stop": "b"}, True),
    "confidence_threshold": ({}, 0.99999),
    "tools": ({}, TOOLS),
    "tool_choice": ({"tools": TOOLS}, "none"),
    "tool_rag_top_k": ({"tools": TOOLS}, 1),
    "force_tools": ({"tools": TOOLS}, True),
    "parallel_tool_calls": ({"tools": TOOLS}, False),
    "thinking": ({}, False),
    "continue_final_message": ({}, False),
    "speculation": ({}, False),
    "response_format": ({}, {"type": "regex", "regex": "[0-9]{4}"}),
    "schema": ({}, {"enum": ["yes"]}),
    "stop_loops": ({"max_tokens": 200}, True),
    "logprobs": ({}, True),
    "top_logprobs": ({"logprobs": True}, 2),
}
# What matters only where a model has a cloud: tests/cloud/test_handoff.py.
CLOUD = {"allow_cloud"}
# What matters only where a model sees: tests/vision.
SEEING = {"max_tiles", "max_image_tokens", "allow_image_urls", "image_progress"}
TEMPLATE = (
    "{{ enable_thinking }}{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[Model]:
    engine = load(tiny_model)
    engine = replace(engine, sampling_defaults=SamplingDefaults(temperature=1.5))
    with Model.from_engine(engine) as model:
        yield model


def test_every_option_has_a_row() -> None:
    assert {*SAMPLING, *SCRIPTED, *CLOUD, *SEEING} == set(cactus.ChatOptions.__annotations__)


@pytest.mark.parametrize("name", SAMPLING)
def test_sampling_changes_the_answer(tiny: Model, name: str) -> None:
    others: dict[str, Any] = {**SAMPLED, **BESIDE.get(name, {})}
    given = {**others, name: SAMPLING[name]}
    assert tiny.chat(HELLO, **given).tokens != tiny.chat(HELLO, **others).tokens


@pytest.mark.parametrize("name", SCRIPTED)
def test_an_option_changes_the_prompt_the_answer_or_the_steps(
    scripted_model: Make, name: str
) -> None:
    others, value = SCRIPTED[name]
    turns = [*HELLO, {"role": "assistant", "content": "abcabcabcabc"}]

    def seen(**options: Any) -> Any:
        model = scripted_model(
            saying(CALL + "abc" * 60), template=TEMPLATE, context=500, slope=0, chunk=99
        )
        done = model.chat(turns, **options)
        program: Any = model._engine.program
        return done.text, done.finish_reason, done.token_logprobs, program.steps

    assert seen(**others, **{name: value}) != seen(**others)


@pytest.mark.parametrize("name", sorted(cactus.CompletionOptions.__annotations__))
def test_raw_completion_takes_them_too(scripted_model: Make, name: str) -> None:
    others, value = SCRIPTED.get(name) or (BESIDE.get(name, {}), SAMPLING[name])
    assert scripted_model(saying("xyz")).complete("abc", **others, **{name: value}).finish_reason
