"""How each family of models writes a call of a tool, and calls written in that form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cactus.chat.traced import join, trusted

Form = Literal["json", "python", "parameters", "escaped"]
"""How one call is written: an object with its name and arguments; ``f(a="x")``;
``<function=f><parameter=a>``; ``call:f{a:<escape>x<escape>}``."""

ESCAPE = "<escape>"

_ENDS: dict[Form, frozenset[str]] = {
    "python": frozenset("=(),'\"[]{}<>"),
    "parameters": frozenset("<>\n"),
}
"""What ends a name, where names stand without quotes."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """One family's way to write calls.

    An answer with calls is `begin`, the calls with `between` between them, `end`. `openers` are
    what a reader takes for the beginning of calls, and `closers` for their end: more than a model
    of the family should write. `markers` are the spellings that a vocabulary may have as special
    tokens; `stops` are such tokens that end an answer with calls. `separators` are those of JSON,
    between items and behind a key.
    """

    name: str
    form: Form
    begin: str = ""
    end: str = ""
    between: str = "\n"
    openers: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    arguments_key: str = "arguments"
    separators: tuple[str, str] = (", ", ": ")

    def can_name(self, argument: str) -> bool:
        """Whether what it writes for an argument of that name is read as one of that name."""
        ends = _ENDS.get(self.form)
        if ends is None:
            return True
        return argument.strip().strip("\"'") == argument != "" and not ends.intersection(argument)

    @property
    def space_between(self) -> str:
        """White space between the end of one call and the beginning of the next, where each has
        both."""
        if not self.end or not self.between.startswith(self.end):
            return ""
        space = self.between.removeprefix(self.end).removesuffix(self.begin)
        return space if space.isspace() else ""

    def before_arguments(self, name: str) -> str:
        """One call up to its arguments, which for JSON are an object, else come one by one."""
        if self.form == "json":
            item, key = self.separators
            return f'{{"name"{key}{self.value(name)}{item}"{self.arguments_key}"{key}'
        if self.form == "python":
            return f"{name}("
        return f"<function={name}>\n" if self.form == "parameters" else f"call:{name}{{"

    @property
    def after_arguments(self) -> str:
        """One call behind its arguments."""
        return {"json": "}", "python": ")", "parameters": "</function>", "escaped": "}"}[self.form]

    def argument(self, key: str, value: Any) -> str:
        """One argument, where they come one by one: joined by `between_arguments`."""
        if self.form == "python":
            return f"{key}={self.value(value)}"
        if self.form == "parameters":
            return f"<parameter={key}>\n{self.value(value)}\n</parameter>\n"
        return f"{_escaped_key(key)}:{self.value(value)}"

    @property
    def between_arguments(self) -> str:
        """What stands between two arguments."""
        return {"json": "", "python": ", ", "parameters": "", "escaped": ","}[self.form]

    def value(self, value: Any) -> str:
        """A JSON value as an argument."""
        if self.form == "python":
            return _python(value)
        if self.form == "escaped":
            return _escaped(value)
        if self.form == "parameters" and isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False, separators=self.separators)

    def call(self, name: str, arguments: Any) -> str:
        """One call. Arguments that are not an object are written as they are."""
        if self.form == "json":
            inner = arguments if isinstance(arguments, str) else self.value(arguments)
        elif isinstance(arguments, Mapping):
            items = (self.argument(key, value) for key, value in arguments.items())
            inner = self.between_arguments.join(items)
        else:
            inner = str(arguments)
        return f"{self.before_arguments(name)}{inner}{self.after_arguments}"

    def write(self, calls: Iterable[Mapping[str, Any]]) -> str:
        """Calls, each with `name` and `arguments`, as an assistant of this family writes them.

        The markup around them is trusted, what they hold is not.
        """
        pieces = [self.call(call["name"], call["arguments"]) for call in calls]
        text = join(pieces, trusted(self.between))
        return join([trusted(self.begin), text, trusted(self.end)])


def _python(value: Any) -> str:
    """A JSON value as Python writes it, with double quotes."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        items = (f"{_python(key)}: {_python(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_python, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _escaped(value: Any) -> str:
    """A JSON value as FunctionGemma writes it: strings between ``<escape>`` tags."""
    if isinstance(value, str):
        return f"{ESCAPE}{value}{ESCAPE}"
    if isinstance(value, dict):
        items = (f"{_escaped_key(key)}:{_escaped(item)}" for key, item in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_escaped, value))}]"
    return json.dumps(value)


