"""The options of a completion: one table of names, types, ranges and defaults.

None always means "the default". Everything else is checked before a single token is read, and an
error names the option, what it may be and what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from cactus.engine.contract import Sampling
from cactus.errors import InvalidRequest, ModelFormatError
from cactus.grammar.formats import Format, response_format, schema_option
from cactus.inputs.checks import boolean, choice, expected, integer, known, number, short, text
from cactus.progress import Progress

if TYPE_CHECKING:
    from cactus.engine.defaults import SamplingDefaults


class CompletionOptions(TypedDict, total=False):
    """The options of ``Model.complete`` and its streaming and async forms."""

    max_tokens: int | None
    max_total_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_window: int | None
    sampling: Literal["greedy", "model"] | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    seed: int | None
    stop: str | Sequence[str] | None
    include_stop_sequences: bool | None
    stop_loops: bool | None
    logprobs: bool | None
    top_logprobs: int | None
    confidence_threshold: float | None
    speculation: bool | None
    response_format: Mapping[str, Any] | Sequence[str] | None
    schema: Mapping[str, Any] | str | type[Any] | None


class ChatOptions(CompletionOptions, total=False):
    """The options of ``Model.chat`` and its streaming and async forms."""

    tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | str | None
    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    force_tools: bool | None
    tool_rag_top_k: int | None
    thinking: bool | None
    continue_final_message: bool | None
    allow_cloud: bool | None
    max_tiles: int | None
    max_image_tokens: int | None
    allow_image_urls: bool | None
    image_progress: Progress | None


CHAT_ONLY = frozenset(ChatOptions.__annotations__) - frozenset(CompletionOptions.__annotations__)
"""Options that mean something for messages alone."""

MAX_STOPS = 16
MAX_STOP_BYTES = 1024
MAX_LOGIT_BIAS = 1024
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Options:
    """The checked options of one completion; `tools` are definitions, which are still unchecked."""

    max_tokens: int = 512
    max_total_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    include_stop_sequences: bool = False
    stop_loops: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    tools: Any = None
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    force_tools: bool = False
    tool_rag_top_k: int = 0
    confidence_threshold: float | None = None
    speculation: bool = True
    format: Format | None = None
    thinking: bool | None = None
    continue_final_message: bool | None = None
    allow_cloud: bool = True
    max_tiles: int | None = None
    max_image_tokens: int | None = None
    allow_image_urls: bool = False
    image_progress: Progress | None = field(default=None, compare=False, repr=False)

    def room(self, context: int) -> int:
        """Tokens of prompt and answer together at most, in a context of so many."""
        return context if self.max_total_tokens is None else min(context, self.max_total_tokens)


def parse_options(
    raw: Mapping[str, Any],
    *,
    vocab_size: int,
    model_defaults: SamplingDefaults | ModelFormatError | None = None,
) -> Options:
    """Check `raw` and fill in the defaults: greedy, or `model_defaults` where they are asked for.

    ``stop`` may be called ``stop_sequences`` too. Raises InvalidRequest naming the first option
    that is unknown, of the wrong type or out of its range, and what is wrong with the model's
    defaults.
    """
    given = {name: value for name, value in raw.items() if value is not None}
    known(raw, _CHECKS)
    if "stop" in given and "stop_sequences" in given:
        raise InvalidRequest("stop and stop_sequences are two names of one option: give one")
    checked: dict[str, Any] = {}
    if "schema" in given and "response_format" in given:
        raise InvalidRequest("schema and response_format both say what the answer is: give one")
    for name, value in given.items():
        target = _FIELDS.get(name, name)
        checked[target] = _CHECKS[name](name, value)
    for token in checked.get("logit_bias", ()):
        if token >= vocab_size:
            raise InvalidRequest(
                f"logit_bias[{token}] is not a token: the vocabulary has {vocab_size} tokens"
            )
    if checked.get("top_logprobs") and not checked.get("logprobs"):
        raise InvalidRequest("top_logprobs is an option of logprobs=True")
    if checked.get("force_tools") and checked.get("tool_choice", "auto") == "auto":
        checked["tool_choice"] = "required"
    if checked.get("force_tools") and checked["tool_choice"] == "none":
        raise InvalidRequest("force_tools wants a call, and tool_choice is 'none': give one")
    chosen: dict[str, Any] = {}
    if checked.pop("sampling", "greedy") == "model" and model_defaults is not None:
        if isinstance(model_defaults, ModelFormatError):
            raise copy(model_defaults)  # one that is raised again keeps its frames
        chosen = model_defaults.options()
    chosen |= {k: checked.pop(k) for k in list(checked) if k in _SAMPLING}
    return Options(sampling=Sampling(**chosen), **checked)


def stop_strings(name: str, value: object) -> tuple[str, ...]:
    """One string or a list of at most 16, each of 1 to 1,024 bytes of UTF-8."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest(expected(name, "a string or a list of strings", value))
    if len(value) > MAX_STOPS:
        raise InvalidRequest(f"{name} has {len(value)} strings; at most {MAX_STOPS} are allowed")
    for index, stop in enumerate(value):
        where = f"{name}[{index}]"
        size = len(text(where, stop).encode())
        if not 1 <= size <= MAX_STOP_BYTES:
            raise InvalidRequest(
                f"{where} must have 1 to {MAX_STOP_BYTES} bytes of UTF-8, got {size}"
            )
    return tuple(value)


