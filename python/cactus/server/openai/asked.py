"""What is asked of a model in chats and in completions alike."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from cactus.server.endpoint import Body
from cactus.server.questions import sampling, seed_of

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Count = Annotated[int, Meta(ge=0)]


class StreamOptions(Body, kw_only=True):
    """`include_usage`: one more chunk, the last, has the usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Asked(Body, kw_only=True):
    """Which model, how it chooses tokens, how many answers, and how they are sent."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: int | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: Choices | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether one more chunk is to have the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def options(self) -> dict[str, Any]:
        """These as options of `Model`. Raises ApiError for a seed past 64 bits."""
        return {
            "sampling": sampling(self.temperature),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "repetition_penalty": self.repetition_penalty,
            "logit_bias": self.logit_bias,
            "seed": seed_of(self.seed),
            "stop": self.stop,
            "response_format": self.response_format,
        }
