"""From messages to the tokens of a prompt, checked before anything is computed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from cactus.chat.reasoning import CLOSE, OPEN, Reasoning
from cactus.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelFormatError,
    TemplateError,
    UnsupportedModel,
)
from cactus.generate.answer import Request
from cactus.generate.elsewhere import THRESHOLD, Question
from cactus.generate.options import Options
from cactus.inputs.checks import integer, short, text
from cactus.weights.abilities import refusal

if TYPE_CHECKING:
    from cactus.chat.messages import Message
    from cactus.chat.template import ChatTemplate, Rendered
    from cactus.chat.traced import Part
    from cactus.engine.loaded import Loaded
    from cactus.generate.documents import Documents, Room
    from cactus.generate.elsewhere import Elsewhere
    from cactus.grammar.compile import Grammar
    from cactus.vision.shown import Shown
    from cactus.vision.work import Vision

UNQUESTIONED = 1 << 16
"""Characters of texts that are tokenised at once, which takes up to 25 MB."""

RENDERED = 4 << 20
"""Characters of questions that a template is given without a look at them."""

LIKELY = 4
"""Characters of a token, often. A text that has no more of them for each token of the context is
likely to fit, and is not tokenised twice to know."""

CUT = 32
"""More tokens than a cut into pieces can make."""

SWITCHES = ("enable_thinking", "thinking")
"""What chat templates call the variable that switches thinking on and off."""

TOOL_PROMPT = """\
You can call functions. These are the functions, one JSON object a line:
{tools}

To call a function, answer with one line for each call, and nothing else:
<tool_call>{{"name": "the function's name", "arguments": {{"parameter": "value"}}}}</tool_call>
If no function helps, answer as usual."""
"""How a model is shown tools when its own chat template does not know them."""


def build_request(
    engine: Loaded,
    messages: Sequence[Mapping[str, Any] | Message] | str,
    options: Options,
    began: float,
    elsewhere: Elsewhere | None = None,
    documents: Documents | None = None,
    vision: Vision | None = None,
) -> Request:
    """Render and tokenise `messages`; `began` is when the caller started (``perf_counter``).

    `elsewhere` is who is asked where the model is less sure than wanted, `documents` are what the
    answer is made from, `vision` looks at images, which are decoded last.

    Raises InvalidRequest naming the message or tool, UnsupportedModel for what the model cannot
    read, TemplateError, InvalidImage, and ContextLengthExceeded if no room is left for an answer.
    """
    from cactus.chat.messages import parse_messages

    conversation = parse_messages(messages)
    # No template leaves out what the user says, and to render what cannot fit takes seconds.
    said = [(turn.content.strip(), False) for turn in conversation if turn.role == "user"]
    check_size(engine, said, RENDERED)
    shown = show(engine, conversation, options, vision)
    consulted = None
    if documents is not None:
        consulted = documents.consult(conversation, _room(engine, options, shown))
        conversation = list(consulted.messages)
    rendered = render(engine, conversation, options, shown)
    check_size(engine, rendered.parts, UNQUESTIONED)
    prompt = engine.tokenizer.encode_prompt(rendered.parts)
    request = _request(engine, prompt, options, began, rendered.reasoning, rendered.tools, shown)
    request = replace(request, consulted=consulted, vision=vision)
    if elsewhere is None:
        return request
    if options.confidence_threshold is None:
        options = replace(options, confidence_threshold=THRESHOLD)
    return replace(request, options=options, elsewhere=Question(elsewhere, conversation, options))


def build_raw_request(
    engine: Loaded,
    prompt: str | Sequence[int],
    options: Options,
    began: float,
    parse_special: bool = False,
) -> Request:
    """A request whose prompt is a text as it stands, or token ids, without a chat template.

    A text gets what the tokenizer puts before a text (BOS, where the model has one); ids are taken
    as they are. ``parse_special``: markup in the text becomes special tokens. Raises InvalidRequest
    and ContextLengthExceeded.
    """
    if isinstance(prompt, str):
        check_size(engine, [(text("prompt", prompt), parse_special)], UNQUESTIONED)
        ids = encode_raw(engine, prompt, parse_special)
    else:
        wanted = "a text or a list of token ids"
        ids = token_ids("prompt", prompt, engine.program.vocab_size, wanted)
    if not ids:
        raise InvalidRequest("prompt is empty: expected a text or a list of token ids")
    return _request(engine, ids, options, began, "never", (), None)


def token_ids(
    name: str, value: object, vocab_size: int, wanted: str = "a list of token ids"
) -> list[int]:
    """`value` as a list of token ids, or InvalidRequest naming `name`."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{name} must be {wanted}, got {type(value).__name__}")
    return [integer(f"{name}[{n}]", id, 0, vocab_size - 1) for n, id in enumerate(value)]


