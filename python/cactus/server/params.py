"""Which field of a request an error of a model is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cactus.errors import InvalidRequest, UnsupportedModel
from cactus.server.errors import ApiError, api_error

_PATH = r"[a-z_]+(?:\[[^\]]{1,60}\]|\.[\w$-]{1,60})*"
_LEADING = re.compile(
    rf"(?:the key of )?({_PATH})(?=:| must | has | is | are | cannot | names | holds )"
)

_FIELDS = frozenset(
    (
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "prompt",
        "suffix",
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
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "thinking",
        "continue_final_message",
        "max_tiles",
        "max_image_tokens",
        "allow_image_urls",
        "text",
        "texts",
        "ids",
        "dimensions",
        "query",
        "audio",
        "language",
        "initial_prompt",
        "hotwords",
        "task",
    )
)
"""What the errors of a model may begin with: its options, and the messages."""


def param_of(message: str) -> str | None:
    """The field that an error of a model names first, such as ``messages[0].content``."""
    found = _LEADING.match(message)
    if found is None or re.split(r"[.\[]", found[1])[0] not in _FIELDS:
        return None
    return found[1]


def refused(error: Exception, names: Mapping[str, str] | None = None) -> Exception:
    """An error with its `param`; `names` are what the fields are called where that is different.

    ``{"thinking": "reasoning_effort"}`` puts the one name for the other, in the text as well. What
    is not about a field is handed back as it is.
    """
    if not isinstance(error, (InvalidRequest, UnsupportedModel)):
        return error
    told = api_error(error)
    message, param = told.message, param_of(told.message)
    for ours, theirs in (names or {}).items():
        if param is not None and (param == ours or param.startswith((f"{ours}.", f"{ours}["))):
            renamed = theirs + param[len(ours) :]
            message = message.replace(param, renamed, 1)
            param = renamed
            break
    return ApiError(told.status, message, code=told.code, param=param, retry_after=told.retry_after)


@contextmanager
def renaming(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors of a model leave as `refused` makes them."""
    try:
        yield
    except Exception as error:
        raise refused(error, names) from None


def invalid(message: str, param: str, code: str = "invalid_value") -> ApiError:
    """A field that cannot be taken."""
    return ApiError(400, f"{param}: {message}", code=code, param=param)


def without_effect(given: Mapping[str, object], why: Mapping[str, str]) -> None:
    """Refuse fields that would change nothing here. Raises ApiError naming the first."""
    for name, reason in why.items():
        if given.get(name) is not None:
            raise invalid(reason, name, "unsupported_parameter")
