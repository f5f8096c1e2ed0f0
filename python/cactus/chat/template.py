"""A model's chat template: messages in, the text of a prompt out, with its authors marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.chat.forms import Turns, render_some_form
from cactus.chat.messages import Message
from cactus.chat.traced import Part, parts_of, trusted
from cactus.errors import InvalidRequest, ModelFormatError, TemplateError
from cactus.inputs.files import UnreadableFile, find_bytes, find_json
from cactus.inputs.text import cut, one_line, reason_of
from cactus.inputs.values import clean

if TYPE_CHECKING:
    from jinja2 import Template

    from cactus.chat.budget import Budget
    from cactus.tokenizer import Tokenizer

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

_MAX_SOURCE = 1 << 20
# What a template may be given by its caller under no other name than its own.
_RESERVED = frozenset(
    (
        *("messages", "tools", "add_generation_prompt", "chat_template", "tokenize", "padding"),
        *("truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"),
        *("return_assistant_tokens_mask", "continue_final_message", "conversation"),
        *("range", "cycler", "joiner", "dict", "namespace", "raise_exception", "strftime_now"),
        *("loop", "self", "caller", "varargs", "kwargs", "super"),
    )
)
_PROBE = "cactusprobe"
_WORK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "work",
        "description": "Work.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Where."}},
            "required": ["place"],
        },
    },
}
_IN_MESSAGE = re.compile(r"\[['\"]tools['\"]\]|\.tools\b")
_TOOLS_IN_MESSAGE = "You are a helpful assistant with some tools."


@dataclass(frozen=True)
class Rendered:
    """A prompt. ``parts``: its text cut where the author changes, for ``encode_prompt``.

    ``tools_rendered``: whether every tool given is in the prompt; True if there were none. False
    means that the template does not know tools, and the model will not see them.
    """

    parts: list[Part]
    tools_rendered: bool

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class ChatTemplate:
    """A compiled template with the special tokens it may write. Any number of threads may use it.

    ``source``: Jinja. ``special_tokens``: ``bos_token`` and the like, as templates name them.
    ``markup``: spellings of all special tokens; needed only for templates that build one of them
    in a way that cannot be followed. ``variables``: the names that the source reads. Raises
    TemplateError, with the line, for a broken source.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        markup: Iterable[str] = (),
    ) -> None:
        if len(source) > _MAX_SOURCE:
            raise TemplateError(
                f"the chat template has {len(source)} characters; at most {_MAX_SOURCE} are read"
            )
        self.source = source
        self._special = {key: trusted(text) for key, text in (special_tokens or {}).items()}
        self._markup = sorted(set(markup), key=len, reverse=True)
        self._template, self.variables = _compile(source)
        self._wants_parts: bool | None = None

    @classmethod
    def load(cls, folder: Path, tokenizer: Tokenizer) -> ChatTemplate:
        """The template of a weights folder or Hugging Face folder; ChatML if it has none.

        Raises TemplateError if there is none and the vocabulary has no ChatML tokens.
        """
        source = _read_source(folder)
        if source is None:
            if None in map(tokenizer.token_to_id, ("<|im_start|>", "<|im_end|>")):
                raise TemplateError(
                    f"{folder} has no chat_template.jinja, and its vocabulary no ChatML tokens; "
                    "put the model's chat template there under that name"
                )
            source = CHATML
        return cls(source, tokenizer.special_tokens, tokenizer.markup)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **extra: Any,
    ) -> Rendered:
        """Render a conversation.

        ``continue_final_message``: end inside the last message, right behind its text, instead of
        beginning a new turn; spaces at the end that the template trims are not there.
        ``tools``: as ``validate_tools`` returns them. ``extra``: further variables of the template
        (``enable_thinking=False``), JSON values. Raises InvalidRequest for a name in ``extra``
        that is not for the caller to set, TemplateError with the template's own message if it
        refuses the conversation, and with line and reason if it fails or exceeds its limits.
        """
        variables = self._variables(extra)
        schemas = [dict(tool) for tool in tools] if tools else None
        parts_wanted = self.wants_parts
        mark = ""
        if continue_final_message:
            add_generation_prompt = False
            mark = _unused(messages)
            messages = [*messages[:-1], messages[-1].with_text(mark)]
        turns = [message.to_template(parts_wanted) for message in messages]
        taken = False
        if schemas:
            taken, turns = self._give_tools(schemas, turns, variables)
        size = _size((turns, schemas, variables))

        def run(turns: Turns) -> str:
            budget = _budget(len(turns), size)
            return self._run(turns, schemas, add_generation_prompt, variables, budget)

        nothing = [{"type": "text", "text": ""}] if parts_wanted else ""
        text = render_some_form(run, turns, nothing)
        if mark:
            text = _before(text, mark)
        parts = self._recover(parts_of(text), (turns, schemas, variables))
        shown = not schemas or (taken and all(tool["function"]["name"] in text for tool in schemas))
        return Rendered(parts, shown)

    def _give_tools(
        self, schemas: list[dict[str, Any]], turns: Turns, variables: dict[str, Any]
    ) -> tuple[bool, Turns]:
        """Put the tools where the template looks for them; whether it does at all, and the turns.

        SmolLM3's own wants them under another name, Phi-4-mini's in the system message.
        """
        if "tools" in self.variables:
            return True, turns
        if "xml_tools" in self.variables:
            variables["xml_tools"] = schemas
            return True, turns
        if not _IN_MESSAGE.search(self.source):
            return False, turns
        system = {"role": trusted("system"), "content": _TOOLS_IN_MESSAGE}
        if turns and turns[0]["role"] == "system":
            system, turns = turns[0], turns[1:]
        functions = [schema["function"] for schema in schemas]
        return True, [{**system, "tools": json.dumps(functions, ensure_ascii=False)}, *turns]

    def _variables(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        for name in extra:
            if name in _RESERVED or name.startswith("_") or name.endswith("_token"):
                raise InvalidRequest(
                    f"chat template argument {name!r} is reserved; expected another name"
                )
        cleaned: dict[str, Any] = clean(dict(extra), "chat template arguments")
        return cleaned

    @property
    def wants_parts(self) -> bool:
        """Whether the template reads content as a list of parts and not as a string."""
        if self._wants_parts is None:
            self._wants_parts = (
                "type" in self.source  # parts differ in it
                and not self._shows(_PROBE)
                and self._shows([{"type": "text", "text": _PROBE}])
            )
        return self._wants_parts

    @cached_property
    def renders_tools(self) -> bool:
        """Whether the template shows the model which tools there are."""
        try:
            return self.render([Message("user", "question")], [_WORK]).tools_rendered
        except TemplateError:
            return False

    @cached_property
    def renders_calls(self) -> bool:
        """Whether the template shows what an assistant called."""
        return _PROBE in self._call_and_result(_PROBE, "done")

    @cached_property
    def renders_results(self) -> bool:
        """Whether it shows the results of tools, as messages of their own role."""
        return _PROBE in self._call_and_result("work", _PROBE)

    def _call_and_result(self, name: str, result: str) -> str:
        """A conversation with a call and its result; "" if the template refuses it."""
        function = {"name": name, "arguments": {"place": "here"}}
        call = {"id": "probe0000", "type": "function", "function": function}
        turns = [
            Message("user", "question"),
            Message("assistant", tool_calls=(call,)),
            Message("tool", result, name="work", tool_call_id="probe0000"),
        ]
        return self.rendered_or_nothing(turns)

    def rendered_or_nothing(
        self, turns: Sequence[Message], add_generation_prompt: bool = True
    ) -> str:
        """A conversation beside a tool called "work", or without; "" if the template refuses it.

        For questions to a template: some want tools wherever there are calls, and some fail there.
        """
        for tools in ([_WORK], None):
            try:
                return self.render(turns, tools, add_generation_prompt).text
            except TemplateError:
                continue
        return ""

    def _shows(self, content: Any) -> bool:
        turn = {"role": trusted("user"), "content": content}
        from cactus.chat.budget import Budget

        budget = Budget(steps=10_000, seconds=1)
        try:
            return _PROBE in self._run([turn], None, True, {}, budget)
        except TemplateError:
            return False

    def _run(
        self,
        turns: Turns,
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
        variables: dict[str, Any],
        budget: Budget,
    ) -> str:
        names: dict[str, Any] = {
            "messages": turns,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._special,
            **variables,
        }
        sandbox: Any = self._template.environment
        context = self._template.new_context(names)
        try:
            return str(
                sandbox.with_budget(
                    budget, lambda: sandbox.concat(self._template.root_render_func(context))
                )
            )
        except Exception as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> TemplateError:
        """The error as the caller should read it, with the line of the template."""
        from jinja2.exceptions import SecurityError

        from cactus.chat.sandbox import RaisedByTemplate

        if isinstance(error, RaisedByTemplate):
            return TemplateError(error.message or "the chat template refused the conversation")
        line = 0
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__jinja_template__") is self._template:
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        if isinstance(error, RecursionError):
            reason = "it calls itself too deeply"
        else:
            reason = reason_of(error)
        verb = "was stopped" if isinstance(error, (SecurityError, RecursionError)) else "failed"
        return TemplateError(f"the chat template {verb} in line {line}: {cut(reason, 500)}")

    def _recover(self, parts: list[Part], inputs: Any) -> list[Part]:
        """Give back special tokens that the template built in a way that lost their author.

        A token's spelling outside the traced parts is the template's own, unless some input has
        its first character ("<"): then it may be the input's, and stays text.
        """
        plain = [part.text for part in parts if not part.special]
        if not plain or not self._markup:
            return parts
        whole = "".join(part.text for part in parts)
        first = {token[0] for token in self._markup if token in whole}
        if not first or any(character in text for text in _texts(inputs) for character in first):
            return parts
        present = [token for token in self._markup if token in whole]
        owned = bytearray(b"".join(bytes([part.special]) * len(part.text) for part in parts))
        for match in re.finditer("|".join(map(re.escape, present)), whole):
            owned[match.start() : match.end()] = b"\1" * len(match[0])
        return _cut(whole, owned)


def _unused(messages: Sequence[Message]) -> str:
    """A text that is in none of the messages; a space ends it, to see whether those are trimmed."""
    texts = list(_texts([message.to_template() for message in messages]))
    mark = "continuedhere"
    while any(mark in text for text in texts):
        mark += "x"
    return mark + " "


def _before(text: str, mark: str) -> str:
    """`text` up to `mark`, which the last message ends in."""
    at = text.rfind(mark.rstrip())
    if at < 0:
        raise TemplateError(
            "the chat template does not show the end of the last message, so that it cannot be "
            "continued; continue_final_message=False begins a new turn"
        )
    return text[:at] if text.startswith(mark, at) else text[:at].rstrip()


def _budget(turns: int, size: int) -> Budget:
    """What a rendering of so many turns with so many characters may use.

    Some templates look through all turns at each of them; time ends what takes too long.
    """
    from cactus.chat.budget import Budget

    return Budget(
        steps=1_000_000 + 64 * turns + 4 * turns**2,
        value=(16 << 20) + 4 * size,
        total=(128 << 20) + 64 * size + min(64 * turns**2, 256 << 20),
        seconds=10 + 5e-4 * turns,
    )


def _cut(text: str, owned: bytearray) -> list[Part]:
    """`text` where `owned` changes: for each character 1 if it is the template's own, 0 if not."""
    parts = []
    start = 0
    while start < len(text):
        special = owned[start]
        end = owned.find(1 - special, start)
        end = len(text) if end < 0 else end
        parts.append(Part(text[start:end], bool(special)))
        start = end
    return parts


@lru_cache(maxsize=16)
def _compile(source: str) -> tuple[Template, set[str]]:
    """The compiled template, and the names of the variables that it reads."""
    from jinja2.exceptions import TemplateSyntaxError

    try:
        compiled: tuple[Template, set[str]] = _sandbox().load_source(source)
        return compiled
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"the chat template has an error in line {error.lineno}: "
            f"{one_line(str(error.message), 500)}"
        ) from None
    except RecursionError:
        raise TemplateError("the chat template nests too deeply") from None
    except Exception as error:
        why = one_line(str(error), 500)
        raise TemplateError(f"the chat template cannot be compiled: {why}") from None


@lru_cache(maxsize=1)
def _sandbox() -> Any:
    from cactus.chat.filters import chat_sandbox

    return chat_sandbox()


def _read_source(folder: Path) -> str | None:
    """``chat_template.jinja``, else what ``tokenizer_config.json`` holds, else None."""
    path = folder / "chat_template.jinja"
    try:
        text = find_bytes(path, _MAX_SOURCE)
        if text is not None:
            return text.decode("utf-8")
        path = folder / "tokenizer_config.json"
        config = find_json(path) or {}
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path} cannot be read: {error}") from None
    except UnreadableFile:
        raise
    except ModelFormatError as error:
        raise TemplateError(str(error)) from None
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        named = {entry.get("name"): entry for entry in found if isinstance(entry, dict)}
        found = (named.get("default") or {}).get("template")
    if found is not None and not isinstance(found, str):
        raise TemplateError(f"{path}: chat_template must be a string")
    return found


def _texts(value: Any) -> Iterable[str]:
    """Every string in a JSON value, keys included."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            rest += item.keys()
            rest += item.values()
        elif isinstance(item, (list, tuple)):
            rest += item


def _size(value: Any) -> int:
    return sum(map(len, _texts(value)))
