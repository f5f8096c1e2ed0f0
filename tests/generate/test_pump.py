"""Readers in event loops: one thread drives for all of them, and tells each loop once a step."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from cactus.errors import Cancelled, InsufficientMemory, ModelClosed
from cactus.generate.batch import Batch
from cactus.generate.pump import Letterbox
from cactus.model import Model
from tests.generate.scripted import (
    InThread,
    ScriptedSampler,
    babbling,
    joined,
    lanes,
    rambling,
    saying,
    with_program,
)

NAME = "cactus batch"


Make = Callable[..., tuple[Model, Any]]


@pytest.fixture
def make(scripted_model: Callable[..., Model]) -> Make:
    return lambda script, **options: with_program(
        scripted_model(script, **{"chunk": 128, "context": 100_000, **options})
    )


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Like asyncio.run, with a limit; no thread is left behind."""

    async def limited() -> Any:
        return await asyncio.wait_for(work, 120)

    result = asyncio.run(limited())
    deadline = time.monotonic() + 60
    while drivers():
        assert time.monotonic() < deadline, "the thread was left behind"
        time.sleep(0.001)
    return result


def drivers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


async def read(model: Model, text: str, **options: Any) -> str:
    async with model.astream(text, **options) as stream:
        return joined([event async for event in stream])


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.001)


def box(model: Model, number: int = 0) -> Letterbox:
    found = lanes(model)[number].letterbox
    assert isinstance(found, Letterbox)
    return found


def test_one_thread_drives_for_all_and_every_answer_is_its_own(make: Make) -> None:
    model, program = make(rambling)
    seen: set[threading.Thread] = set()
    program.during = lambda _tokens: seen.add(threading.current_thread())
    texts = [f"question {number}" for number in range(64)]

    async def work() -> list[Any]:
        streams = [read(model, text, max_tokens=40) for text in texts]
        chats = [model.achat(text, max_tokens=40) for text in texts]
        return list(await asyncio.gather(*streams, *chats))

    found = run(work())
    expected = [make(rambling)[0].chat(text, max_tokens=40).text for text in texts]
    assert found[:64] == expected
    assert [done.text for done in found[64:]] == expected
    assert {thread.name for thread in seen} == {NAME}
    assert lanes(model) == []


def test_a_loop_is_told_once_a_step_whatever_the_number_of_readers(make: Make) -> None:
    model, program = make(babbling)
    told = 0

    async def work() -> int:
        nonlocal told
        loop = asyncio.get_running_loop()
        plain = loop.call_soon_threadsafe

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal told
            told += threading.current_thread().name == NAME
            return plain(*arguments, **options)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        streams = [model.astream(f"question {n}", max_tokens=50) for n in range(40)]
        for stream in streams:
            await anext(stream)
        told, steps = 0, len(program.steps)
        await asyncio.gather(*(read_on(stream) for stream in streams))
        return len(program.steps) - steps

    async def read_on(stream: Any) -> None:
        async for _ in stream:
            pass

    steps = run(work())
    assert 0 < told <= steps + 2


def test_a_reader_that_is_slow_is_waited_for_and_keeps_nobody_waiting(make: Make) -> None:
    model, program = make(babbling)

    async def work() -> None:
        async with model.astream("slow", max_tokens=500) as slow:
            first = (await anext(slow)).text
            answer = await read(model, "fast", max_tokens=200)
            assert answer == make(babbling)[0].chat("fast", max_tokens=200).text
            assert len(box(model).items) == Letterbox.ahead
            both = [batch for batch in program.batches if len(batch) == 2]
            assert len(both) <= Letterbox.ahead
            rest = joined([event async for event in slow])
        assert first + rest == make(babbling)[0].chat("slow", max_tokens=500).text

    run(work())


def test_while_nobody_reads_no_thread_is_there(make: Make) -> None:
    model, program = make(babbling)

    async def work() -> None:
        async with model.astream("one") as stream:
            await anext(stream)
            await until(lambda: not drivers())
            steps = len(program.steps)
            await asyncio.sleep(0.05)
            assert len(program.steps) == steps
            for _ in range(50):
                assert (await anext(stream)).text
        await until(lambda: not drivers())

    run(work())


