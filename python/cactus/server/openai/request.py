"""The body of ``/v1/chat/completions``, and what of it is asked of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from cactus.inputs.checks import short
from cactus.server.endpoint import Ask, Body
from cactus.server.openai.asked import Asked, Count
from cactus.server.openai.messages import Message, tiles_of, turns_of, urls_in
from cactus.server.params import invalid, without_effect
from cactus.server.questions import Question

if TYPE_CHECKING:
    from cactus.model import Model

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]


class Extras(Body, kw_only=True):
    """What only this server does: see docs/server.md.

    `confidences`: chunks say how sure each token is. `documents`: the answer is made from the
    documents that are served. `tools`: the server's own tools are run. `thinking` switches
    reasoning on and off.
    """

    confidences: bool = False
    documents: bool = False
    tools: bool = False
    thinking: bool | None = None


class TemplateSwitches(Body, kw_only=True, forbid_unknown_fields=True):
    """The only variables of a chat template that a request may set."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ChatRequest(Asked, kw_only=True):
    """What is asked. Fields that are not listed here are ignored."""

    messages: list[Message]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: TemplateSwitches | None = None
    continue_final_message: bool | None = None
    cactus: Extras | None = None
    # What is accepted and changes no answer, as is `user`.
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Tier | None = None
    prediction: dict[str, Any] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    # What is refused, because it would change nothing.
    audio: Any = None
    web_search_options: Any = None
    moderation: Any = None
    functions: Any = None
    function_call: Any = None
    chat_template: Any = None
    tokenize: Any = None
    add_generation_prompt: Any = None
    grammar: Any = None
    guided_json: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    structured_outputs: Any = None
    min_tokens: Any = None
    ignore_eos: Any = None
    echo: Any = None


_FORM = "say the form of the answer as response_format (docs/structured-output.md)"

WITHOUT_EFFECT: Mapping[str, str] = {
    "audio": "answers are text",
    "web_search_options": "this server does not search the web",
    "moderation": "this server does not moderate",
    "functions": "the form before tools; give tools",
    "function_call": "the form before tools; give tool_choice",
    "chat_template": "the template is the model's own",
    "tokenize": "an answer is always text; /tokenize gives tokens",
    "add_generation_prompt": "give continue_final_message: true or false instead",
    "grammar": _FORM,
    "guided_json": _FORM,
    "guided_regex": _FORM,
    "guided_choice": _FORM,
    "guided_grammar": _FORM,
    "structured_outputs": _FORM,
    "min_tokens": "an answer ends where the model ends it",
    "ignore_eos": "an answer ends where the model ends it",
    "echo": "a chat has no text to repeat; /v1/completions has",
}


async def question_of(ask: Ask[ChatRequest], model: Model) -> Question:
    """What is asked of the model. Raises ApiError naming the field."""
    body = ask.body
    check(body)
    turns = await turns_of(ask.service, body.messages)
    tools, choice = chosen_tools(body.tools, body.tool_choice)
    extras = body.cactus or Extras()
    options = body.options() | {
        "max_tokens": most_tokens(model, body.max_completion_tokens, body.max_tokens),
        "logprobs": body.logprobs or extras.confidences or None,
        "top_logprobs": body.top_logprobs,
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "continue_final_message": body.continue_final_message,
        "max_tiles": tiles_of(body.messages),
    }
    thinking, name = thinking_of(model, body)
    options["thinking"] = thinking
    if urls_in(turns) and ask.service.settings.image_urls:
        options["allow_image_urls"] = True
    return Question(
        turns,
        options,
        choices=body.n or 1,
        names={"thinking": name},
        documents=documents_of(ask, extras),
        functions=functions_of(ask, extras, body),
    )