def count_tokens(
    engine: Loaded,
    messages: Sequence[Mapping[str, Any]] | str,
    options: Options,
    vision: Vision | None = None,
) -> int:
    """How many tokens the prompt of `messages` has, however many the context takes.

    Of images only the sizes are read.
    """
    from cactus.chat.messages import parse_messages

    conversation = parse_messages(messages)
    shown = show(engine, conversation, options, vision)
    return len(engine.tokenizer.encode_prompt(render(engine, conversation, options, shown).parts))


def consulted_messages(
    engine: Loaded,
    messages: Sequence[Mapping[str, Any]] | str,
    options: Options,
    documents: Documents,
    vision: Vision | None = None,
) -> list[Message]:
    """The messages with what `documents` have to say to the last question."""
    from cactus.chat.messages import parse_messages

    conversation = parse_messages(messages)
    shown = show(engine, conversation, options, vision)
    found = documents.consult(conversation, _room(engine, options, shown))
    return list(found.messages)


def show(
    engine: Loaded, conversation: Sequence[Message], options: Options, vision: Vision | None
) -> Shown | None:
    """The images of a conversation, by their sizes; None where nothing is to be looked at.

    Raises UnsupportedModel for a model that cannot see, and InvalidImage naming the message.
    """
    for index, message in enumerate(conversation):
        if message.images and vision is None:
            cannot = refusal(engine.name, engine.architecture, "see")
            raise UnsupportedModel(f"messages[{index}] has images, and {cannot}")
    if vision is None:
        for name in ("max_tiles", "max_image_tokens", "allow_image_urls"):
            if getattr(options, name):
                raise InvalidRequest(
                    f"{name}: {engine.name} looks at no images; leave the option out"
                )
        return None
    limits = options.max_tiles, options.max_image_tokens
    return vision.show(conversation, *limits, options.allow_image_urls)


