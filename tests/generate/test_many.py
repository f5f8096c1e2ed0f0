from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.calls.turns import Call, Turns
from cactus.errors import (
    CactusError,
    Cancelled,
    ContextLengthExceeded,
    InsufficientMemory,
    InvalidRequest,
    ModelClosed,
    NonFiniteLogits,
)
from cactus.generate import batch, many
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.conversations import WORTH_SHARING, Conversations
from cactus.generate.many import AT_ONCE, ManyRun
from cactus.generate.options import parse_options
from cactus.types import Completion
from tests.generate.scripted import (
    END,
    Harness,
    InThread,
    ScriptedSampler,
    babbling,
    rambling,
    same,
    saying,
    scripted_engine,
)

SYSTEM = "s:You answer as a parrot would.\n"


def request(prompt: str, **raw: Any) -> Request:
    return Request(list(prompt.encode()), parse_options(raw, vocab_size=300))


def run(engine: Any, prompts: Sequence[str], **raw: Any) -> list[Any]:
    """The answers of a batch that nobody else has joined, and that remembers nothing."""
    alone = Batch(engine, Turns(lambda: None), Conversations(engine, 0))
    requests = [request(prompt, **raw) for prompt in prompts]
    return ManyRun(alone, Call(), requests, return_exceptions=False).run()


def ask(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


# -- every answer is its own


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.text("abc", min_size=1, max_size=30), max_size=20),
    st.sampled_from(["", SYSTEM]),
    st.integers(1, 20),
    st.integers(0, 12),
)
def test_each_answer_is_what_it_is_alone(
    texts: list[str], system: str, chunk: int, max_tokens: int
) -> None:
    engine = scripted_engine(rambling, chunk=chunk)
    program: Any = engine.program
    results = run(engine, [system + text for text in texts], max_tokens=max_tokens, stop="bad")
    for text, done in zip(texts, results, strict=True):
        alone = Harness(rambling).answer(system + text, max_tokens=max_tokens, stop="bad")
        assert same(done, alone)
        cost = done.metrics
        assert cost.prefill_tokens + cost.cached_tokens == len(system + text)
    assert all(len(step) <= AT_ONCE for step in program.batches)
    assert all(session.closed for session in program.sessions)


def test_no_conversations_have_no_answers(make: Any) -> None:
    model, program = make(babbling)
    assert model.chat_many([]) == [] and program.steps == []


def test_results_are_in_the_order_of_the_conversations(make: Any) -> None:
    def echo(history: list[int], answered: int) -> int:
        text = bytes(t for t in history if t < 256).split(b"u:")[1].split(b"\n")[0]
        return [*text, END][answered]

    model, _ = make(echo, chunk=30)
    texts = [str(n) * (20 - n) for n in range(1, 20)]
    assert [done.text for done in model.chat_many(ask(*texts))] == texts


def test_a_string_of_json_is_a_conversation(make: Any) -> None:
    model, _ = make(saying("Hi"))
    (done,) = model.chat_many(['[{"role": "user", "content": "x"}]'])
    assert done.text == "Hi"


# -- errors


def test_what_is_wrong_with_one_conversation_is_its_result(make: Any) -> None:
    model, _ = make(saying("Hi"))
    good, *bad = model.chat_many(
        [
            *ask("x"),
            [{"role": "nobody", "content": "x"}],
            '[{"role"',
            *ask("x" * 500),
            [],
            None,
        ],
        return_exceptions=True,
    )
    assert good.text == "Hi"
    assert all(isinstance(error, CactusError) and str(error) for error in bad)
    assert "nobody" in str(bad[0]) and "505" in str(bad[2])
    assert [type(error).__name__ for error in bad][2] == "ContextLengthExceeded"
    assert all(error.__traceback__ is None for error in bad)
    for conversation, error in zip(ask("x" * 500), bad[2:], strict=False):
        with pytest.raises(type(error)) as alone:
            model.chat(conversation)
        assert str(alone.value) == str(error)


@pytest.mark.parametrize("wrong", ["text", b"[[]]", bytearray(3), {"role": "user"}, None, 3])
def test_what_is_no_list_of_conversations_is_an_error(make: Any, wrong: Any) -> None:
    model, _ = make(saying("Hi"))
    with pytest.raises(InvalidRequest, match="list of conversations"):
        model.chat_many(wrong)


def test_a_wrong_option_is_an_error_of_the_call(make: Any) -> None:
    model, _ = make(saying("Hi"))
    with pytest.raises(InvalidRequest, match="max_tokens"):
        model.chat_many(ask("x"), max_tokens=-1)


