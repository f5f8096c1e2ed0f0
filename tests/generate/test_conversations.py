"""What is remembered of conversations: which one a prompt continues, and which one is given up."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cactus.errors import InsufficientMemory
from cactus.generate.conversations import PAGE, Cached, Conversations
from cactus.generate.prefix import CachedSession
from tests.generate.scripted import Harness, ScriptedSession, babbling, scripted_engine


class Kept:
    """Conversations of a scripted engine, into which texts are put as they are."""

    def __init__(self, budget: int = 1 << 20, grain: int = 1) -> None:
        self.engine = scripted_engine(babbling, grain=grain)
        self.program: Any = self.engine.program
        self.conversations = Conversations(self.engine, budget)

    def read(self, text: str, running: tuple[Cached, ...] = ()) -> Cached:
        """A session that has read `text`, as a request would have it."""
        ids = list(text.encode())
        found = self.conversations.open(ids, running)
        assert found.tokens == found.session.tokens == ids[: len(found.tokens)]
        assert len(found.tokens) < len(ids)
        new = ids[len(found.tokens) :]
        found.session.tokens += new
        found.fed(len(found.tokens), new)
        return found

    def put(self, *texts: str) -> None:
        for text in texts:
            self.conversations.keep(self.read(text))

    @property
    def texts(self) -> list[str]:
        return [bytes(one.tokens).decode() for one in self.conversations.remembered]

    @property
    def open_sessions(self) -> int:
        return sum(not session.closed for session in self.program.sessions)


def test_a_conversation_that_the_prompt_goes_on_is_continued() -> None:
    kept = Kept()
    kept.put("one", "two")
    (one, _) = kept.conversations.remembered
    assert kept.conversations.open(list(b"one more")) is one
    assert kept.texts == ["two"]


def test_one_that_goes_on_differently_is_forked_and_both_stay() -> None:
    kept = Kept()
    kept.put("a long beginning: one")
    other = kept.conversations.open(list(b"a long beginning: two"))
    assert other.tokens == list(b"a long beginning: ")
    kept.conversations.keep(other)
    assert kept.texts == ["a long beginning: one", "a long beginning: "]


def test_the_same_prompt_again_leaves_one_conversation() -> None:
    kept = Kept()
    kept.put("the same", "the same", "the same")
    assert kept.texts == ["the same"] and kept.open_sessions == 1


def test_the_longest_common_beginning_wins() -> None:
    kept = Kept()
    kept.put("abcdefgh-1", "abcd", "abcdef-2", "x")
    assert kept.conversations.open(list(b"abcdefXY")).tokens == list(b"abcdef")
    assert kept.conversations.open(list(b"abcdX")).tokens == list(b"abcd")
    assert kept.conversations.open(list(b"yz")).tokens == []


def test_a_hybrid_model_continues_what_is_whole_where_going_back_would_cost_more() -> None:
    kept = Kept(grain=4)
    kept.put("abcdefgh-1", "abcde")
    found = kept.conversations.open(list(b"abcdefg2"))
    assert found.tokens == list(b"abcde"), "the other one would have gone back to four"
    assert kept.open_sessions == 2


def test_of_a_running_request_it_is_always_a_fork() -> None:
    kept = Kept()
    running = kept.read("a beginning")
    copy = kept.conversations.open(list(b"a beginning and more"), [running])
    assert copy is not running and copy.tokens == running.tokens
    assert kept.conversations.known(list(b"a beg2"), [running]) == 5
    assert kept.conversations.known(list(b"a beg"), [running]) == 4, "the last one is fed"


def test_the_one_that_was_not_used_for_longest_is_given_up_first() -> None:
    kept = Kept(budget=30)
    kept.put("a" * 10, "b" * 10, "c" * 10)
    assert len(kept.texts) == 3
    kept.put("a" * 10 + "!")  # continues the first
    assert [text[0] for text in kept.texts] == ["c", "a"]
    kept.put("d" * 10)
    assert kept.program.kv_bytes <= 30
    assert [text[0] for text in kept.texts] == ["a", "d"]


@pytest.mark.parametrize("grain", [1, 256])
def test_of_the_oldest_as_much_is_kept_of_its_beginning_as_has_room(grain: int) -> None:
    kept = Kept(budget=2 * PAGE + 700, grain=grain)
    kept.put("a" * (3 * PAGE), "b" * 600)
    assert kept.texts == ["a" * (2 * PAGE), "b" * 600]
    kept.put("c" * 650)
    assert kept.texts == ["b" * (2 * PAGE), "c" * 650]
    assert len(kept.conversations.open(list(b"b" * 600)).tokens) == 2 * PAGE


def test_one_that_cannot_go_back_so_far_is_given_up() -> None:
    kept = Kept(budget=800, grain=1000)
    kept.put("a" * 600, "b" * 600)
    assert kept.texts == ["b" * 600] and kept.open_sessions == 1


def test_one_that_was_being_given_up_when_an_interrupt_came_is_not_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Kept()
    kept.put("a" * 20)

    def interrupted(session: ScriptedSession) -> None:
        session.closed = True
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ScriptedSession, "close", interrupted)
        kept.conversations.forget()
    assert kept.conversations.open(list(b"a" * 20 + b"b")).tokens == []


def test_a_short_common_beginning_is_read_again() -> None:
    kept = Kept()
    kept.put("user: what is the capital of France?")
    assert kept.conversations.open(list(b"user: say hello, and more")).tokens == []
    assert kept.conversations.open(list(b"user: 2+2")).tokens == list(b"user: "), "half of it"


def test_what_requests_have_counts_but_is_never_taken_from_them() -> None:
    kept = Kept(budget=30)
    kept.put("a" * 10, "b" * 10)
    running = kept.read("r" * 25)
    kept.put("c" * 4)
    assert kept.texts == ["c" * 4] and not running.session.closed


def test_a_budget_of_nothing_remembers_nothing() -> None:
    kept = Kept(budget=0)
    kept.put("a", "b")
    assert kept.texts == [] and kept.open_sessions == 0


def test_forgetting_includes_what_running_requests_would_leave() -> None:
    kept = Kept()
    kept.put("a")
    running = kept.read("b")
    kept.conversations.forget()
    assert not kept.conversations.may_share(running)
    kept.conversations.keep(running)
    kept.conversations.keep(running)
    assert kept.texts == [] and kept.open_sessions == 0


def test_freeing_closes_what_is_remembered_and_what_is_lent() -> None:
    kept = Kept()
    kept.put("a")
    running = kept.read("b")
    kept.conversations.free()
    assert kept.open_sessions == 0
    kept.conversations.keep(running)  # its request ends later
    assert kept.texts == []


def test_a_fork_that_finds_no_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    kept.put("abcdef")

    def fail(_self: object) -> Any:
        raise InsufficientMemory("no memory")

    monkeypatch.setattr(CachedSession, "fork", fail)
    with pytest.raises(InsufficientMemory):
        kept.conversations.open(list(b"abcX"))
    assert kept.texts == ["abcdef"]


@pytest.mark.parametrize("grain", [1, 3])
def test_whatever_is_remembered_what_is_found_is_as_long_as_the_best(grain: int) -> None:
    chance = random.Random(grain)
    for _ in range(60):
        kept = Kept(grain=grain)
        for _ in range(8):
            text = "".join(chance.choices("ab", k=chance.randint(1, 9)))
            before = kept.texts
            found = kept.read(text)
            read = [step for step in before if text.startswith(step) and len(step) < len(text)]
            if grain == 1:
                common = [
                    next((n for n, (a, b) in enumerate(zip(one, text, strict=False)) if a != b),
                         min(len(one), len(text)))
                    for one in before
                ]  # fmt: skip
                assert max(common, default=0) <= len(found.tokens)
            assert all(len(step) <= len(found.tokens) for step in read)
            kept.conversations.keep(found)


def test_a_beginning_that_several_share_is_forked_and_never_continued() -> None:
    kept = Kept(grain=100)  # it cannot go back
    running = kept.read("a long beginning: ")
    kept.conversations.share(running)
    kept.conversations.share(running)
    assert kept.texts == ["a long beginning: "]
    for _ in range(2):
        found = kept.read("a long beginning: and more")
        assert len(found.tokens) == 26
        kept.conversations.keep(found)
    assert kept.texts == ["a long beginning: ", "a long beginning: and more"]


# -- whole answers


@pytest.mark.parametrize("grain", [1, 16])
def test_two_conversations_that_alternate_both_keep_what_was_read(grain: int) -> None:
    rig = Harness(babbling, context=4000, grain=grain, chunk=64)
    talks = [list((letter * 300).encode()) for letter in "xy"]
    for turn in range(4):
        for talk in talks:
            done = rig.answer(talk, max_tokens=9)
            assert done.tokens == Harness(babbling, context=4000).answer(talk, max_tokens=9).tokens
            if turn:
                # What was said last was never fed, and the new question.
                assert done.metrics.prefill_tokens == 1 + len(" and?")
                assert done.metrics.cached_tokens == len(talk) - 1 - len(" and?")
            talk += [*done.tokens, *b" and?"]
    assert len(rig.conversations.remembered) == 2
