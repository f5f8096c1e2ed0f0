"""How long a question to a larger model may take, and who ends it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cactus import Cloud, Model
from cactus.errors import Cancelled
from tests.cloud.conftest import UNSURE, cloud_of
from tests.cloud.test_exchange import gone
from tests.cloud.test_handoff import check_answered, shown
from tests.cloud_server import KEY, CloudServer, delta, hangs, refuses, says, streams
from tests.generate.scripted import InThread, scripted_engine

Make = Callable[..., Model]


# -- time


def test_the_model_goes_on_while_the_cloud_is_asked(
    server: CloudServer, unsure_model: Make
) -> None:
    server.behave(hangs)
    model = unsure_model("x" * 60)
    program: Any = model._engine.program
    found = InThread(lambda: model.chat("Hi", max_tokens=50))
    assert gone(lambda: len(program.steps) >= 50), "it waited for the cloud"
    assert found.running
    model.stop()
    done = found.result()
    assert len(done.text) == 50 and done.handoff.code == "cancelled"


def test_the_cloud_may_be_first(server: CloudServer, unsure_model: Make) -> None:
    model = unsure_model("x" * 3000, context=4000)
    program: Any = model._engine.program
    program.during = lambda _tokens: time.sleep(0.005)
    done = model.chat("Hi", max_tokens=3000)
    check_answered(done)
    assert len(program.steps) < 3000
    assert model.chat("Hi", confidence_threshold=0, max_tokens=3).text == "xxx"


# -- ending it


@pytest.mark.parametrize("how", ["stop", "close", "cancel", "close the stream", "interrupt"])
def test_whoever_ends_a_call_ends_the_question(
    server: CloudServer, unsure_model: Make, how: str
) -> None:
    server.behave(hangs)
    model = unsure_model()
    if how == "cancel":

        async def work() -> None:
            task = asyncio.create_task(model.achat("Hi"))
            while not server.received:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(work())
    elif how == "close the stream":
        stream = model.astream("Hi")

        async def end() -> None:
            reading = asyncio.create_task(stream.__anext__())
            while not server.received:
                await asyncio.sleep(0.005)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await stream.aclose()

        asyncio.run(end())
    else:
        found = InThread(lambda: model.chat("Hi"))
        assert gone(lambda: bool(server.received))
        if how == "interrupt":
            import ctypes

            thread = ctypes.c_ulong(found.thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                found.result()
        elif how == "close":
            model.close()
            with pytest.raises(Cancelled):
                found.result()
        else:
            model.stop()
            done = found.result()
            assert (done.text, done.finish_reason) == ("said here", "stop")
    assert gone(lambda: server.open_connections == 0)
    assert gone(lambda: all(t.name != "cactus-cloud" for t in threading.enumerate()))


def test_a_stream_that_is_stopped_keeps_what_was_shown(
    server: CloudServer, unsure_model: Make
) -> None:
    server.behave(streams(delta(content="from the "), then=hangs))
    model = unsure_model()
    with model.stream("Hi") as stream:
        events = [next(stream)]
        stream.stop()
        events += list(stream)
        done = stream.completion
    assert shown(events) == done.text == "from the " and done.finish_reason == "cancelled"


def test_many_conversations_are_asked_one_by_one(server: CloudServer) -> None:
    def script(history: list[int], answered: int) -> tuple[int, float]:
        number = bytes(history).decode("latin-1").split("u:")[1][0]
        tokens = [*f"local {number}".encode(), 256]
        return tokens[min(answered, len(tokens) - 1)], UNSURE if number in "135" else 0.01

    with Model.from_engine(scripted_engine(script), cloud_of(server)) as model:
        server.behave(says("cloud"), refuses(401), says("cloud"))
        done = model.chat_many([str(n) for n in range(6)])
    assert [bool(each.handoff) for each in done] == [False, True] * 3
    assert [done[n].text for n in (0, 2, 4)] == ["local 0", "local 2", "local 4"]
    answered = [n for n in (1, 3, 5) if done[n].handoff.answered]  # type: ignore[union-attr]
    assert len(answered) == 2 and all(done[n].text == "cloud" for n in answered)
    (failed,) = {1, 3, 5} - set(answered)
    assert done[failed].text == f"local {failed}"


def test_many_that_are_stopped_give_what_is_there(server: CloudServer, unsure_model: Make) -> None:
    server.behave(hangs)
    model = unsure_model()
    found = InThread(lambda: model.chat_many(["one", "two"]))
    assert gone(lambda: len(server.received) == 2)
    model.stop()
    assert [done.text for done in found.result()] == ["said here"] * 2
    assert gone(lambda: server.open_connections == 0)


def test_conversations_of_others_go_on_meanwhile(server: CloudServer, unsure_model: Make) -> None:
    server.behave(hangs)
    model = unsure_model()
    found = InThread(lambda: model.chat("Hi"))
    assert gone(lambda: bool(server.received))
    assert model.chat("Hi", allow_cloud=False).text == "said here"
    assert found.running
    model.stop()
    found.result()


@pytest.mark.fault("F79")
def test_the_key_is_in_no_representation_of_what_is_at_work(
    server: CloudServer, unsure_model: Make
) -> None:
    cloud = cloud_of(server)
    model = unsure_model(cloud=cloud)
    texts = [repr(cloud), repr(model), repr(vars(model)), repr(model.chat("Hi"))]
    with model.stream("Hi") as stream:
        next(stream)
        texts += [repr(stream), repr(vars(stream)), repr(vars(stream._generation))]
    assert not any(KEY in text for text in texts)


def test_a_cloud_can_be_used_by_several_models(server: CloudServer, unsure_model: Make) -> None:
    cloud = Cloud(KEY, server.url, "large", certificates=server.authority)
    for model in (unsure_model(cloud=cloud), unsure_model(cloud=cloud)):
        check_answered(model.chat("Hi"))
    assert repr(cloud) == f"<Cloud large at {cloud.asker.settings.host}>"
