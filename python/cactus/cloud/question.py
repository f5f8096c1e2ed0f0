"""What is asked: messages, tools and the form of the answer, for whichever API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cactus.chat.tools import validate_tools
from cactus.errors import CloudError

if TYPE_CHECKING:
    from cactus.chat.messages import Message
    from cactus.generate.options import Options


@dataclass(frozen=True, slots=True)
class Question:
    """Checked messages and tools, in OpenAI's form, and what the answer has to be.

    `tool_choice`: "auto", "none", "required" or the name of a tool. `schema`: a JSON schema that
    the answer has to follow, {} for any JSON object, None for text. `streamed`: its text is wanted
    as it comes.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512
    streamed: bool = False

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of all tools."""
        return frozenset(str(tool["function"]["name"]) for tool in self.tools)


def calls_with_ids(messages: Sequence[Message]) -> list[tuple[Message, list[str]]]:
    """Each message with the ids of its calls, or with that of the call that it is the result of.

    Local models need no ids, services do: where one is missing it is made, and results get those
    of the calls before them, in order.
    """
    found: list[tuple[Message, list[str]]] = []
    open_ids: list[str] = []
    made = 0
    for message in messages:
        ids: list[str] = []
        if message.tool_calls:
            for call in message.tool_calls:
                given = call.get("id")
                if not isinstance(given, str) or not given:
                    made += 1
                    given = f"call_{made}"
                ids.append(given)
            open_ids = list(ids)
        elif message.role in ("tool", "function"):
            given = message.tool_call_id or (open_ids[0] if open_ids else f"call_{made}")
            if given in open_ids:
                open_ids.remove(given)
            ids = [given]
        found.append((message, ids))
    return found


def make_question(
    messages: Sequence[Message], options: Options, streamed: bool = False
) -> Question:
    """What is asked where the local model was asked this.

    How tokens are sampled is left to the service. Raises CloudError for what none can be asked.
    """
    last = messages[-1]
    if (
        last.role == "assistant"
        and not last.tool_calls
        and options.continue_final_message is not False
    ):
        raise CloudError("no service continues a message that has begun", code="continued")
    form = options.format
    if form is not None and form.kind != "json":
        raise CloudError(f"no service keeps to a form of the kind {form.kind}", code="format")
    schema = None if form is None else form.definition
    return Question(
        messages=messages,
        tools=validate_tools(options.tools),
        tool_choice=options.tool_choice,
        parallel_tool_calls=options.parallel_tool_calls,
        schema={} if schema == {"type": "object"} else schema,
        max_tokens=options.max_tokens,
        streamed=streamed,
    )