def test_logits_that_are_no_numbers_are_the_error_of_one(make: Any) -> None:
    def script(history: list[int], answered: int) -> tuple[int, float]:
        ill = b"ill" in bytes(t for t in history if t < 256) and answered == 3
        return ([*b"fine", END][min(answered, 4)], math.nan if ill else 0.1)

    model, program = make(script)
    results = model.chat_many(ask("a", "ill", "b", "c"), return_exceptions=True)
    assert [getattr(r, "text", None) for r in results] == ["fine", None, "fine", "fine"]
    assert isinstance(results[1], NonFiniteLogits)
    assert all(session.closed for session in program.sessions)


def test_a_step_with_bad_logits_is_taken_again_row_by_row(make: Any) -> None:
    model, program = make(saying("fine"), chunk=40)

    def fail(tokens: Sequence[int]) -> None:
        if b"ill" in bytes(t for t in tokens if t < 256):
            raise NonFiniteLogits("the logits are not finite")

    program.during = fail
    results = model.chat_many(ask("a", "ill", "b"), return_exceptions=True)
    assert [getattr(r, "text", None) for r in results] == ["fine", None, "fine"]
    assert isinstance(results[1], NonFiniteLogits)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_with_little_memory_fewer_are_answered_at_a_time(make: Any, limit: int) -> None:
    model, program = make(rambling)
    alone = [model.chat(conversation) for conversation in ask(*"abcdefgh")]
    program.batches.clear()
    own = {id(session) for session in program.sessions}

    def fail(_tokens: object) -> None:
        if sum(not s.closed and id(s) not in own for s in program.sessions) > limit:
            raise InsufficientMemory("no memory")

    program.during = fail
    results = model.chat_many(ask(*"abcdefgh"))
    assert all(same(done, single) for done, single in zip(results, alone, strict=True))
    assert max(map(len, program.batches)) == limit


def test_without_memory_for_one_alone_each_has_that_error(make: Any) -> None:
    model, program = make(rambling)

    def fail(_tokens: object) -> None:
        raise InsufficientMemory("no memory")

    program.during = fail
    results = model.chat_many(ask("a", "b", "c"), return_exceptions=True)
    assert [type(result) for result in results] == [InsufficientMemory] * 3
    assert all(session.closed for session in program.sessions)


