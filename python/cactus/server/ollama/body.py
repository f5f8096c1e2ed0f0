"""What is sent to ``/api/chat`` and ``/api/generate``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from cactus.server.endpoint import Body

NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Options(Body, kw_only=True):
    """How the model answers. What is about the machine (num_gpu, num_thread, ...) is ignored."""

    num_predict: Annotated[int, Meta(ge=-2)] | None = None
    """Tokens at most; below 0 as many as the context has room for."""
    num_ctx: Annotated[int, Meta(ge=1)] | None = None
    """Tokens of prompt and answer together at most, below those of the model."""
    temperature: NotNegative | None = None
    top_k: int | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: float | None = None
    tfs_z: float | None = None
    mirostat: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: NotNegative | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1)] | None = None
    """Tokens that `repeat_penalty` looks back on; 0 is off, -1 are all."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


Think = bool | Literal["low", "medium", "high", "max"] | None
KeepAlive = float | str | None
Format = dict[str, Any] | Literal["", "json"] | None


class Request(Body, kw_only=True):
    """What all requests for an answer have."""

    model: str
    stream: bool | None = None
    format: Format = None
    options: Options | None = None
    keep_alive: KeepAlive = None
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class Function(Body, kw_only=True):
    """What was called."""

    name: str
    arguments: Any = None


class Call(Body, kw_only=True):
    """A call that the model has made."""

    function: Function
    id: str | None = None


class Message(Body, kw_only=True):
    """One message; images are files in base64."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatRequest(Request, kw_only=True):
    """A chat; without messages the model is loaded, or with `keep_alive` 0 let go."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None


class GenerateRequest(Request, kw_only=True):
    """A prompt; without one the model is loaded, or with `keep_alive` 0 let go."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None