def _room(engine: Loaded, options: Options, shown: Shown | None) -> Room:
    """What a prompt may have beside an answer; of a context that is short, three quarters."""
    from cactus.generate.documents import Room

    context = options.room(engine.context_length)
    return Room(
        context - min(options.max_tokens, context // 4),
        lambda messages: len(
            engine.tokenizer.encode_prompt(render(engine, messages, options, shown).parts)
        ),
        lambda text: len(engine.tokenizer.encode(text)),
    )


def encode_raw(engine: Loaded, prompt: str, parse_special: bool) -> list[int]:
    """The tokens of a text, behind what the tokenizer puts before one."""
    tokenizer = engine.tokenizer
    ends = engine.end_tokens - {tokenizer.bos_id}
    start = [id for id in tokenizer.encode("", special=True) if id not in ends]
    if not parse_special:
        return [*start, *tokenizer.encode(prompt)]
    ids = tokenizer.encode_prompt([(prompt, True)])
    return ids if ids[: len(start)] == start else [*start, *ids]


def _request(
    engine: Loaded,
    prompt: list[int],
    options: Options,
    began: float,
    reasoning: Reasoning,
    tools: Sequence[Mapping[str, Any]],
    shown: Shown | None,
) -> Request:
    _check_tokens(engine, prompt)
    _check_room(engine, len(prompt), options, shown)
    sights = None
    if shown is not None:
        prompt, sights = shown.open(prompt, options.image_progress)
    functions = [tool["function"] for tool in tools]
    return Request(
        prompt,
        options,
        stop_tokens=_stop_tokens(engine, options),
        prepared_seconds=time.perf_counter() - began,
        reasoning=reasoning,
        grammar=_grammar(engine, options, tools),
        tools={function["name"]: function["parameters"] for function in functions},
        sights=sights,
    )


def _calls_or_form(engine: Loaded, options: Options, tools: Sequence[Mapping[str, Any]]) -> Grammar:
    """The grammar of calls of tools, or else of JSON in the form that was asked for."""
    from cactus.grammar.calls import grammar_of_calls

    form = options.format
    assert form is not None
    if form.kind != "json":
        raise InvalidRequest(
            f"{form.where}: beside tools an answer may be JSON, not in this form; leave the tools "
            "out, or give tool_choice='none'"
        )
    parallel = options.parallel_tool_calls
    return grammar_of_calls(tools, engine.syntax, engine.grammars, parallel=parallel, instead=form)


def _grammar(
    engine: Loaded, options: Options, tools: Sequence[Mapping[str, Any]]
) -> Grammar | None:
    """What the answer keeps to: a form, or calls of tools; None where it is free."""
    wanted = options.tool_choice
    if wanted in ("auto", "none"):
        if options.format is None:
            return None
        if tools and wanted == "auto":
            return _calls_or_form(engine, options, tools)
        from cactus.grammar.schema import grammar_of

        return grammar_of(options.format, engine.grammars)
    if options.format is not None:
        raise InvalidRequest(f"{options.format.where}: tool_choice wants a call instead: give one")
    names = [tool["function"]["name"] for tool in tools]
    if wanted not in ("required", *names):
        raise InvalidRequest(f"tool_choice names {short(wanted)}; the tools are {', '.join(names)}")
    if not tools:
        raise InvalidRequest("a call is wanted (force_tools, tool_choice) and there are no tools")
    from cactus.grammar.calls import grammar_of_calls

    chosen = [tool for tool in tools if wanted in ("required", tool["function"]["name"])]
    parallel = options.parallel_tool_calls
    return grammar_of_calls(chosen, engine.syntax, engine.grammars, parallel=parallel)


class RenderedPrompt(NamedTuple):
    """A prompt as text.

    `reasoning`: whether the answer may begin with some. `tools`: those that the model is shown.
    """

    parts: list[Part]
    reasoning: Reasoning
    tools: list[dict[str, Any]]


def render(
    engine: Loaded,
    messages: Sequence[Mapping[str, Any] | Message] | str,
    options: Options,
    shown: Shown | None = None,
) -> RenderedPrompt:
    """The prompt of `messages`, with the images `shown`; without tools for `tool_choice` "none"."""
    from cactus.chat.messages import parse_messages, validate_tools
    from cactus.chat.selection import select_tools

    conversation = parse_messages(messages)
    tools = validate_tools(options.tools)
    tools = select_tools(tools, conversation, options.tool_rag_top_k, options.tool_choice)
    continued = _continues(conversation[-1], options.continue_final_message)
    if options.tool_choice == "none":
        tools = []
    parts = _render(engine, conversation, tools, options.thinking, continued)
    reasoning = _reasoning(engine, parts, conversation[-1].content if continued else "")
    if shown is not None:
        parts = shown.expand(parts)
    return RenderedPrompt(parts, reasoning, tools)


def _continues(last: Message, wanted: bool | None) -> bool:
    """Whether the answer goes on where the last message ends; by default, an assistant's text."""
    possible = last.role == "assistant" and not last.tool_calls
    if wanted and not possible:
        got = f"one of the {last.role}" if last.role != "assistant" else "one with tool_calls"
        raise InvalidRequest(
            "continue_final_message: the last message must be a text of the assistant, "
            f"got {got}; leave the option out, and a new turn begins"
        )
    return possible if wanted is None else wanted


def _reasoning(engine: Loaded, parts: list[Part], continued: str) -> Reasoning:
    """`continued`: what the assistant has already said of the answer."""
    if not engine.thinks:
        return "never"
    if continued.strip():
        return "begun" if continued.rfind(OPEN) > continued.rfind(CLOSE) else "never"
    last, by_template = parts[-1]
    return "begun" if by_template and last.rstrip().endswith(OPEN) else "possible"


def _render(
    engine: Loaded,
    conversation: list[Message],
    tools: list[dict[str, Any]],
    thinking: bool | None,
    continued: bool,
) -> list[Part]:
    template = engine.template
    if isinstance(template, TemplateError):
        raise TemplateError(f"{engine.name} cannot chat: {template}")
    switch: dict[str, Any] = {} if thinking is None else _switch(engine, template, thinking)
    switch["continue_final_message"] = continued
    if any(message.tool_calls for message in conversation) and not template.renders_calls:
        conversation = [_with_calls_in_words(engine, message) for message in conversation]
    if any(message.role == "tool" for message in conversation) and not template.renders_results:
        conversation = _with_results_from_user(conversation)
    rendered = _render_calls(template, conversation, tools, switch)
    if not rendered.tools_rendered:
        rendered = _render_in_words(template, conversation, tools, switch)
    return rendered.parts


def _render_in_words(
    template: ChatTemplate,
    conversation: list[Message],
    tools: list[dict[str, Any]],
    switch: dict[str, Any],
) -> Rendered:
    """The rendering with the tools in the system message; in the first one, where there is none."""
    try:
        return _render_calls(template, _with_tools_in_words(conversation, tools), [], switch)
    except TemplateError:
        first = conversation[0]
        if first.role == "system":
            raise
        asked = first.with_text_before(f"{_spoken(tools)}\n\n")
        try:
            return _render_calls(template, [asked, *conversation[1:]], [], switch)
        except TemplateError:
            pass  # the first error says what is wrong with what the caller gave
        raise


def _render_calls(
    template: ChatTemplate,
    conversation: list[Message],
    tools: list[dict[str, Any]],
    switch: dict[str, Any],
) -> Rendered:
    """The rendering; with a message for each call, where the template takes no more in one."""
    from cactus.chat.forms import one_call_each

    try:
        return template.render(conversation, tools, **switch)
    except TemplateError:
        split = one_call_each(conversation)
        if len(split) == len(conversation):
            raise
        try:
            return template.render(split, tools, **switch)
        except TemplateError:
            pass  # the first error says what is wrong with what the caller gave
        raise


def _switch(engine: Loaded, template: ChatTemplate, thinking: bool) -> dict[str, Any]:
    """The variables of the template that make the model think, or not."""
    found: dict[str, Any] = {name: thinking for name in SWITCHES if name in template.variables}
    if found:
        return found
    if thinking and not engine.thinks:
        raise InvalidRequest(
            f"thinking: {engine.name} does not think before it answers; leave the option out"
        )
    if not thinking and OPEN in template.source:
        raise InvalidRequest(
            f"thinking: the chat template of {engine.name} has no switch for it "
            f"({' or '.join(SWITCHES)}); leave the option out"
        )
    return {}


def _with_calls_in_words(engine: Loaded, message: Message) -> Message:
    """The message with its calls in its text, in the form in which the model writes them."""
    if not message.tool_calls:
        return message
    calls = [call["function"] for call in message.tool_calls]
    return message.with_calls_in_text(engine.syntax.write(calls))


def _with_results_from_user(conversation: list[Message]) -> list[Message]:
    """The conversation with the results of tools, those of one turn together, from the user."""
    from cactus.chat.messages import Message

    shown: list[Message] = []
    for results, messages in groupby(conversation, lambda message: message.role == "tool"):
        turns = list(messages)
        if results:
            said = [f"<tool_response>\n{turn.content}\n</tool_response>" for turn in turns]
            images = tuple(image for turn in turns for image in turn.images)
            turns = [Message("user", "\n".join(said), images)]
        shown += turns
    return shown


def _spoken(tools: list[dict[str, Any]]) -> str:
    lines = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return TOOL_PROMPT.format(tools=lines)


def _with_tools_in_words(conversation: list[Message], tools: list[dict[str, Any]]) -> list[Message]:
    """`conversation` with the tools in the system message, or one of their own."""
    from cactus.chat.messages import Message

    spoken = _spoken(tools)
    first = conversation[0]
    if first.role != "system":
        return [Message("system", spoken), *conversation]
    told = Message("system", f"{first.content}\n\n{spoken}", first.images)
    return [told, *conversation[1:]]


def check_size(engine: Loaded, parts: Sequence[tuple[str, bool]], most: int) -> None:
    """Refuse a text that cannot fit, before its tokens take minutes and gigabytes to make.

    It is read in pieces up to where the context ends, if it has more than `most` characters and
    more than is likely to fit.
    `parts` are those of a rendered template.
    """
    characters, limit = sum(len(said) for said, _ in parts), engine.context_length
    least = done = 0
    for piece in _pieces(parts) if characters > max(most, LIKELY * limit) else ():
        least += max(0, len(engine.tokenizer.encode_prompt(piece)) - CUT)
        done += sum(len(said) for said, _ in piece)
        if least > limit:
            raise ContextLengthExceeded(
                f"the prompt has {characters} characters, the first {done} of which are at least "
                f"{least} tokens, and the context is {limit}",
                prompt_tokens=least,
                limit=limit,
            )


def _pieces(parts: Iterable[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """The same text by so many characters at once that their tokens take little memory."""
    piece: list[tuple[str, bool]] = []
    room = UNQUESTIONED
    for said, special in parts:
        start = 0
        while len(said) - start > room:
            yield [*piece, (said[start : start + room], special)]
            start += room
            piece, room = [], UNQUESTIONED
        piece.append((said[start:], special))
        room -= len(said) - start
    yield piece


def _check_tokens(engine: Loaded, prompt: list[int]) -> None:
    if not prompt:
        raise InvalidRequest("the messages make an empty prompt: the chat template prints nothing")
    if max(prompt) >= engine.program.vocab_size:
        raise ModelFormatError(
            f"the tokenizer of {engine.name} has token {max(prompt)}, and its embeddings only "
            f"{engine.program.vocab_size} rows: the files belong to different models"
        )


def _check_room(engine: Loaded, tokens: int, options: Options, shown: Shown | None) -> None:
    limit = engine.context_length
    images = "" if shown is None else shown.cost
    total = options.room(limit)
    if total < limit and tokens + (options.max_tokens > 0) > total:
        raise ContextLengthExceeded(
            f"max_total_tokens: the prompt has {tokens} tokens, and {total} are allowed for it and "
            f"the answer; leave the option out, or raise it{images}",
            prompt_tokens=tokens,
            limit=total,
        )
    if tokens > limit:
        raise ContextLengthExceeded(
            f"the prompt has {tokens} tokens, {tokens - limit} more than the context of "
            f"{limit}{images}",
            prompt_tokens=tokens,
            limit=limit,
        )
    if tokens == limit and options.max_tokens > 0:
        raise ContextLengthExceeded(
            f"the prompt has {tokens} tokens and fills the context of {limit}: "
            f"no room is left for an answer{images}",
            prompt_tokens=tokens,
            limit=limit,
        )


def _stop_tokens(engine: Loaded, options: Options) -> dict[int, str]:
    """Stop strings that are special tokens: those have no text in an answer, only an id."""
    tokenizer = engine.tokenizer
    found = {tokenizer.token_to_id(stop): stop for stop in options.stop}
    return {
        id: stop for id, stop in found.items() if id is not None and id in tokenizer.special_ids
    }
