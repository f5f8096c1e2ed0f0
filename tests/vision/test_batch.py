"""Chats with images beside others: whatever is stopped, interrupted or fails, others are right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cactus.errors import Cancelled, InsufficientMemory, InvalidImage, ModelClosed
from cactus.generate.chat import Chat
from cactus.model import Model
from cactus.vision import sight
from tests.api.test_interrupts import Interrupt
from tests.generate.scripted import END, InThread, ScriptedSampler, babbling, lanes, wait_until
from tests.vision.scripted import DrawnVision, asked, drawing, seeing_model

Make = Callable[..., tuple[Model, Any, DrawnVision]]

TALKS: list[Any] = [
    "no image",
    asked("one", drawing(1)),
    asked("two", drawing(2, 3, 7)),
    asked("both", drawing(1), drawing(2, 3, 7)),
    [*asked("first", drawing(3, 2, 4)), *asked("then", drawing(1))],
    "another without",
]


def rambling(history: list[int], answered: int) -> int:
    letter = babbling(history, answered)
    return END if letter % 9 == 0 and answered > 3 else letter


@pytest.fixture
def make() -> Iterator[Make]:
    models: list[Model] = []

    def build(script: Any = rambling, **options: Any) -> tuple[Model, Any, DrawnVision]:
        made = seeing_model(script, **{"chunk": 16, "context": 2000, **options})
        models.append(made[0])
        return made

    yield build
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """The answer to each talk, of a model that answers nothing else."""
    found = []
    for talk in TALKS:
        with seeing_model(rambling, chunk=2000, context=2000)[0] as model:
            found.append(model.chat(talk, max_tokens=20).text)
    return found


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("chunk", "budget"), [(3, 0), (16, 30), (64, 1 << 20)])
def test_whoever_joins_leaves_and_stops_no_answer_changes(
    make: Make, alone: list[str], chunk: int, budget: int
) -> None:
    model, _program, _ = make(chunk=chunk, budget=budget, slope=0.0)
    before = ScriptedSampler.open_samplers

    def work(number: int) -> None:
        chance = random.Random(100 * chunk + number)
        for _ in range(6):
            at = chance.randrange(len(TALKS))
            kind = chance.choice(["chat", "stream", "close", "many", "forget"])
            if kind == "many":
                order = chance.choices(range(len(TALKS)), k=4)
                answers = model.chat_many([TALKS[n] for n in order], max_tokens=20)
                assert [answer.text for answer in answers] == [alone[n] for n in order]
            elif kind == "chat":
                assert model.chat(TALKS[at], max_tokens=20).text == alone[at]
            elif kind == "forget":
                model.reset()
            else:
                shown = ""
                with model.stream(TALKS[at], max_tokens=20) as stream:
                    for event in stream:
                        shown += event.text
                        if kind == "close" and chance.random() < 0.2:
                            break
                assert alone[at].startswith(shown) and (kind == "close" or shown == alone[at])

    for thread in [InThread(lambda n=n: work(n)) for n in range(5)]:  # type: ignore[misc]
        thread.result(50)
    assert lanes(model) == [] and ScriptedSampler.open_samplers == before


@pytest.mark.timeout(30)
def test_a_stop_within_a_tile_ends_that_chat_and_no_other(make: Make, alone: list[str]) -> None:
    model, _, vision = make(budget=0)
    inside, go = threading.Event(), threading.Event()

    def hold(tile: tuple[int, ...]) -> None:
        if tile[0] > 2000:
            inside.set()
            assert go.wait(10)

    vision.during = hold
    victim = model.stream(TALKS[2], max_tokens=20)
    reader = InThread(lambda: "".join(event.text for event in victim))
    assert inside.wait(10)
    other = InThread(lambda: model.chat(TALKS[1], max_tokens=20).text)
    wait_until(lambda: len(lanes(model)) == 2)
    victim.stop()
    go.set()
    assert reader.result() == "" and victim.completion.finish_reason == "cancelled"
    assert victim.completion.metrics.encoded_tiles == 0
    assert other.result() == alone[1]
    vision.during = lambda tile: None
    assert model.chat(TALKS[2], max_tokens=20).text == alone[2]


@pytest.mark.timeout(30)
def test_a_model_that_is_closed_within_a_tile_ends_the_chat(make: Make) -> None:
    model, program, vision = make()
    inside, go = threading.Event(), threading.Event()
    vision.during = lambda tile: (inside.set(), go.wait(10))
    chat = InThread(lambda: model.chat(TALKS[2]))
    assert inside.wait(10)
    closer = InThread(model.close)
    wait_until(lambda: model.closed)
    go.set()
    closer.result()
    with pytest.raises(Cancelled):
        chat.result()
    assert program.closed


@pytest.mark.timeout(30)
@pytest.mark.parametrize("error", [InsufficientMemory("none left"), ValueError("a bug")])
def test_what_goes_wrong_in_a_tile_ends_that_chat_alone(
    make: Make, alone: list[str], error: Exception
) -> None:
    model, _, vision = make()

    def fail(tile: tuple[int, ...]) -> None:
        if tile[0] > 3000:
            raise error

    vision.during = fail
    others = [0, 1, 2, 5]
    calls = [InThread(lambda n=n: model.chat(TALKS[n], max_tokens=20).text) for n in others]  # type: ignore[misc]
    with pytest.raises(type(error), match=str(error)):
        model.chat(TALKS[4])
    assert [call.result() for call in calls] == [alone[n] for n in others]
    assert lanes(model) == []


@pytest.mark.timeout(30)
def test_what_a_progress_raises_ends_its_own_chat(make: Make, alone: list[str]) -> None:
    model, _, _ = make()

    def progress(label: str, done: int, total: int) -> None:
        raise RuntimeError("no more room on the screen")

    with pytest.raises(RuntimeError, match="no more room"):
        model.chat(TALKS[2], image_progress=progress)
    assert model.chat(TALKS[2], max_tokens=20).text == alone[2]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_a_chat_that_gave_its_memory_up_reads_its_images_again(
    make: Make, alone: list[str], budget: int
) -> None:
    model, program, _ = make(budget=budget)
    step = program.step

    def limited(rows: Any, stop: Any = None) -> Any:
        if program.kv_bytes + sum(len(row.tokens) for row in rows) > 90:
            raise InsufficientMemory("no memory")
        return step(rows, stop)

    program.step = limited
    calls = [InThread(lambda n=n: model.chat(TALKS[n], max_tokens=20).text) for n in range(6)]  # type: ignore[misc]
    assert [call.result() for call in calls] == alone


@pytest.mark.timeout(30)
def test_a_model_that_goes_back_into_an_image_reads_its_features_again(make: Make) -> None:
    for budget in (0, 1 << 20):
        model, _, vision = make(babbling, grain=32, budget=budget)
        fresh, _, _ = make(babbling)
        image = drawing(1, 2, 20)
        model.chat(asked("What is this?", image), max_tokens=5)
        other = asked("What is that?", image)
        assert model.chat(other, max_tokens=9).text == fresh.chat(other, max_tokens=9).text
        assert len(vision.looked) == (2 if budget else 3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_an_interrupt_anywhere_hangs_nobody_and_changes_no_answer(
    make: Make, alone: list[str], budget: int
) -> None:
    def interrupted(at: int) -> int:
        model, program, _ = make(budget=budget)
        model.chat(TALKS[1], max_tokens=2)
        interrupt = Interrupt(at)
        victim = InThread(lambda: interrupt.run(lambda: model.chat(TALKS[2], max_tokens=3)))
        error = victim.result(15)
        assert isinstance(error, KeyboardInterrupt) or not interrupt.where, (interrupt.where, error)
        for n in (2, 1):
            after = InThread(lambda n=n: model.chat(TALKS[n], max_tokens=20).text)  # type: ignore[misc]
            assert after.result(15) == alone[n], interrupt.where
        chat: Any = model._workers[Chat]
        assert chat._batch._lanes == [], interrupt.where
        InThread(model.close).result(15)
        assert program.closed, interrupt.where
        return interrupt.count

    places = interrupted(0)
    for at in random.Random(budget).sample(range(1, places + 1), 60):
        interrupted(at)


def test_images_are_answered_in_every_form_of_a_call(make: Make, alone: list[str]) -> None:
    import asyncio

    model, _, _ = make()
    told: list[int] = []

    async def ask() -> list[str]:
        def progress(label: str, done: int, total: int) -> None:
            asyncio.get_running_loop()  # it is called in the loop
            told.append(done)

        one = await model.achat(TALKS[1], max_tokens=20, image_progress=progress)
        stream = model.astream(TALKS[2], max_tokens=20)
        two = "".join([event.text async for event in stream])
        many = await model.achat_many(TALKS[3:5], max_tokens=20)
        return [one.text, two, *(each.text for each in many)]

    assert asyncio.run(ask()) == alone[1:5]
    assert told == [0, 1]
    with model.chat_as_completed(TALKS, max_tokens=20) as answers:
        assert {n: answer.text for n, answer in answers} == dict(enumerate(alone))
    with pytest.raises(ModelClosed):
        model.close()
        model.chat(TALKS[1])


def test_of_many_images_only_some_wait_decoded(
    make: Make, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "HELD", 22)
    model, _, vision = make()
    done = model.chat_many(TALKS, max_tokens=20)
    assert [each.text for each in done] == alone
    assert vision.door.loaded > 6  # some once more


def test_an_image_that_changes_before_it_is_looked_at_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "HELD", 0)
    model, _, vision = make()
    images = iter([drawing(1), drawing(2)])
    vision.door.load = lambda image: next(images)  # type: ignore[method-assign]
    with pytest.raises(InvalidImage, match="an image has changed since it was asked about"):
        model.chat(TALKS[1])