def check(body: ChatRequest) -> None:
    """Refuse what would be without effect. Raises ApiError naming the field."""
    without_effect({name: getattr(body, name) for name in WITHOUT_EFFECT}, WITHOUT_EFFECT)
    if body.modalities is not None and "audio" in body.modalities:
        raise invalid("answers are text", "modalities", "unsupported_parameter")
    if body.verbosity in ("low", "high"):
        raise invalid(
            "this server has no such switch; say in a message how long answers should be",
            "verbosity",
            "unsupported_parameter",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("expected logprobs: true beside it", "top_logprobs")


def most_tokens(model: Model, *wanted: int | None) -> int:
    """The first that is given, else as many as there is room for; a model takes no more."""
    given = next((each for each in wanted if each is not None), None)
    return model.context_length if given is None else min(given, model.context_length)


def thinking_of(model: Model, body: ChatRequest) -> tuple[bool | None, str]:
    """Whether the model is to think, and the field that says so."""
    if body.cactus is not None and body.cactus.thinking is not None:
        return body.cactus.thinking, "cactus.thinking"
    switches = body.chat_template_kwargs
    for name in ("enable_thinking", "thinking"):
        if switches is not None and getattr(switches, name) is not None:
            return getattr(switches, name), f"chat_template_kwargs.{name}"
    return thinking_for(model, body.reasoning_effort), "reasoning_effort"


def thinking_for(model: Model, effort: Effort | None) -> bool | None:
    """Whether a model is to think, for an effort; one that never does so is left alone.

    An effort is what clients send to every model of a kind; none here has more levels than two.
    """
    if effort is None or not model.thinks:
        return None
    return effort not in ("none", "minimal")


def chosen_tools(
    tools: list[dict[str, Any]] | None,
    choice: str | Mapping[str, Any] | None,
    *,
    name_at: str = "tool_choice.function.name",
) -> tuple[list[dict[str, Any]] | None, Any]:
    """The tools that may be called, and which must be. Raises ApiError naming the field.

    `name_at` is where the name of the one that must be called belongs.
    """
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise invalid(
            f"expected 'none', 'auto', 'required' or an object, got {short(choice)}", "tool_choice"
        )
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        if kind == "allowed_tools":
            inner = choice.get("allowed_tools", choice)
            return allowed_tools(tools or [], inner, "tool_choice")
        if kind != "function":
            raise invalid(
                f"expected 'function' or 'allowed_tools', got {short(kind)}", "tool_choice.type"
            )
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise invalid("expected the name of a tool", name_at)
        if name in ("auto", "none", "required") and not any(
            name == name_of(t) for t in tools or ()
        ):
            raise invalid(f"no tool is named {name!r}", name_at)
        choice = name
    if not tools and choice in ("auto", "none"):
        choice = None
    return tools or None, choice


def allowed_tools(
    tools: list[dict[str, Any]], allowed: Any, where: str
) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Some of the tools, of which one must be called where the mode is "required"."""
    mode = allowed.get("mode") if isinstance(allowed, Mapping) else None
    if mode not in ("auto", "required"):
        raise invalid(f"expected 'auto' or 'required', got {short(mode)}", f"{where}.mode")
    entries = allowed.get("tools")
    if not isinstance(entries, list):
        raise invalid("expected a list of tools", f"{where}.tools")
    names = {name_of(each) for each in entries}
    kept = [tool for tool in tools if name_of(tool) in names]
    if unknown := names - {name_of(tool) for tool in kept}:
        raise invalid(f"no such tool: {', '.join(sorted(map(str, unknown)))}", f"{where}.tools")
    return kept or None, mode if kept else None


def name_of(tool: Any) -> str | None:
    """The name in a tool, or in what names one."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def documents_of(ask: Ask[Any], extras: Extras) -> Any:
    """The documents that are served, where they are asked for; ApiError if there are none."""
    if not extras.documents:
        return None
    found = ask.service.documents
    if found is None:
        raise invalid("no documents are served (cactus serve --docs DIR)", "cactus.documents")
    return found


def functions_of(ask: Ask[Any], extras: Extras, body: ChatRequest) -> Any:
    """The server's own tools, where they are asked for. Raises ApiError if there are none."""
    if not extras.tools:
        return ()
    found = ask.service.tools
    if not found:
        raise invalid("no tools are served (cactus serve --tools FILE.py)", "cactus.tools")
    if body.response_format:
        raise invalid("not together with cactus.tools", "response_format")
    if extras.documents:
        raise invalid("not together with cactus.tools", "cactus.documents")
    return found