def _escaped_key(key: str) -> str:
    plain = key.strip() == key and key and not any(sign in key for sign in ":,{}[]<")
    return key if plain else f"{ESCAPE}{key}{ESCAPE}"


TOOL_CALL = Syntax(
    "tool_call",
    "json",
    begin="<tool_call>\n",
    end="\n</tool_call>",
    between="\n</tool_call>\n<tool_call>\n",
    openers=("<tool_call>",),
    closers=("</tool_call>",),
    markers=("<tool_call>", "</tool_call>"),
)
"""Hermes, Qwen2.5 and 3, Granite 4, SmolLM3."""

IN_WORDS = replace(
    TOOL_CALL,
    name="in_words",
    begin="<tool_call>",
    end="</tool_call>",
    between="</tool_call>\n<tool_call>",
)
"""Models whose template knows no tools are told of them in words, which ask for a call a line."""

PARAMETERS = Syntax(
    "parameters",
    "parameters",
    begin="<tool_call>\n",
    end="\n</tool_call>",
    between="\n</tool_call>\n<tool_call>\n",
    openers=("<tool_call>", "<function="),
    closers=("</tool_call>",),
    markers=("<tool_call>", "</tool_call>"),
)
"""Qwen3-Coder and Qwen3.5."""

LLAMA = Syntax(
    "llama",
    "json",
    between="; ",
    openers=("<|python_tag|>",),
    markers=("<|python_tag|>",),
    stops=("<|eom_id|>",),
    arguments_key="parameters",
)
"""Llama 3.1 to 3.3: JSON without markup, at the beginning of an answer."""

GRANITE = Syntax(
    "granite",
    "json",
    begin="<|tool_call|>[",
    end="]",
    between=", ",
    openers=("<|tool_call|>", "<tool_call>"),
    closers=("</tool_call>",),
    markers=("<|tool_call|>",),
)
"""Granite 3.0 to 3.3."""

PHI = Syntax(
    "phi",
    "json",
    begin="<|tool_call|>[",
    end="]<|/tool_call|>",
    between=", ",
    openers=("<|tool_call|>", "functools["),
    closers=("<|/tool_call|>",),
    markers=("<|tool_call|>", "<|/tool_call|>"),
)
"""Phi-4-mini."""

LFM2 = Syntax(
    "lfm2",
    "python",
    begin="<|tool_call_start|>[",
    end="]<|tool_call_end|>",
    between=", ",
    openers=("<|tool_call_start|>",),
    closers=("<|tool_call_end|>",),
    markers=("<|tool_call_start|>", "<|tool_call_end|>"),
)
"""LFM2 and LFM2.5."""

CODE = Syntax(
    "code",
    "python",
    begin="<code>\n",
    end="\n</code>",
    between="\n",
    openers=("<code>",),
    closers=("</code>",),
    markers=("<code>", "</code>"),
)
"""SmolLM3, where it was given tools as Python functions."""

GEMMA = Syntax(
    "gemma",
    "escaped",
    begin="<start_function_call>",
    end="<end_function_call>",
    between="<end_function_call><start_function_call>",
    openers=("<start_function_call>",),
    closers=("<end_function_call>",),
    markers=("<start_function_call>", "<end_function_call>", ESCAPE),
    stops=("<start_function_response>",),
)
"""FunctionGemma."""

SYNTAXES: Sequence[Syntax] = (
    *(TOOL_CALL, IN_WORDS, PARAMETERS, LLAMA, GRANITE, PHI, LFM2, CODE, GEMMA),
)
