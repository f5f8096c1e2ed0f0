"""What was said when: words, the segments that they are in, and how probable its tokens were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.checks import short


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability, before any option changed that.

    `bytes` are its UTF-8, which need not be whole characters; `text` has U+FFFD where they are not.
    `top` are the likeliest tokens at its place, the likeliest first, as many as were asked for.
    """

    token_id: int
    text: str
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """``token``, ``logprob`` and ``bytes``, as OpenAI's JSON has them."""
        return {"token": self.text, "logprob": self.logprob, "bytes": list(self.bytes)}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a segment, with the space and the marks around it; times are seconds.

    `probability` is the average of its tokens'.
    """

    start: float
    end: float
    word: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """``word``, ``start``, ``end`` and ``probability`` with 4 decimals, as JSON has them."""
        return {
            "word": self.word,
            "start": self.start,
            "end": self.end,
            "probability": round(self.probability, 4),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Segment:
    """A stretch of speech: what was said from `start` to `end`, in seconds of the recording.

    `avg_logprob`, `compression_ratio`, `no_speech_prob` and `temperature` are those of the window
    that it was found in. `words`, where they were asked for, are its text in pieces. `channel`,
    the first being 1, is set where each channel was transcribed on its own. `logprobs`, where they
    were asked for, are how probable the tokens of its text were, of those that were allowed.
    """

    id: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None
    channel: int | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None

    def __repr__(self) -> str:
        words = "" if self.words is None else f", {len(self.words)} words"
        return f"Segment({self.start:.2f}-{self.end:.2f} s, {short(self.text)}{words})"

    def to_dict(self) -> dict[str, Any]:
        """``start``, ``end`` and ``text``; ``words``, ``channel``, ``logprobs`` where known."""
        entry: dict[str, Any] = {"start": self.start, "end": self.end, "text": self.text}
        if self.words is not None:
            entry["words"] = [word.to_dict() for word in self.words]
        if self.channel is not None:
            entry["channel"] = self.channel
        if self.logprobs is not None:
            entry["logprobs"] = [each.to_dict() for each in self.logprobs]
        return entry
