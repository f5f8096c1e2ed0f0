"""Errors of a model name the field of the request."""

from __future__ import annotations

import pytest

from cactus.errors import InvalidRequest, NonFiniteLogits
from cactus.server.errors import ApiError
from cactus.server.params import param_of, refused


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("messages[3].content: expected a string", "messages[3].content"),
        ("tools[3].parameters.type: expected 'object'", "tools[3].parameters.type"),
        ("temperature must be a number from 0 to 2", "temperature"),
        ("the key of logit_bias['abc'] must be an integer", "logit_bias['abc']"),
        ("stop[0] must have 1 to 1024 bytes", "stop[0]"),
        ("messages[0] has images, and m cannot see", "messages[0]"),
        ("tool_choice names 'f'; the tools are g", "tool_choice"),
        ("the prompt has 600 tokens", None),
        ("nobody: knows", None),
    ],
)
def test_the_field_is_what_an_error_begins_with(message: str, param: str | None) -> None:
    assert param_of(message) == param


def test_a_field_has_the_name_that_the_client_knows() -> None:
    names = {"response_format.json_schema": "text.format", "thinking": "reasoning.effort"}
    error = refused(InvalidRequest("response_format.json_schema.schema: expected an object"), names)
    assert isinstance(error, ApiError)
    assert (error.param, error.message) == (
        "text.format.schema",
        "text.format.schema: expected an object",
    )
    other = refused(InvalidRequest("thinking: m does not think"), names)
    assert isinstance(other, ApiError) and other.param == "reasoning.effort"
    failure = NonFiniteLogits("NaN")
    assert refused(failure, names) is failure
