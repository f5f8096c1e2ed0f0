from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.generate.prefix import CachedSession, common_prefix

tokens = st.lists(st.integers(0, 2), max_size=12)


class Tape:
    """A session that remembers tokens and can only go back to multiples of `grain`."""

    def __init__(self, grain: int = 1) -> None:
        self.tokens: list[int] = []
        self.grain = grain

    @property
    def length(self) -> int:
        return len(self.tokens)

    def truncate(self, length: int) -> int:
        if length < len(self.tokens):
            del self.tokens[length // self.grain * self.grain :]
        return len(self.tokens)

    def close(self) -> None:
        self.tokens.clear()


def feed(conversation: CachedSession[Tape], new: list[int]) -> None:
    conversation.session.tokens += new
    conversation.fed(len(conversation.tokens), new)


@settings(derandomize=True, deadline=None)
@given(tokens, tokens)
def test_common_prefix_is_the_longest(left: list[int], right: list[int]) -> None:
    length = common_prefix(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=8), st.integers(1, 5)
)
def test_after_rewind_the_cache_is_a_proper_prefix_of_the_prompt(
    prompts: list[list[int]], grain: int
) -> None:
    conversation = CachedSession(Tape(grain))
    for prompt in prompts:
        before = common_prefix(conversation.tokens, prompt)
        kept = conversation.rewind(prompt)
        assert conversation.tokens == conversation.session.tokens == prompt[:kept]
        assert kept < len(prompt), "at least one token must be fed, its logits are needed"
        assert min(before, len(prompt) - 1) - kept < grain
        feed(conversation, prompt[kept:])


def test_a_prompt_that_continues_the_cache_keeps_all_of_it() -> None:
    conversation = CachedSession(Tape())
    feed(conversation, [1, 2, 3])
    assert conversation.rewind([1, 2, 3, 4, 5]) == 3


def test_the_same_prompt_again_feeds_its_last_token_again() -> None:
    conversation = CachedSession(Tape())
    feed(conversation, [1, 2, 3])
    assert conversation.rewind([1, 2, 3]) == 2


def test_a_step_that_was_never_recorded_is_not_trusted() -> None:
    # An interrupt right after a native call: the session knows more tokens than the record.
    conversation = CachedSession(Tape())
    feed(conversation, [1, 2])
    conversation.session.tokens += [9, 9]
    assert conversation.rewind([1, 2, 3, 4]) == 2
    assert conversation.session.tokens == [1, 2]


def test_a_session_that_lost_tokens_is_believed() -> None:
    conversation = CachedSession(Tape())
    feed(conversation, [1, 2, 3, 4])
    del conversation.session.tokens[2:]
    assert conversation.rewind([1, 2, 3, 4, 5]) == 2


def test_when_truncating_fails_the_record_claims_nothing_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conversation = CachedSession(Tape())
    feed(conversation, [1, 2, 3])

    def fail(_length: int) -> Any:
        raise MemoryError

    truncate: Callable[[int], int] = conversation.session.truncate
    monkeypatch.setattr(conversation.session, "truncate", fail)
    with pytest.raises(MemoryError):
        conversation.rewind([1, 9, 9])
    monkeypatch.setattr(conversation.session, "truncate", truncate)
    assert conversation.rewind([1, 9, 9]) == 1
    assert conversation.session.tokens == [1]
