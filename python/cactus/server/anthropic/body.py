"""What is sent to ``/v1/messages``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from cactus.server.endpoint import Body

CacheControl = dict[str, Any] | None
"""Accepted everywhere: prompts are remembered without it, too."""


class Block(Body, kw_only=True, tag_field="type"):
    """A piece of content."""

    cache_control: CacheControl = None


class Text(Block, kw_only=True, tag="text"):
    """A text."""

    text: str


class Base64Source(Body, kw_only=True, tag_field="type", tag="base64"):
    """A file that is sent along."""

    media_type: str
    data: str


class UrlSource(Body, kw_only=True, tag_field="type", tag="url"):
    """A file that lies elsewhere."""

    url: str


class TextSource(Body, kw_only=True, tag_field="type", tag="text"):
    """A document of plain text."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class Image(Block, kw_only=True, tag="image"):
    """An image."""

    source: Base64Source | UrlSource


class Document(Block, kw_only=True, tag="document"):
    """A document, of which those of plain text are read."""

    source: TextSource | Base64Source | UrlSource
    title: str | None = None
    context: str | None = None


class ToolUse(Block, kw_only=True, tag="tool_use"):
    """A call that the model has made."""

    id: str
    name: str
    input: Any = None


class ToolResult(Block, kw_only=True, tag="tool_result"):
    """What came of a call."""

    tool_use_id: str
    content: str | list[Text | Image | Document] | None = None
    is_error: bool | None = None


class Thinking(Block, kw_only=True, tag="thinking"):
    """What the model has thought."""

    thinking: str
    signature: str = ""


class RedactedThinking(Block, kw_only=True, tag="redacted_thinking"):
    """Thoughts that another server has encrypted: nobody here can read them."""

    data: str = ""


Content = Text | Image | Document | ToolUse | ToolResult | Thinking | RedactedThinking


class Turn(Body, kw_only=True):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Content]


class Tool(Body, kw_only=True):
    """A tool that the client runs."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Any = None
    eager_input_streaming: bool | None = None
    cache_control: CacheControl = None


class Choice(Body, kw_only=True, tag_field="type"):
    """Whether a tool is to be called."""

    disable_parallel_tool_use: bool = False


class Auto(Choice, kw_only=True, tag="auto"):
    """The model decides."""


class AnyTool(Choice, kw_only=True, tag="any"):
    """One of the tools, whichever."""


class NamedTool(Choice, kw_only=True, tag="tool"):
    """This tool."""

    name: str


class NoTool(Choice, kw_only=True, tag="none"):
    """No tool."""


Display = Literal["summarized", "omitted"] | None
"""Whether thoughts are shown; omitted ones still count as tokens."""


class Enabled(Body, kw_only=True, tag_field="type", tag="enabled"):
    """The model thinks. Thoughts and answer have `max_tokens` together."""

    budget_tokens: Annotated[int, Meta(ge=1)]
    display: Display = None


class Disabled(Body, kw_only=True, tag_field="type", tag="disabled"):
    """The model does not think."""


class Adaptive(Body, kw_only=True, tag_field="type", tag="adaptive"):
    """As the model does by itself."""

    display: Display = None


class JsonFormat(Body, kw_only=True, tag_field="type", tag="json_schema"):
    """An answer of JSON."""

    schema: dict[str, Any]


class OutputConfig(Body, kw_only=True):
    """The form of the answer."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class CountRequest(Body, kw_only=True):
    """A prompt whose tokens are counted."""

    model: str
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: Auto | AnyTool | NamedTool | NoTool | None = None
    thinking: Enabled | Disabled | Adaptive | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl = None


class MessageRequest(CountRequest, kw_only=True):
    """What is asked."""

    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