def test_who_goes_away_has_left_before_the_next_step(make: Make) -> None:
    model, program = make(babbling)
    reached, go = threading.Event(), threading.Event()

    def hold(tokens: Any) -> None:
        if len(tokens) == 2 and not go.is_set():
            reached.set()
            go.wait(10)
        time.sleep(0.005 * go.is_set())

    program.during = hold

    async def work() -> int:
        stay = asyncio.create_task(model.achat("stays", max_tokens=60))
        go_away = asyncio.create_task(read(model, "goes", max_tokens=5000))
        await until(reached.is_set)
        go_away.cancel()
        await asyncio.sleep(0.01)
        assert len(lanes(model)) == 2, "the step still has its row"
        at = len(program.batches)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await go_away
        assert len(lanes(model)) == 1
        assert len((await stay).tokens) == 60
        return at

    at = run(work())
    assert all(len(batch) == 1 for batch in program.batches[at + 1 :])
    assert lanes(model) == []


def test_who_goes_away_in_its_prompt_is_asked_for_no_more_of_it(make: Make) -> None:
    model, program = make(babbling)
    reached, go = threading.Event(), threading.Event()

    def hold(_tokens: Any) -> None:
        reached.set()
        go.wait(10)

    async def work() -> None:
        program.during = hold
        before = ScriptedSampler.open_samplers
        task = asyncio.create_task(model.achat("x" * 4000))
        await until(reached.is_set)
        task.cancel()
        await asyncio.sleep(0.01)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(program.steps) == 1 and ScriptedSampler.open_samplers == before
        assert lanes(model) == []

    run(work())


@pytest.mark.parametrize("stopped", [True, False])
def test_a_step_that_reads_for_several_ends_when_one_of_them_leaves(
    make: Make, stopped: bool
) -> None:
    model, program = make(babbling, chunk=256)
    reached, go = threading.Event(), threading.Event()

    def hold(tokens: Any) -> None:
        if ord("L") in tokens and ord("S") in tokens:
            reached.set()
            go.wait(10)
        time.sleep(0.001)

    async def work() -> str:
        program.during = hold
        stays = asyncio.create_task(model.achat("S" * 20_000, max_tokens=9))
        stream = model.astream("L" * 20_000)
        leaves = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await until(reached.is_set)
        steps = len(program.steps)
        (stream.stop if stopped else leaves.cancel)()
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.gather(leaves, return_exceptions=True)
        assert len(lanes(model)) == 1
        text = (await stays).text
        assert not any(ord("L") in tokens for tokens in program.steps[steps:]), "it was not ended"
        return str(text)

    assert run(work()) == make(babbling)[0].chat("S" * 20_000, max_tokens=9).text


def test_a_stop_ends_all_and_each_has_what_it_has(make: Make) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.001)

    async def work() -> None:
        stream = model.astream("read", max_tokens=5000)
        shown = (await anext(stream)).text
        unread = model.astream("unread", max_tokens=5000)
        await anext(unread)
        chat = asyncio.create_task(model.achat("chat", max_tokens=5000))
        await until(lambda: len(program.steps) > 40)
        model.stop()
        assert (await chat).finish_reason == "cancelled"
        shown += joined([event async for event in stream])
        assert stream.completion.finish_reason == "cancelled"
        assert stream.completion.text == shown
        assert [event async for event in unread] == []
        assert len(unread.completion.tokens) == 1

    run(work())
    assert lanes(model) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_is_closed_ends_all_with_an_error(make: Make, seed: int) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.0005)
    before = ScriptedSampler.open_samplers

    async def work() -> None:
        calls = [read(model, f"q{n}", max_tokens=5000) for n in range(6)]
        calls += [model.achat(f"c{n}", max_tokens=5000) for n in range(6)]
        held = model.astream("nobody reads", max_tokens=5000)
        await anext(held)
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.01 * seed)
        await asyncio.to_thread(model.close)
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(found, (Cancelled, ModelClosed)), found
        with pytest.raises(Cancelled):
            async for _ in held:
                pass
        with pytest.raises(ModelClosed):
            await model.achat("later")

    run(work())
    assert program.closed and ScriptedSampler.open_samplers == before
    assert all(session.closed for session in program.sessions)