def test_without_memory_for_a_session_each_has_that_error(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, program = make(rambling)

    def fail() -> None:
        raise InsufficientMemory("no memory")

    monkeypatch.setattr(program, "session", fail)
    results = model.chat_many(ask("a", "b"), return_exceptions=True)
    assert [type(result) for result in results] == [InsufficientMemory] * 2


def test_without_memory_for_another_session_those_that_run_go_on(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, program = make(rambling)
    alone = [model.chat(conversation) for conversation in ask("a", "b", "c")]
    own, session = set(map(id, program.sessions)), program.session

    def one_at_a_time() -> Any:
        if any(not s.closed and id(s) not in own for s in program.sessions):
            raise InsufficientMemory("no memory")
        return session()

    monkeypatch.setattr(program, "session", one_at_a_time)
    results = model.chat_many(ask("a", "b", "c"))
    assert all(same(done, single) for done, single in zip(results, alone, strict=True))


def test_without_memory_to_share_a_beginning_each_reads_its_own(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, program = make(rambling)
    conversations = [
        [{"role": "user", "content": "x" * 2 * WORTH_SHARING + end}] for end in ("a", "b", "c")
    ]
    alone = [model.chat(conversation) for conversation in conversations]
    model.reset()
    session, refused = program.session, []

    def without_fork() -> Any:
        made = session()

        def fork() -> None:
            refused.append(made)
            raise InsufficientMemory("no memory")

        monkeypatch.setattr(made, "fork", fork, raising=False)
        return made

    monkeypatch.setattr(program, "session", without_fork)
    results = model.chat_many(conversations)
    assert refused
    assert all(same(done, single) for done, single in zip(results, alone, strict=True))


# -- who gets which rows


def test_some_take_part_at_once_and_the_next_one_takes_a_free_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 8)

    def script(history: list[int], answered: int) -> int:
        return END if answered == history[0] - 96 else 120

    engine = scripted_engine(script, chunk=64)
    program: Any = engine.program
    prompts = ["fx", *["bx"] * 20]  # the first answer is the longest
    results = run(engine, prompts)
    assert [len(done.tokens) for done in results] == [6, *[2] * 20]
    assert max(map(len, program.batches)) == 8
    # 3 steps for each of the others, 7 places beside the first one: three rounds, no step idle.
    assert len(program.batches) == 9


def test_writers_have_a_row_in_every_step_while_a_long_prompt_is_read() -> None:
    engine = scripted_engine(babbling, chunk=8, context=400)
    program: Any = engine.program
    short = [chr(97 + n) for n in range(5)]
    results = run(engine, [*short, "long " * 30, "other " * 30], max_tokens=20)
    assert [len(done.tokens) for done in results] == [20] * 7
    writing = [batch for batch in program.batches[1:20]]
    assert all([len(row) for row in batch[:5]] == [1] * 5 for batch in writing)
    assert all(sum(map(len, batch)) == 8 for batch in writing), "rows were left empty"


def test_a_common_beginning_is_read_once() -> None:
    engine = scripted_engine(babbling, chunk=20)
    program: Any = engine.program
    texts = ["one", "two, longer", "three"]
    results = run(engine, [SYSTEM + text for text in texts], max_tokens=1)
    fed = sum(map(len, program.steps))
    assert fed == len(SYSTEM) + sum(map(len, texts))
    assert [done.metrics.cached_tokens for done in results] == [0, len(SYSTEM), len(SYSTEM)]
    assert sum(done.metrics.prefill_tokens for done in results) == fed
    assert all(session.closed for session in program.sessions)


def test_equal_prompts_share_all_but_their_last_token() -> None:
    engine = scripted_engine(babbling, chunk=20)
    results = run(engine, [SYSTEM] * 3, max_tokens=4)
    assert len({done.tokens for done in results}) == 1
    assert [done.metrics.prefill_tokens for done in results] == [len(SYSTEM), 1, 1]


def test_a_short_common_beginning_is_read_by_each() -> None:
    engine = scripted_engine(babbling, chunk=64)
    program: Any = engine.program
    run(engine, ["x" * (WORTH_SHARING - 1) + end for end in "ab"], max_tokens=1)
    assert len(program.steps) == 1


# -- the turn


def test_stop_ends_all_with_what_they_have(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 8)
    model, program = make(babbling, chunk=64)

    def stop(_tokens: object) -> None:
        if len(program.steps) == 4:
            model.stop()

    program.during = stop
    results = model.chat_many(ask(*"abcdefghijkl"))
    program.during = lambda tokens: None
    assert [done.finish_reason for done in results] == ["cancelled"] * 12
    begun = [len(done.tokens) for done in results]
    assert begun[:8] == [max(begun)] * 8 and max(begun) > 2
    assert begun[8:] == [0] * 4
    for text, done in zip("abcdefgh", results, strict=False):
        assert model.chat(ask(text)[0], max_tokens=len(done.tokens)).text == done.text


def test_stop_before_the_turn_and_while_prompts_are_prepared(make: Any) -> None:
    model, program = make(babbling)

    def conversations() -> Any:
        yield ask("a")[0]
        model.stop()
        yield ask("b")[0]

    results = model.chat_many(conversations())
    assert [(done.text, done.finish_reason) for done in results] == [("", "cancelled")] * 2
    assert program.steps == []


def test_stop_ends_a_call_with_an_endless_iterator(make: Any) -> None:
    model, program = make(babbling)

    def conversations() -> Any:
        for number in itertools.count():
            if number == 30:
                model.stop()
            yield ask("a")[0]

    results = model.chat_many(conversations())
    assert [done.finish_reason for done in results] == ["cancelled"] * 31
    assert program.steps == []


def test_errors_among_the_results_keep_nothing_alive(make: Any) -> None:
    model, _ = make(saying("x"))
    results = model.chat_many(
        ['[{"role"', b"\xff", ask("a" * 300)[0], *ask("b")], return_exceptions=True
    )
    assert [type(result) for result in results] == [
        *[InvalidRequest] * 2,
        ContextLengthExceeded,
        Completion,
    ]
    for error in results[:3]:
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


def test_close_ends_the_call_with_cancelled(make: Any) -> None:
    model, program = make(babbling)
    closers = []

    def close(_tokens: object) -> None:
        if len(program.steps) == 3:
            closers.append(InThread(model.close))
            while not model.closed:
                pass

    program.during = close
    with pytest.raises(Cancelled):
        model.chat_many(ask("a", "b"))
    closers[0].result()
    assert program.closed and all(session.closed for session in program.sessions)
    with pytest.raises(ModelClosed):
        model.chat_many(ask("a"))


def test_an_interrupt_leaves_nothing_open(make: Any) -> None:
    model, program = make(babbling)

    def interrupt(_tokens: object) -> None:
        if len(program.steps) == 3:
            raise KeyboardInterrupt

    before = ScriptedSampler.open_samplers
    program.during = interrupt
    with pytest.raises(KeyboardInterrupt):
        model.chat_many(ask("a", "b"))
    assert ScriptedSampler.open_samplers == before
    assert all(session.closed for session in program.sessions)
    program.during = lambda tokens: None
    assert len(model.chat(ask("a")[0], max_tokens=3).tokens) == 3


def test_calls_of_several_threads_are_answered_together(make: Any) -> None:
    model, _ = make(rambling)
    alone = [model.chat(conversation).tokens for conversation in ask(*"abcd")]
    calls = [InThread(lambda: model.chat_many(ask(*"abcd"))) for _ in range(3)]
    calls += [InThread(lambda: [model.chat(c) for c in ask(*"abcd")]) for _ in range(2)]
    for call in calls:
        assert [done.tokens for done in call.result()] == alone


def test_the_reader_of_a_stream_may_ask_many(make: Any) -> None:
    model, _ = make(rambling)
    expected = [done.text for done in model.chat_many(ask("a", "b", "c"))]
    with model.stream(ask("a")[0]) as stream:
        text = next(stream).text
        assert [done.text for done in model.chat_many(ask("b", "c"))] == expected[1:]
        assert text + "".join(event.text for event in stream) == expected[0]


def test_the_conversation_of_chat_is_left_as_it_is(make: Any) -> None:
    model, _ = make(babbling)
    first = model.chat(ask("hello")[0], max_tokens=4)
    model.chat_many(ask("a", "b"), max_tokens=4)
    again = model.chat(ask("hello")[0], max_tokens=4)
    assert again.tokens == first.tokens
    assert again.metrics.prefill_tokens == 1


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("limit", [(many, "AT_ONCE"), (batch, "MOST")])
def test_the_number_of_lanes_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: tuple[Any, str], lanes: int
) -> None:
    expected = run(scripted_engine(rambling, chunk=16), list("abcdef"))
    monkeypatch.setattr(*limit, lanes)
    engine = scripted_engine(rambling, chunk=16)
    program: Any = engine.program
    assert all(map(same, run(engine, list("abcdef")), expected))
    assert max(map(len, program.batches)) == lanes


# -- errors, progress, and answers as they end


@pytest.mark.parametrize("wrong", [[{"role": "nobody", "content": "x"}], [], "x" * 500])
def test_the_first_error_is_raised_with_its_number(make: Any, wrong: Any) -> None:
    model, program = make(saying("Hi"))
    with pytest.raises(InvalidRequest, match=r"^conversations\[1\]: .+"):
        model.chat_many(["a", wrong, None, "b"])
    assert program.steps == [], "before anything is computed"
    assert model.chat_many(["a", "b"])[1].text == "Hi"


def test_an_error_keeps_what_it_knows(make: Any) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        make(saying("Hi"))[0].chat_many(["a", "x" * 500])
    assert (caught.value.prompt_tokens, caught.value.limit) == (505, 200)


def test_an_error_while_it_computes_ends_the_call(make: Any) -> None:
    model, program = make(saying("fine"), chunk=40)

    def fail(tokens: Sequence[int]) -> None:
        if b"ill" in bytes(t for t in tokens if t < 256):
            raise NonFiniteLogits("the logits are not finite")

    program.during = fail
    with pytest.raises(NonFiniteLogits, match=r"conversations\[1\]: the logits"):
        model.chat_many(["a", "ill", "b"])
    assert all(session.closed for session in program.sessions)
    assert model.chat("a").text == "fine"


def test_progress_is_told_after_each_answer(make: Any) -> None:
    model, _ = make(rambling)
    told: list[tuple[int, int]] = []
    model.chat_many([*"abcdefghijkl"], progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]
    told.clear()
    model.chat_many(["a", []], return_exceptions=True, progress=lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(InvalidRequest, match="progress must be a function, got int"):
        model.chat_many(["a"], progress=5)


def test_what_progress_raises_ends_the_call(make: Any) -> None:
    model, program = make(rambling)

    def fail(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.chat_many([*"abcdefghijkl"], progress=fail)
    assert all(session.closed for session in program.sessions)
    assert model.chat("a").text


def test_progress_may_call_the_model_and_stop_the_rest(make: Any) -> None:
    model, _ = make(rambling)

    def stop(done: int, _total: int) -> None:
        if done == 1:
            assert model.chat("x", max_tokens=1).text
            model.stop()

    reasons = [done.finish_reason for done in model.chat_many([*"abcdefghijkl"], progress=stop)]
    assert "cancelled" in reasons and len(reasons) == 12
