from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cactus.errors import Cancelled, ContextLengthExceeded, InvalidRequest
from cactus.model import Model
from tests.generate.scripted import ScriptedSampler, babbling, joined, saying

Make = Callable[..., Model]
HELLO = [{"role": "user", "content": "Hello"}]


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Like asyncio.run, with a limit, and in debug mode: forgotten tasks are warnings."""

    async def limited() -> Any:
        return await asyncio.wait_for(work, 20)

    before = threading.active_count()
    result = asyncio.run(limited(), debug=True)
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline, "a thread was left behind"
        time.sleep(0.01)
    return result


def slow(model: Model, seconds: float = 0.002) -> Any:
    program: Any = model._engine.program
    program.during = lambda _tokens: time.sleep(seconds)
    return program


def test_achat_is_chat(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    expected = model.chat(HELLO, max_tokens=5)
    model.reset()
    assert run(model.achat(HELLO, max_tokens=5)).tokens == expected.tokens


def test_achat_many_is_chat_many(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    conversations = [ask(text) for text in "abc"]
    expected = [model.chat(conversation, max_tokens=5).tokens for conversation in conversations]
    results = run(model.achat_many([*conversations, []], max_tokens=5, return_exceptions=True))
    assert [done.tokens for done in results[:3]] == expected
    assert isinstance(results[3], InvalidRequest)
    with pytest.raises(InvalidRequest, match=r"conversations\[3\]"):
        run(model.achat_many([*conversations, []]))


def test_progress_of_achat_many_is_told_in_the_event_loop(scripted_model: Make) -> None:
    told: list[tuple[int, int, threading.Thread]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total, threading.current_thread()))

    async def work() -> None:
        await scripted_model(saying("Hi")).achat_many(["a", "b"], progress=progress)
        await asyncio.sleep(0)

    run(work())
    assert told == [(n, 2, threading.main_thread()) for n in (1, 2)]


def test_achat_as_completed_is_chat_as_completed(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        expected = model.chat_many(["a", "b"], max_tokens=5)
        async with model.achat_as_completed(["a", "b"], max_tokens=5) as answers:
            found = {index: done.text async for index, done in answers}
        assert found == {index: done.text for index, done in enumerate(expected)}
        early = model.achat_as_completed(["a", "b"])
        await anext(early)
        await early.aclose()
        assert model.chat("x", max_tokens=1).text

    run(work())


def test_cancelling_achat_many_ends_it_and_frees_the_model(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    program = slow(model)

    async def work() -> None:
        task = asyncio.create_task(model.achat_many([ask(text) for text in "abc"]))
        while len(program.steps) < 5:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps = len(program.steps)
        assert len((await model.achat(HELLO, max_tokens=2)).tokens) == 2
        assert program.steps[steps:] and all(session.closed for session in program.sessions[:-1])

    run(work())


def test_astream_is_stream(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(saying("Hé!"))
        events = []
        async with model.astream(HELLO) as stream:
            with pytest.raises(InvalidRequest):
                _ = stream.completion
            async for event in stream:
                events.append(event)
            assert joined(events) == stream.completion.text == "Hé!"
        assert [event async for event in stream] == []

    run(work())


def test_astream_without_a_context_manager(scripted_model: Make) -> None:
    async def work() -> str:
        return joined([event async for event in scripted_model(saying("Hi")).astream(HELLO)])

    assert run(work()) == "Hi"


def test_the_prompt_is_counted_before_the_first_event(scripted_model: Make) -> None:
    model = scripted_model(babbling)

    async def work() -> None:
        stream = model.astream(HELLO, max_tokens=2)
        with pytest.raises(InvalidRequest, match="no prompt yet"):
            _ = stream.prompt_tokens
        async with stream:
            assert stream.prompt_tokens == model.count_tokens(HELLO)

    run(work())
    with model.stream(HELLO, max_tokens=2) as stream:
        assert stream.prompt_tokens == model.count_tokens(HELLO)


def test_errors_come_before_the_first_event(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling, context=20)
        with pytest.raises(ContextLengthExceeded):
            async with model.astream(ask("x" * 50)):
                raise AssertionError("not reached")
        with pytest.raises(InvalidRequest, match="top_p"):
            await model.achat(HELLO, top_p=2)
        with pytest.raises(InvalidRequest, match="top_p"):
            async for _ in model.astream(HELLO, top_p=2):
                raise AssertionError("not reached")

    run(work())


def test_the_event_loop_goes_on_while_the_model_works(scripted_model: Make) -> None:
    async def work() -> int:
        model = scripted_model(babbling)
        slow(model, 0.02)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticker = asyncio.create_task(tick())
        await model.achat(HELLO, max_tokens=10)
        ticker.cancel()
        return ticks

    assert run(work()) > 3  # once, if the model blocked the loop


def test_many_tasks_give_the_answers_of_one(scripted_model: Make) -> None:
    # More waiting calls than the default executor has threads, with a stream among them.
    model = scripted_model(babbling)
    questions = [f"q{number}" for number in range(20)]

    async def read(question: str) -> str:
        async with model.astream(ask(question), max_tokens=4) as stream:
            return joined([event async for event in stream])

    async def work() -> list[str]:
        chats = [model.achat(ask(question), max_tokens=4) for question in questions]
        streams = [read(question) for question in questions]
        results = await asyncio.gather(*streams, *chats)
        return [getattr(result, "text", result) for result in results]

    expected = [scripted_model(babbling).chat(ask(q), max_tokens=4).text for q in questions]
    assert run(work()) == expected * 2


def test_cancelling_achat_stops_the_generation(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling, context=100_000)
        program = slow(model)
        task = asyncio.create_task(model.achat(HELLO, max_tokens=50_000))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert program.inside == 0, "the engine is at rest once the cancellation is through"
        steps = len(program.steps)
        await asyncio.sleep(0.05)
        assert len(program.steps) == steps
        assert len((await model.achat(HELLO, max_tokens=3)).tokens) == 3

    run(work())


def test_cancelling_a_task_beside_an_open_stream(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling, context=100_000)
        slow(model)
        async with model.astream(HELLO) as stream:
            await anext(stream)
            other = asyncio.create_task(model.achat(ask("other"), max_tokens=50_000))
            await asyncio.sleep(0.05)
            other.cancel()
            with pytest.raises(asyncio.CancelledError):
                await other
            assert (await anext(stream)).text

    run(work())


def test_a_timeout_on_a_stream_stops_it_and_frees_the_model(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling, context=100_000)
        slow(model)
        before = ScriptedSampler.open_samplers

        async def read() -> None:
            async for _ in model.astream(HELLO, max_tokens=50_000):
                pass

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.1)
        assert ScriptedSampler.open_samplers == before
        assert len((await model.achat(HELLO, max_tokens=3)).tokens) == 3

    run(work())


def test_leaving_a_stream_early_frees_the_model(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        async with model.astream(HELLO) as stream:
            first = await anext(stream)
        assert stream.completion.text == first.text
        await stream.aclose()
        assert len((await model.achat(HELLO, max_tokens=3)).tokens) == 3

    run(work())


def test_stopping_a_stream(scripted_model: Make) -> None:
    async def work() -> None:
        async with scripted_model(babbling).astream(HELLO) as stream:
            await anext(stream)
            stream.stop()
            assert [event async for event in stream] == []
            assert stream.completion.finish_reason == "cancelled"

    run(work())


def test_an_error_in_the_reader_frees_the_model(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        with pytest.raises(ZeroDivisionError):
            async with model.astream(HELLO) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert len((await model.achat(HELLO, max_tokens=3)).tokens) == 3

    run(work())


def test_an_error_in_the_engine_reaches_the_reader(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        program: Any = model._engine.program

        def fail(_tokens: object) -> None:
            raise MemoryError("no more")

        program.during = fail
        with pytest.raises(MemoryError):
            await model.achat(HELLO)
        with pytest.raises(MemoryError):
            async for _ in model.astream(HELLO):
                raise AssertionError("not reached")
        program.during = lambda _tokens: None
        assert (await model.achat(HELLO, max_tokens=1)).text

    run(work())


def test_one_task_may_call_the_model_while_it_reads_a_stream(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        expected = model.chat(HELLO, max_tokens=4).text
        async with model.astream(HELLO, max_tokens=4) as stream:
            texts = [(await anext(stream)).text]
            assert (await model.achat(HELLO, max_tokens=4)).text == expected
            assert joined([event async for event in model.astream(HELLO, max_tokens=4)]) == expected
            assert model.chat(HELLO, max_tokens=4).text == expected
            assert "".join([*texts, *[event.text async for event in stream]]) == expected

    run(work())


def test_a_stream_may_be_read_by_several_tasks_in_turn(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling)
        expected = model.chat(HELLO, max_tokens=4).text
        stream = model.astream(HELLO, max_tokens=4)
        texts = [(await asyncio.create_task(anext(stream))).text for _ in range(4)]
        assert "".join(texts) == expected
        await stream.aclose()

    run(work())


def test_closing_the_model_cancels_its_tasks(scripted_model: Make) -> None:
    async def work() -> None:
        model = scripted_model(babbling, context=100_000)
        slow(model)
        task = asyncio.create_task(model.achat(HELLO, max_tokens=50_000))
        await asyncio.sleep(0.05)
        model.close()
        with pytest.raises(Cancelled):
            await task

    run(work())


def test_a_stream_that_has_failed_is_not_an_empty_one(scripted_model: Make) -> None:
    async def work() -> None:
        refused = scripted_model(saying("Hi")).astream(HELLO, max_tokens=-1)
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="max_tokens"):
                await anext(refused)
        await refused.aclose()
        assert [event async for event in refused] == []

    run(work())


def test_async_with_closes_the_model(scripted_model: Make) -> None:
    async def work() -> None:
        async with scripted_model(saying("Hi")) as model:
            assert (await model.achat("Hello")).text == "Hi"
        assert model.closed

    run(work())