def test_threads_and_readers_in_loops_work_for_each_other(make: Make) -> None:
    model, program = make(rambling)
    program.during = lambda _tokens: time.sleep(0.0002)
    texts = [f"question {number}" for number in range(8)]
    expected = {text: make(rambling)[0].chat(text, max_tokens=40).text for text in texts}
    over = threading.Event()

    def chat() -> int:
        count = 0
        while not over.is_set():
            for text in texts:
                assert model.chat(text, max_tokens=40).text == expected[text]
                with model.stream(text, max_tokens=40) as stream:
                    assert joined(stream) == expected[text]
            count += 1
        return count

    async def work() -> None:
        for _ in range(10):
            found = await asyncio.gather(*(read(model, text, max_tokens=40) for text in texts))
            assert found == list(expected.values())
            await asyncio.sleep(0.002)

    beside = [InThread(chat) for _ in range(2)]
    try:
        run(work())
    finally:
        over.set()
    for thread in beside:
        thread.result()
    assert lanes(model) == []


def test_what_ends_the_driver_reaches_all_that_it_drives_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = make(babbling)

    def fail(*_: object) -> None:
        raise MemoryError("no more")

    async def work() -> None:
        stream = model.astream("one")
        await anext(stream)
        chat = asyncio.create_task(model.achat("two", max_tokens=50_000))
        await until(lambda: len(lanes(model)) == 2)
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "_admit", fail)
            with pytest.raises(MemoryError):
                await chat
            with pytest.raises(MemoryError):
                async for _ in stream:
                    pass
            await until(lambda: not drivers())  # one that let them leave failed, too
        assert (await model.achat("three", max_tokens=3)).text
        assert lanes(model) == []

    run(work())


def test_an_error_of_one_ends_that_alone(make: Make) -> None:
    model, program = make(babbling)

    def limit(tokens: Any) -> None:
        if program.kv_bytes + len(tokens) > 300:
            raise InsufficientMemory("no memory")

    program.during = limit

    async def work() -> None:
        calls = [model.achat("x" * 500), read(model, "one", max_tokens=100)]
        failed, answer = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(failed, InsufficientMemory)
        assert answer == make(babbling)[0].chat("one", max_tokens=100).text

    run(work())


def test_one_stream_may_be_read_by_several_tasks_at_once(make: Make) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.001)

    async def work() -> None:
        stream = model.astream("one", max_tokens=60)

        async def part() -> list[str]:
            return [event.text async for event in stream]

        found = await asyncio.gather(*(part() for _ in range(3)))
        assert sorted("".join(map("".join, found))) == sorted(stream.completion.text)

    run(work())


def test_a_stream_that_is_closed_while_another_task_reads_it(make: Make) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.002)

    async def work() -> None:
        stream = model.astream("one", max_tokens=5000)
        await anext(stream)

        async def rest() -> int:
            return len([event async for event in stream])

        reading = asyncio.create_task(rest())
        await asyncio.sleep(0.02)
        await stream.aclose()
        count = await reading
        assert len(stream.completion.tokens) == 1 + count
        assert lanes(model) == []

    run(work())


def test_a_stream_that_is_dropped_leaves_the_batch(make: Make) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.001)

    async def work() -> None:
        stream = model.astream("one", max_tokens=5000)
        await anext(stream)
        del stream
        gc.collect()
        await until(lambda: lanes(model) == [])
        assert (await model.achat("two", max_tokens=3)).text

    run(work())


def test_a_stream_goes_on_in_another_loop(make: Make) -> None:
    model, _ = make(babbling)
    stream = model.astream("one", max_tokens=80)

    async def some() -> str:
        return "".join([(await anext(stream)).text for _ in range(30)])

    async def rest() -> str:
        return joined([event async for event in stream])

    text = asyncio.run(some()) + asyncio.run(rest())
    assert text == make(babbling)[0].chat("one", max_tokens=80).text


def test_a_loop_that_is_closed_with_open_streams_keeps_nobody_waiting(make: Make) -> None:
    model, program = make(babbling)
    program.during = lambda _tokens: time.sleep(0.0005)
    loop = asyncio.new_event_loop()
    stream = model.astream("one", max_tokens=5000)
    loop.run_until_complete(anext(stream))
    loop.close()
    assert model.chat("two", max_tokens=50).text == (
        make(babbling)[0].chat("two", max_tokens=50).text
    )
    deadline = time.monotonic() + 60
    while drivers():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with suppress(RuntimeError):
        del stream


def test_a_request_that_is_refused_begins_nothing(make: Make) -> None:
    model, _ = make(saying("Hi"), context=50)

    async def work() -> None:
        calls = [model.achat("x" * 100), read(model, "x" * 100), model.achat("Hello")]
        *refused, answer = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error).__name__ for error in refused] == ["ContextLengthExceeded"] * 2
        assert getattr(answer, "text", "") == "Hi"

    run(work())
