"""What is remembered for one tenant is used for no other, and none keeps the others waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cactus.calls.tenant import acting_for
from cactus.generate import batch
from cactus.model import Model
from tests.generate.scripted import (
    InThread,
    babbling,
    lanes,
    scripted_engine,
    wait_until,
    with_program,
)

SYSTEM = "You answer as a parrot would, whatever is said, and you never say who taught you. "

TENANTS = (None, "one", "two")


@pytest.fixture
def make(scripted_model: Callable[..., Model]) -> Callable[..., tuple[Model, Any]]:
    return lambda **options: with_program(
        scripted_model(babbling, **{"chunk": 32, "context": 4000, **options})
    )


def cached(model: Model, text: str, tenant: str | None, *, apart: bool = True) -> int:
    with acting_for(tenant, apart=apart):
        return model.chat(text, max_tokens=4).metrics.cached_tokens


@pytest.mark.fault("F84")
@pytest.mark.parametrize("grain", [1, 16])
def test_a_prefix_of_one_tenant_is_read_again_for_each_other(make: Any, grain: int) -> None:
    model, program = make(grain=grain)
    for tenant in TENANTS:
        assert cached(model, SYSTEM + "Hello", tenant) == 0
    for tenant in TENANTS:
        assert cached(model, SYSTEM + "Hello", tenant) > len(SYSTEM) - grain
        assert cached(model, SYSTEM + "And now?", tenant) > len(SYSTEM) - grain
    assert cached(model, SYSTEM + "Hello", "three") == 0
    assert sum(not session.closed for session in program.sessions) >= len(TENANTS)


def test_tenants_that_are_not_apart_have_one_memory(make: Any) -> None:
    model, _ = make()
    assert cached(model, SYSTEM, "one", apart=False) == 0
    for tenant in TENANTS:
        assert cached(model, SYSTEM, tenant, apart=False) > len(SYSTEM)
    assert cached(model, SYSTEM, "one") == 0
    assert cached(model, SYSTEM, None) > len(SYSTEM), "nobody in particular is never apart"


@pytest.mark.fault("F84")
def test_a_prefix_that_is_being_read_is_not_shared_either(make: Any) -> None:
    model, program = make(chunk=16)
    reached, go = threading.Event(), threading.Event()

    def hold(_tokens: object) -> None:
        reached.set()
        go.wait(10)

    def ask(tenant: str | None, name: str) -> int:
        return cached(model, SYSTEM + name, tenant)

    program.during = hold
    first = InThread(lambda: ask("one", "first"))
    assert reached.wait(10)
    same, other = InThread(lambda: ask("one", "same")), InThread(lambda: ask("two", "other"))
    wait_until(lambda: len(lanes(model)) == 3)
    go.set()
    assert first.result() == other.result() == 0
    assert same.result() == len("u:" + SYSTEM)


def test_what_one_goes_on_with_leaves_the_same_of_another_remembered(make: Any) -> None:
    model, _ = make()
    talk = [{"role": "user", "content": SYSTEM}]
    for tenant in ("one", "two"):
        with acting_for(tenant):
            answer = model.chat(talk, max_tokens=4)
    longer = [*talk, answer.message, {"role": "user", "content": "And then?"}]
    for tenant in ("one", "two"):
        with acting_for(tenant):
            assert model.chat(longer, max_tokens=4).metrics.cached_tokens > len(SYSTEM)


def test_tenants_are_those_of_the_task_or_thread_that_calls(make: Any) -> None:
    model, _ = make()

    async def ask(tenant: str) -> list[int]:
        with acting_for(tenant):
            found = [await model.achat(SYSTEM + "1", max_tokens=4) for _ in range(2)]
            async with model.astream(SYSTEM + "2", max_tokens=4) as stream:
                async for _ in stream:
                    pass
            found.append(stream.completion)
            (many,) = await model.achat_many([SYSTEM + "3"], max_tokens=4)
            found.append(many)
        return [answer.metrics.cached_tokens for answer in found]

    async def work() -> list[list[int]]:
        return [await ask("one"), *await asyncio.gather(ask("two"), ask("three"))]

    for first, *others in asyncio.run(work()):
        assert first == 0 and all(number >= len(SYSTEM) for number in others)
    assert model.chat(SYSTEM, max_tokens=4).metrics.cached_tokens == 0
    with acting_for("four"), model.stream(SYSTEM, max_tokens=4) as stream:
        list(stream)
    assert stream.completion.metrics.cached_tokens == 0


def test_tools_are_called_for_the_one_who_asks(make: Any) -> None:
    model, program = make()

    def now() -> str:
        """The time."""
        return "noon"

    def read(tenant: str) -> int:
        before = len(program.fed)
        with acting_for(tenant):
            asyncio.run(model.arun_tools(SYSTEM, tools=[now], max_tokens=4))
        return len(program.fed) - before

    assert read("one") > len(SYSTEM) > read("one")
    assert read("two") > len(SYSTEM)


@pytest.mark.fault("F84")
def test_a_draft_keeps_tenants_apart_too(make: Any) -> None:
    small = scripted_engine(babbling, slope=0.0, chunk=40, context=4000)
    model, _ = make(draft=small, slope=0.0)
    program: Any = small.program

    def drafted(tenant: str) -> bool:
        """Whether the draft has read the whole of it."""
        before = len(program.fed)
        with acting_for(tenant):
            model.chat(SYSTEM * 3, max_tokens=100)
        return len(program.fed) - before > len(SYSTEM) * 3

    assert drafted("one") and not drafted("one") and drafted("two")


@pytest.mark.parametrize("apart", [True, False])
def test_of_many_that_wait_for_a_place_each_tenant_has_one_in_turn(
    make: Any, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    monkeypatch.setattr(batch, "MOST", 2)
    model, program = make()
    all_there = threading.Event()
    program.during = lambda _tokens: all_there.wait(10)
    ended: list[str] = []

    async def ask(tenant: str, number: int) -> None:
        with acting_for(tenant, apart=apart):
            await model.achat(f"{tenant} {number}", max_tokens=30)
        ended.append(tenant)

    def are_there(count: int) -> bool:
        return bool(model._workers) and len(lanes(model)) == count

    async def work() -> None:
        tasks: list[asyncio.Task[None]] = []
        for count, tenant in ((12, "many"), (2, "few")):
            tasks += [asyncio.create_task(ask(tenant, n)) for n in range(count)]
            await asyncio.to_thread(wait_until, partial(are_there, len(tasks)))
        all_there.set()
        await asyncio.gather(*tasks)

    asyncio.run(work())
    assert ended[:6].count("few") == 2


def test_a_native_model_reads_a_prefix_once_for_each_tenant(tiny_model: Path) -> None:
    with Model(tiny_model, threads=1, cache_bytes=1 << 26) as model:
        answers = {}
        for tenant in TENANTS:
            with acting_for(tenant):
                answers[tenant] = model.chat(SYSTEM, max_tokens=8)
            assert answers[tenant].metrics.cached_tokens == 0
        for tenant in TENANTS:
            with acting_for(tenant):
                again = model.chat(SYSTEM, max_tokens=8)
            assert again.metrics.cached_tokens > len(SYSTEM) // 2
            assert again.logprobs == answers[tenant].logprobs == answers[None].logprobs
