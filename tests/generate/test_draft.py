"""A draft guesses for answers: the same answers in fewer steps, whatever the draft says or does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.errors import (
    CactusError,
    InsufficientMemory,
    ModelClosed,
    ModelFormatError,
    NonFiniteLogits,
)
from cactus.generate.drafting import Drafting, Trust
from tests.generate.scripted import (
    END,
    Harness,
    ScriptedProgram,
    ScriptedSampler,
    babbling,
    joined,
    read,
    same,
    scripted_engine,
)

Script = Callable[[list[int], int], Any]

TALE = "once upon a time a fox met a crow with a cheese"


def telling(history: list[int], _answered: int) -> int:
    """Says the tale behind a colon, then ends: whatever was said where before."""
    said = len(history) - 1 - history[::-1].index(ord(":"))
    at = len(history) - 1 - said
    return [*TALE.encode(), END][min(at, len(TALE))]


def mostly(script: Script, right: int, sure: float = 0.2) -> Script:
    """What `script` says, in `right` of ten places; which ones depends on all that is known."""

    def draft(history: list[int], answered: int) -> tuple[int, float]:
        said = script(history, answered)
        token = said if isinstance(said, int) else said[0]
        if (sum(history) * 7 + len(history) * 13) % 10 < right:
            return token, sure
        return (token + 1) % 256, sure

    return draft


def drafted(script: Script, draft: Script, **options: Any) -> Harness:
    """A harness with a draft that says `draft`; rows of the model cost nothing."""
    grain = options.pop("draft_grain", 1)
    small = scripted_engine(draft, slope=0.0, chunk=40, grain=grain, context=4000)
    return Harness(script, **{"slope": 0.0, "chunk": 40, "draft": small, **options})


def plain(script: Script, **options: Any) -> Harness:
    return Harness(script, **{"slope": 1.0, "chunk": 40, **options})


def small(rig: Harness) -> ScriptedProgram:
    """The program of the draft."""
    assert rig.engine.draft is not None
    program: Any = rig.engine.draft.program
    return program


# -- whole answers


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.lists(st.text("abc", min_size=2, max_size=20), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(0, 10),
    st.sampled_from([0.0, 0.05, 0.7, 3.0]),
)
def test_the_answer_is_the_same_as_without(
    prompts: list[str], max_tokens: int, chunk: int, grain: int, right: int, sure: float
) -> None:
    open_samplers = ScriptedSampler.open_samplers
    rig = drafted(
        babbling, mostly(babbling, right, sure), chunk=chunk, grain=grain, draft_grain=grain
    )
    for prompt in prompts:
        events, done = read(rig.start(prompt, max_tokens=max_tokens))
        slow_events, slow = read(plain(babbling).start(prompt, max_tokens=max_tokens))
        assert events == slow_events and same(done, slow)
        assert rig.conversation.tokens == rig.conversation.session.tokens
        assert rig.batch.draft is not None
        for one in rig.batch.draft.conversations.remembered:
            assert one.tokens == one.session.tokens
    assert ScriptedSampler.open_samplers == open_samplers
    rig.turns.close()
    assert all(session.closed for session in small(rig).sessions)


def test_a_draft_that_is_right_saves_steps() -> None:
    rig = drafted(babbling, babbling)
    done = rig.answer("abc", max_tokens=150)
    assert same(done, plain(babbling).answer("abc", max_tokens=150))
    assert len(rig.program.steps) < 150 / 3
    metrics = done.metrics
    assert 100 < metrics.accepted_draft_tokens <= metrics.draft_tokens < 150


def test_a_draft_that_is_wrong_is_soon_asked_no_more() -> None:
    rig = drafted(babbling, mostly(babbling, 0), slope=0.1, context=4000)
    rig.answer("abc", max_tokens=100)
    small(rig).steps.clear()
    done = rig.answer("abd", max_tokens=1500)
    assert same(done, plain(babbling, context=4000).answer("abd", max_tokens=1500))
    assert done.metrics.accepted_draft_tokens == 0
    # A step of the draft is taken to cost 0.3 of one of the model.
    cost = 0.3 * len(small(rig).steps) + 0.1 * done.metrics.draft_tokens
    assert cost < 0.03 * 1500
    assert done.metrics.draft_tokens > 3, "it never tries again"


def test_a_draft_that_becomes_right_is_used_again() -> None:
    def late(history: list[int], answered: int) -> int:
        said = babbling(history, answered)
        return said if len(history) > 400 else said + 1

    rig = drafted(babbling, late, slope=0.1, context=4000)
    assert rig.batch.draft is not None
    rig.batch.draft._row = 0.02  # what was missed is read again for little
    done = rig.answer("abc", max_tokens=1500)
    assert done.metrics.accepted_draft_tokens > 700


def test_without_speculation_nothing_is_drafted() -> None:
    rig = drafted(babbling, babbling)
    for options in ({"speculation": False}, {"repetition_penalty": 1.1}):
        rig.answer("abc", max_tokens=30, **options)
    assert small(rig).steps == []


def test_several_answers_together_are_those_they_are_alone() -> None:
    rig = drafted(babbling, mostly(babbling, 8))
    prompts = ["abc", "abcd", "bcd", "abcde", "xyz"]
    runs = [rig.start(prompt, max_tokens=60) for prompt in prompts]
    streams = [run.events() for run in runs]
    for _ in range(80):
        for stream in streams:
            next(stream, None)
    for run, prompt in zip(runs, prompts, strict=True):
        assert run.result is not None
        assert same(run.result, plain(babbling).answer(prompt, max_tokens=60))
    assert max(map(len, small(rig).batches)) > 1, "none were drafted together"


def test_the_draft_reads_only_what_is_new_in_the_next_turn() -> None:
    rig = drafted(babbling, babbling, context=1000)
    first = "a long story that need not be read again"
    done = rig.answer(first, max_tokens=40)
    assert sum(map(len, small(rig).steps)) >= len(first) + 30
    second = f"{first}{done.text}! and once more"
    for forgotten in (False, True):
        small(rig).steps.clear()
        if forgotten:
            rig.answer("other", max_tokens=1)
            rig.conversations.forget()
            assert rig.batch.draft is not None
            rig.batch.draft.conversations.forget()
        again = rig.answer(second, max_tokens=40)
        fed = sum(map(len, small(rig).steps))
        assert again.metrics.accepted_draft_tokens > 20
        assert fed > len(second) if forgotten else fed < 70


# -- how an answer ends


@pytest.mark.parametrize("stop", ["crow", "fox m", "h a"])
@pytest.mark.parametrize("include", [False, True])
def test_a_stop_string_among_drafted_tokens(stop: str, include: bool) -> None:
    options: dict[str, Any] = {"stop": stop, "include_stop_sequences": include}
    rig = drafted(telling, telling)
    events, done = read(rig.start("tell:", **options))
    slow_events, slow = read(plain(telling).start("tell:", **options))
    assert events == slow_events and same(done, slow)
    assert joined(events) == TALE[: TALE.index(stop) + (len(stop) if include else 0)]
    assert len(rig.program.steps) < len(done.tokens)


@pytest.mark.parametrize("max_tokens", [0, 1, 2, 3, 17, 18, 300])
def test_the_most_tokens_among_drafted_ones(max_tokens: int) -> None:
    rig = drafted(telling, telling)
    done = rig.answer("tell:", max_tokens=max_tokens)
    assert done.text == TALE[:max_tokens]
    assert same(done, plain(telling).answer("tell:", max_tokens=max_tokens))


def test_the_end_of_the_context_of_either() -> None:
    rig = drafted(telling, telling, context=30)
    done = rig.answer("tell:")
    assert done.text == TALE[:25] and done.finish_reason == "length"
    short = scripted_engine(telling, slope=0.0, chunk=40, context=20)
    rig = Harness(telling, slope=0.0, chunk=40, draft=short)
    assert rig.answer("tell:").text == TALE
    assert max(len(session.tokens) for session in small(rig).sessions) <= 20


def test_a_stop_and_a_hand_off_among_drafted_tokens() -> None:
    rig = drafted(telling, telling)
    generation = rig.start("tell:")
    events = []
    for event in generation.events():
        events.append(event)
        if len(events) == 9:
            rig.turns.stop()
    assert joined(events) == TALE[:9]
    assert generation.result is not None and generation.result.finish_reason == "cancelled"
    assert rig.answer("tell:").text == TALE

    def unsure(history: list[int], answered: int) -> tuple[int, float]:
        return telling(history, answered), 0.1 if answered < 20 else 5.0

    fast, slow = (
        one.answer("tell:", confidence_threshold=0.5)
        for one in (drafted(unsure, telling), plain(unsure))
    )
    assert fast.finish_reason == "handoff" and same(fast, slow)


# -- what goes wrong with the draft


@pytest.mark.parametrize(
    "error", [InsufficientMemory, NonFiniteLogits, ModelClosed, ModelFormatError]
)
@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_draft_that_fails_does_not_fail_the_answer(error: type[CactusError], at: int) -> None:
    rig = drafted(telling, telling)
    calls = 0

    def fail(_tokens: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise error("broken")

    small(rig).during = fail
    assert same(rig.answer("tell:"), plain(telling).answer("tell:"))
    assert calls >= at
    assert same(rig.answer("again:"), plain(telling).answer("again:"))


def test_a_draft_that_overflows_drafts_no_more() -> None:
    def overflow(history: list[int], answered: int) -> tuple[int, float]:
        return telling(history, answered), math.nan if len(history) > 15 else 0.1

    rig = drafted(telling, overflow)
    assert same(rig.answer("tell:"), plain(telling).answer("tell:"))
    assert max(len(session.tokens) for session in small(rig).sessions) <= 20


def test_a_token_that_the_model_does_not_have_is_no_guess() -> None:
    rig = drafted(telling, lambda history, answered: 400)
    assert same(rig.answer("tell:"), plain(telling).answer("tell:"))
    assert all(token < 300 for token in rig.program.fed)


@pytest.mark.parametrize("place", ["during", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_ctrl_c_while_the_draft_works_leaves_everything_in_order(place: str, at: int) -> None:
    rig = drafted(telling, telling)
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    setattr(small(rig), place, interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.answer("tell:")
    calls = at
    for prompt in ("tell:", "tell me:"):
        assert same(rig.answer(prompt), plain(telling).answer(prompt))
    assert rig.batch.draft is not None
    for one in rig.batch.draft.conversations.remembered:
        assert one.tokens == one.session.tokens


def test_ctrl_c_in_one_thread_leaves_the_streams_of_others_right() -> None:
    rig = drafted(telling, telling)
    other = rig.start("other:")
    events = other.events()
    said = [next(events) for _ in range(3)]
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    small(rig).after = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.answer("tell:")
    said += list(events)
    assert joined(said) == TALE


def test_what_the_draft_has_remembered_is_given_up_before_an_answer_fails() -> None:
    rig = drafted(telling, telling)
    assert rig.answer("tell:").text == TALE
    assert rig.conversations.give_up()
    failed = []

    def fail(tokens: Sequence[int]) -> None:
        if rig.batch.draft is not None and rig.batch.draft.conversations.remembered:
            failed.append(tokens)
            raise InsufficientMemory("full")

    rig.program.during = fail
    assert rig.answer("other:").text == TALE
    assert failed


# -- what is believed


def test_trust_follows_what_was_seen_at_each_level_of_sureness() -> None:
    trust = Trust()
    for _ in range(300):
        trust.learn(0.4, False)
        trust.learn(0.999, True)
    assert trust.chance(0.4) < 0.1 and trust.chance(0.999) > 0.95
    assert trust.chance(0.1) == Trust.START[0] and trust.chance(0.6) == Trust.START[2]
    assert Trust(trust).chance(0.4) == pytest.approx(trust.chance(0.4))


def test_guesses_behind_right_ones_are_kept_and_behind_wrong_ones_dropped() -> None:
    ids = [1, 2, 3]
    drafting = Drafting(ids, 50, None, None, Trust())  # type: ignore[arg-type]
    for token in (10, 11, 12, 13):
        drafting.add(token, 0.9)
    drafting.learn([10, 11])
    assert [token for token, _ in drafting.chain] == [12, 13]
    assert drafting.chances()[1] < drafting.chances()[0] < 1
    drafting.learn([12, 99])
    assert drafting.chain == [] and (drafting.drafted, drafting.right) == (4, 3)