def logit_bias(name: str, value: object) -> dict[int, float]:
    """Token ids (or their decimal strings, as JSON has them) to numbers from -100 to 100."""
    if not isinstance(value, Mapping):
        raise InvalidRequest(expected(name, "a mapping of token ids to numbers", value))
    if len(value) > MAX_LOGIT_BIAS:
        raise InvalidRequest(
            f"{name} has {len(value)} entries; at most {MAX_LOGIT_BIAS} are allowed"
        )
    result: dict[int, float] = {}
    for key, bias in value.items():
        where = f"{name}[{short(key)}]"
        # isdecimal alone lets other scripts' digits and strings too long for int() through.
        if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 11:
            key = int(key)
        token = integer(f"the key of {where}", key, 0, 2**31 - 1)
        result[token] = number(where, bias, -100, 100)
    return result


def _tool_choice(name: str, value: object) -> str:
    """ "auto", "none", "required", or the name of a tool, in OpenAI's form or alone."""
    if isinstance(value, Mapping):
        function = value.get("function", value)
        value = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(value, str) or not value:
        raise InvalidRequest(
            expected(name, "'auto', 'none', 'required' or the name of a tool", value)
        )
    return value


def _function(name: str, value: object) -> object:
    if not callable(value):
        raise InvalidRequest(expected(name, "a function", value))
    return value


def _tools(name: str, value: object) -> object:
    """`value` with definitions instead of Python functions; the rest is checked with the prompt."""
    if not isinstance(value, (list, tuple)) or not any(map(callable, value)):
        return value
    from cactus.schemas.functions import tool_of

    found = []
    for index, each in enumerate(value):
        try:
            tool = tool_of(each)
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}[{index}]: {error}") from None
        found.append(each if tool is None else tool.definition)
    return found


_FIELDS = {"stop_sequences": "stop", "schema": "format", "response_format": "format"}
"""The fields of `Options` that have another name than the option."""

_SAMPLING = frozenset(Sampling.__dataclass_fields__)

_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "max_tokens": lambda n, v: integer(n, v, 0),
    "max_total_tokens": lambda n, v: integer(n, v, 1),
    "temperature": lambda n, v: number(n, v, 0, 100),
    "top_p": lambda n, v: number(n, v, 0, 1),
    "top_k": lambda n, v: integer(n, v, 0, 2**31 - 1),
    "min_p": lambda n, v: number(n, v, 0, 1),
    "repetition_penalty": lambda n, v: number(n, v, 0.01, 100),
    "presence_penalty": lambda n, v: number(n, v, -100, 100),
    "frequency_penalty": lambda n, v: number(n, v, -100, 100),
    "repetition_window": lambda n, v: integer(n, v, 1, 2**31 - 1),
    "sampling": lambda n, v: choice(n, v, ("greedy", "model")),
    "logit_bias": logit_bias,
    "seed": lambda n, v: integer(n, v, 0, 2**64 - 1),
    "stop": stop_strings,
    "stop_sequences": stop_strings,
    "include_stop_sequences": boolean,
    "stop_loops": boolean,
    "logprobs": boolean,
    "top_logprobs": lambda n, v: integer(n, v, 0, MAX_TOP_LOGPROBS),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "force_tools": boolean,
    "tool_rag_top_k": lambda n, v: integer(n, v, 0, 2**31 - 1),
    "confidence_threshold": lambda n, v: number(n, v, 0, 1),
    "speculation": boolean,
    "response_format": response_format,
    "schema": schema_option,
    "thinking": boolean,
    "continue_final_message": boolean,
    "allow_cloud": boolean,
    "max_tiles": lambda n, v: integer(n, v, 1),
    "max_image_tokens": lambda n, v: integer(n, v, 1),
    "allow_image_urls": boolean,
    "image_progress": _function,
}
