"""Log-probabilities as an answer reports them: one entry a token, and the likeliest beside it."""

from __future__ import annotations

import pytest

from cactus.errors import InvalidRequest
from cactus.types import TokenLogprob
from tests.generate.scripted import Harness, read, saying


def entry(token: int, logprob: float, *top: TokenLogprob) -> TokenLogprob:
    data = bytes([token])
    return TokenLogprob(token, data.decode("utf-8", "replace"), data, logprob, top)


def test_every_token_has_an_entry_with_the_likeliest_at_its_place() -> None:
    done = Harness(saying("az")).answer(logprobs=True, top_logprobs=2)
    assert done.token_logprobs == (
        entry(97, -0.1, entry(97, -0.1), entry(98, -1.1)),
        entry(122, -0.1, entry(122, -0.1), entry(123, -1.1)),
    )
    assert [each.logprob for each in done.token_logprobs] == list(done.logprobs)


def test_without_being_asked_for_there_are_none() -> None:
    rig = Harness(saying("ab"))
    events, done = read(rig.start())
    assert done.token_logprobs is None
    assert all(event.logprob is None for event in events)
    assert rig.answer(logprobs=True).token_logprobs == (entry(97, -0.1), entry(98, -0.1))


def test_half_a_character_keeps_its_bytes() -> None:
    done = Harness(saying("é")).answer(logprobs=True)
    assert done.token_logprobs is not None
    assert [each.bytes for each in done.token_logprobs] == [b"\xc3", b"\xa9"]
    assert [each.text for each in done.token_logprobs] == ["\ufffd", "\ufffd"]


def test_a_stream_gives_each_entry_once() -> None:
    """Whatever is held back, or comes after a tag: the entries are those of the completion."""
    generation = Harness(saying("<think>é</think>ok st"), tags=False).start(
        reasoning="possible", stop="stop", logprobs=True, top_logprobs=1
    )
    events, done = read(generation)
    assert done.reasoning == "é"
    assert tuple(event.logprob for event in events if event.logprob) == done.token_logprobs
    assert done.token_logprobs is not None
    assert [each.token_id for each in done.token_logprobs] == list(done.tokens)


def test_alternatives_are_an_option_of_logprobs() -> None:
    with pytest.raises(InvalidRequest, match="logprobs=True"):
        Harness(saying("a")).answer(top_logprobs=2)
    with pytest.raises(InvalidRequest, match="top_logprobs must be an integer from 0 to 20"):
        Harness(saying("a")).answer(logprobs=True, top_logprobs=21)
