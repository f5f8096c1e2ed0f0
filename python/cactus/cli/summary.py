"""What a chat says of an answer that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cactus.cli.text import counted

if TYPE_CHECKING:
    from cactus.types import Completion


def summary_of(completion: Completion, most: int, context: int) -> str:
    """How many tokens it has, how fast they came, and why it ended, if not by itself.

    `most` is how many it was given, `context` the model's limit.
    """
    cost = completion.metrics
    if completion.handoff is not None and completion.handoff.answered:
        cut = "; cut at --max-tokens" if completion.finish_reason == "length" else ""
        return f"{cost.total_time_ms / 1000:.1f} s{cut}"
    summary = counted(cost.decode_tokens, "token")
    if cost.decode_tokens:
        summary += (
            f", {cost.decode_tps:.1f} tok/s, first token after {cost.time_to_first_token_ms:.0f} ms"
        )
    else:
        summary += f" after {cost.total_time_ms / 1000:.1f} s"
    if cost.encoded_tiles:
        tiles = counted(cost.encoded_tiles, "tile")
        summary += f" ({tiles} of images in {cost.encode_time_ms / 1000:.1f} s)"
    if completion.finish_reason == "cancelled":
        return f"stopped; {summary}"
    if completion.finish_reason == "repetition":
        return f"{summary}; ended because it only repeated itself (--frequency-penalty 0.4 helps)"
    if completion.finish_reason == "length":
        if cost.decode_tokens >= most:
            return f"{summary}; cut at --max-tokens {most}"
        return f"{summary}; cut at the end of the context ({context} tokens)"
    return summary


def handoff_of(completion: Completion, calibrated: bool) -> str:
    """What became of it that the model was unsure, to be read; "" if it was not."""
    handoff = completion.handoff
    if handoff is None:
        if completion.finish_reason != "handoff":
            return ""
        sure = f"(confidence {completion.confidence:.2f})"
        told = (
            f"the model is unsure of this answer {sure}"
            if calibrated
            else f"the model is unsure {sure}, and its answer ended there"
        )
        return f"{told}; 'cactus auth' and --cloud ask a larger one"
    unsure = f"the model was unsure (confidence {handoff.confidence:.2f})"
    if handoff.answered:
        return f"answered by {handoff.model} at {handoff.host}: {unsure}"
    if handoff.code == "too_late":
        return f"{unsure} when a part of its answer had been shown; the cloud was not asked"
    return f"{unsure}; the cloud gave no answer: {handoff.reason}"
