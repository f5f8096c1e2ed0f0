"""The loop: functions run, their results go back, until the model is done."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from cactus.agent.results import ToolCall, ToolEvent, ToolRun
from cactus.errors import ContextLengthExceeded, InvalidRequest, ModelClosed
from cactus.model import Model
from tests.generate.scripted import END, InThread, wait_until

pytestmark = pytest.mark.timeout(60)


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def turns(*answers: str) -> Callable[[list[int], int], int]:
    """A script that gives one answer after another: the n-th after n results of tools."""

    def script(history: list[int], answered: int) -> int:
        asked = bytes(history[: len(history) - answered])
        done = asked.count(b"\na:") - 1  # answers before this one
        text = answers[min(done, len(answers) - 1)].encode()
        return text[answered] if answered < len(text) else END

    return script


def get_weather(city: str, unit: Literal["c", "f"] = "c") -> dict[str, Any]:
    """Get the weather."""
    return {"city": city, "temperature": 22, "unit": unit}


@dataclass
class Place:
    city: str


def broken(x: int) -> int:
    """Divide by nothing."""
    return x // 0


Make = Callable[..., Model]


def made(scripted_model: Make, *answers: str) -> Model:
    return scripted_model(turns(*answers), context=20_000, chunk=512)


def test_a_call_is_run_and_its_result_answered(scripted_model: Make) -> None:
    model = made(scripted_model, call("get_weather", city="Paris"), "It is warm.")
    run = model.run_tools("Weather?", tools=[get_weather])
    assert (str(run), run.finish_reason, len(run.steps)) == ("It is warm.", "stop", 2)
    result = run.results[0]
    assert result.value == get_weather("Paris") and result.error is None
    assert result.text == '{"city": "Paris", "temperature": 22, "unit": "c"}'
    roles = [message["role"] for message in run.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    asked, told = run.messages[1]["tool_calls"][0], run.messages[2]
    assert told == {
        "role": "tool",
        "tool_call_id": asked["id"],
        "name": "get_weather",
        "content": result.text,
    }
    assert run.pending == ()


def test_the_history_can_be_gone_on_with(scripted_model: Make) -> None:
    model = made(scripted_model, call("get_weather", city="Paris"), "Warm.")
    given = [{"role": "user", "content": "Weather?"}]
    run = model.run_tools(given, tools=[get_weather])
    assert given == [{"role": "user", "content": "Weather?"}]
    again = model.run_tools(
        [*run.messages, {"role": "user", "content": "Thanks"}], tools=[get_weather]
    )
    assert again.text == "Warm." and len(again.messages) == 6


def test_an_answer_without_calls_is_the_end(scripted_model: Make) -> None:
    run = made(scripted_model, "Hello.").run_tools("Hi", tools=[get_weather])
    assert (run.text, run.finish_reason, run.results) == ("Hello.", "stop", ())


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("get_weather", {}, "Error: get_weather: city missing"),
        ("get_weather", {"city": 3}, "Error: get_weather.city: expected a string, got 3"),
        ("get_weather", {"city": "x", "unit": "k"}, "Error: get_weather.unit: expected one of"),
        ("broken", {"x": 1}, "Error: ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_what_goes_wrong_in_a_call_is_told_to_the_model(
    scripted_model: Make, name: str, arguments: dict[str, Any], told: str
) -> None:
    model = made(scripted_model, call(name, **arguments), "Sorry.")
    run = model.run_tools("Go", tools=[get_weather, broken])
    assert run.text == "Sorry."
    assert run.results[0].text.startswith(told) and run.results[0].error is not None


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise AssertionError("n is negative")


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_errors_of_the_callers_own_classes_are_told_to_the_model(scripted_model: Make) -> None:
    def take(x: Positive) -> None:
        raise SpeechlessError

    model = made(scripted_model, call("take", x={"n": -1}), call("take", x={"n": 1}), "Sorry.")
    run = model.run_tools("Go", tools=[take])
    assert [result.text for result in run.results] == [
        "Error: take.x: AssertionError: n is negative",
        "Error: SpeechlessError",
    ]


def test_what_a_function_raises_is_raised_where_that_is_asked_for(scripted_model: Make) -> None:
    model = made(scripted_model, call("broken", x=1), "Sorry.")
    with pytest.raises(ZeroDivisionError):
        model.run_tools("Go", tools=[broken], raise_errors=True)
    assert model.chat("Go").text  # the model is free again


def test_arguments_are_built_into_the_declared_types(scripted_model: Make) -> None:
    seen = []

    def look(places: list[Place]) -> str:
        """Look."""
        seen.append(places)
        return "seen"

    model = made(scripted_model, call("look", places=[{"city": "Rome"}]), "Done.")
    model.run_tools("Go", tools=[look])
    assert seen == [[Place("Rome")]]


def test_several_calls_run_together_and_their_results_are_in_order(scripted_model: Make) -> None:
    met = threading.Barrier(2, timeout=20)

    def first(x: int) -> str:
        """First."""
        met.wait()
        time.sleep(0.02)
        return "one"

    def second(x: int) -> str:
        """Second."""
        met.wait()
        return "two"

    model = made(scripted_model, call("first", x=1) + "\n" + call("second", x=2), "Done.")
    with model.run_tools_stream("Go", tools=[first, second]) as stream:
        events = list(stream)
    assert [e.call.name for e in events if e.kind == "call" and e.call] == ["first", "second"]
    assert [e.text for e in events if e.kind == "result"] == ["two", "one"]
    assert [result.text for result in stream.result.results] == ["one", "two"]
    contents = [m["content"] for m in stream.result.messages if m["role"] == "tool"]
    assert contents == ["one", "two"]


def test_a_single_call_runs_in_the_thread_of_the_caller(scripted_model: Make) -> None:
    seen = []

    def where() -> str:
        """Where."""
        seen.append(threading.current_thread())
        return "here"

    made(scripted_model, call("where"), "Done.").run_tools("Go", tools=[where])
    assert seen == [threading.current_thread()]


def test_context_variables_reach_the_functions(scripted_model: Make) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    def who(x: int) -> str:
        """Who."""
        return user.get()

    user.set("ann")
    model = made(scripted_model, call("who", x=1) + "\n" + call("who", x=2), "Done.")
    run = model.run_tools("Go", tools=[who])
    assert [result.text for result in run.results] == ["ann", "ann"]

    async def away() -> ToolRun:
        return await model.arun_tools("Go", tools=[who])

    assert [result.text for result in asyncio.run(away()).results] == ["ann", "ann"]


def test_who_repeats_a_call_in_vain_is_shown_no_tools(scripted_model: Make) -> None:
    model = made(scripted_model, call("get_weather", city="Paris"))
    run = model.run_tools("Go", tools=[get_weather])
    assert (run.finish_reason, len(run.steps), len(run.results)) == ("stop", 3, 2)
    assert [step.completion.tools_kept for step in run.steps] == [("get_weather",)] * 2 + [()]
    assert [message["role"] for message in run.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_call_is_repeated_as_long_as_its_result_changes(scripted_model: Make) -> None:
    left = [3]

    def poll() -> int:
        """Poll."""
        left[0] -= 1
        return left[0]

    run = made(scripted_model, call("poll")).run_tools("Go", tools=[poll], max_steps=5)
    assert run.finish_reason == "max_steps" and [r.value for r in run.results] == [2, 1, 0, -1]


def test_a_result_that_does_not_fit_is_taken_back_and_said(scripted_model: Make) -> None:
    def read(size: int) -> str:
        """Read a file."""
        return "x" * size

    both = call("read", size=50_000) + call("read", size=10)
    run = made(scripted_model, both, "Too long.").run_tools("Read them.", tools=[read])
    assert (run.text, run.finish_reason) == ("Too long.", "stop")
    long, short = run.results
    assert long.text.startswith("Error: the result has 50000 characters, too long: the prompt has")
    assert isinstance(long.error, ContextLengthExceeded) and long.value == "x" * 50_000
    assert short.text == "x" * 10
    assert [message["content"] for message in run.messages[2:4]] == [long.text, short.text]


def test_where_the_context_is_full_the_run_ends_with_what_there_is(scripted_model: Make) -> None:
    said = call("get_weather", city="Paris")
    size = made(scripted_model, said).count_tokens(
        [{"role": "user", "content": "Weather?"}], tools=[get_weather]
    )
    model = scripted_model(turns(said), context=size + len(said) + 20, chunk=512)
    run = model.run_tools("Weather?", tools=[get_weather])
    assert (run.finish_reason, len(run.steps), run.pending) == ("length", 1, ())
    assert len(run.results) == 1


def test_a_result_without_end_is_an_error_for_the_model(scripted_model: Make) -> None:
    def count() -> Iterator[int]:
        """Count."""
        return itertools.count()

    run = made(scripted_model, call("count"), "No.").run_tools("Count.", tools=[count])
    assert run.results[0].text.endswith("gave more than 10,000 values: return a list")
    assert run.text == "No."


def test_the_limit_of_steps_is_kept_and_said(scripted_model: Make) -> None:
    model = made(scripted_model, *(call("get_weather", city=f"Paris {n}") for n in range(9)))
    run = model.run_tools("Go", tools=[get_weather], max_steps=3)
    assert (run.finish_reason, len(run.steps), len(run.results)) == ("max_steps", 3, 2)
    assert [call.name for call in run.pending] == ["get_weather"]


def test_only_what_was_passed_is_run_and_the_rest_is_the_callers(scripted_model: Make) -> None:
    mine = {"name": "mine", "description": "Mine.", "parameters": {"type": "object"}}
    both = call("get_weather", city="Rome") + "\n" + call("mine", x=1)
    run = made(scripted_model, both, "Done.").run_tools("Go", tools=[get_weather, mine])
    assert run.finish_reason == "tool_calls"
    assert [result.call.name for result in run.results] == ["get_weather"]
    assert [(call.name, call.arguments) for call in run.pending] == [("mine", {"x": 1})]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (False, "Error: the user did not allow this call"),
        ("not on Sundays", "Error: not on Sundays"),
    ],
)
def test_a_call_that_is_not_approved_is_not_run(
    scripted_model: Make, reply: Any, told: str
) -> None:
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> Any:
        asked.append(call)
        return reply

    def never(x: int) -> None:
        """Never."""
        raise AssertionError("it ran")

    model = made(scripted_model, call("never", x=1), "Well.")
    run = model.run_tools("Go", tools=[never], approve=approve, raise_errors=True)
    assert [(each.name, each.arguments) for each in asked] == [("never", {"x": 1})]
    assert run.text == "Well." and run.results[0].text == told


def test_a_call_that_is_approved_runs_and_bad_arguments_are_not_asked_about(
    scripted_model: Make,
) -> None:
    asked = []

    def approve(call: ToolCall) -> bool:
        asked.append(call.arguments)
        return True

    wrong, right = call("get_weather"), call("get_weather", city="Rome")
    run = made(scripted_model, wrong, right, "Ok.").run_tools(
        "Go", tools=[get_weather], approve=approve
    )
    assert asked == [{"city": "Rome"}] and len(run.results) == 2


def test_approval_may_be_awaited(scripted_model: Make) -> None:
    async def approve(call: ToolCall) -> bool:
        await asyncio.sleep(0)
        return call.arguments["city"] != "Rome"

    both = call("get_weather", city="Rome") + "\n" + call("get_weather", city="Oslo")
    model = made(scripted_model, both, "Ok.")
    run = model.run_tools("Go", tools=[get_weather], approve=approve)
    assert [result.error is None for result in run.results] == [False, True]

    async def later() -> ToolRun:
        return await model.arun_tools("Go", tools=[get_weather], approve=approve)

    assert [result.error is None for result in asyncio.run(later()).results] == [False, True]


@pytest.mark.parametrize("names", [("first",), ("first", "second")])
def test_what_a_thread_raises_reaches_the_caller(
    scripted_model: Make, names: tuple[str, ...]
) -> None:
    def first() -> None:
        """First."""
        raise SystemExit(3)

    def second() -> None:
        """Second."""

    model = made(scripted_model, "\n".join(map(call, names)), "Ok.")
    with pytest.raises(SystemExit):
        model.run_tools("Go", tools=[first, second])


def test_a_stream_tells_everything_in_order(scripted_model: Make) -> None:
    model = made(scripted_model, "Let me see. " + call("get_weather", city="Oslo"), "Cold.")
    with model.run_tools_stream("Go", tools=[get_weather]) as stream:
        with pytest.raises(InvalidRequest, match="has no result"):
            _ = stream.result
        events = list(stream)
    kinds = [event.kind for event in events]
    assert kinds.index("call") + 1 == kinds.index("result")
    for step, text in ((1, "Let me see."), (2, "Cold.")):
        said = [e.text for e in events if e.kind == "text" and e.step == step]
        assert "".join(said).strip() == text
    assert stream.result.text == "Cold."


def test_a_stream_that_is_closed_ends_the_run(scripted_model: Make) -> None:
    model = made(scripted_model, call("get_weather", city="Oslo"), "Cold" * 50)
    with model.run_tools_stream("Go", tools=[get_weather]) as stream:
        for event in stream:
            if event.step == 2:
                break
    run = stream.result
    assert run.finish_reason == "cancelled" and len(run.steps) == 2
    assert run.text.startswith("C") and len(run.results) == 1


def test_stop_ends_a_run_between_two_answers(scripted_model: Make) -> None:
    model = made(scripted_model, call("halt"))

    def halt() -> str:
        """Halt."""
        model.stop()
        return "halted"

    run = model.run_tools("Go", tools=[halt])
    assert (run.finish_reason, len(run.steps)) == ("cancelled", 1)
    assert run.results[0].text == "halted"


def test_close_ends_a_run_with_an_error(scripted_model: Make) -> None:
    model = made(scripted_model, call("shut"))

    def shut() -> None:
        """Shut."""
        model.close()

    with pytest.raises(Exception, match="destroyed") as caught:
        model.run_tools("Go", tools=[shut])
    assert not isinstance(caught.value, ModelClosed)
    with pytest.raises(ModelClosed):
        model.run_tools("Go", tools=[shut])


async def slow(city: str) -> str:
    """Slow."""
    await asyncio.sleep(0)
    return f"slow {city}"


def test_async_functions_run_in_the_sync_form_too(scripted_model: Make) -> None:
    model = made(scripted_model, call("slow", city="Rome"), "Done.")
    assert model.run_tools("Go", tools=[slow]).results[0].text == "slow Rome"

    async def notebook() -> ToolRun:
        return model.run_tools("Go", tools=[slow])  # where a loop runs in this very thread

    assert asyncio.run(notebook()).results[0].text == "slow Rome"


def test_async_functions_run_in_the_callers_loop(scripted_model: Make) -> None:
    loops = []

    async def look(x: int) -> str:
        """Look."""
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0.001)
        return str(x)

    model = made(scripted_model, call("look", x=1) + "\n" + call("look", x=2), "Done.")

    async def main() -> None:
        run = await model.arun_tools("Go", tools=[look])
        assert sorted(result.text for result in run.results) == ["1", "2"]
        events: list[ToolEvent] = []
        async with model.arun_tools_stream("Go", tools=[look]) as stream:
            async for event in stream:
                events.append(event)
        assert stream.result.text == run.text == "Done."
        assert {event.kind for event in events} == {"call", "result", "text"}
        assert set(loops) == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_a_cancelled_task_cancels_what_runs(scripted_model: Make) -> None:
    model = made(scripted_model, call("wait"))
    ended = []

    async def wait() -> None:
        """Wait."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(model.arun_tools("Go", tools=[wait]))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == ["cancelled"]


def test_stop_cancels_an_async_function(scripted_model: Make) -> None:
    model = made(scripted_model, call("wait"))
    begun = threading.Event()

    async def wait() -> None:
        """Wait."""
        begun.set()
        await asyncio.sleep(60)

    running = InThread(lambda: model.run_tools("Go", tools=[wait]))
    wait_until(begun.is_set)
    model.stop()
    run = running.result()
    assert run.finish_reason == "cancelled" and len(run.pending) == 1


def test_a_function_may_ask_its_own_model(scripted_model: Make) -> None:
    model = made(scripted_model, call("ask"), "Done.")

    def ask() -> str:
        """Ask."""
        return model.complete("x", max_tokens=3).text

    assert model.run_tools("Go", tools=[ask]).text == "Done."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": get_weather}, "tools: expected a list of functions or tool definitions"),
        ({"tools": [3]}, r"tools\[0\]: expected an object with a name"),
        ({"tools": [get_weather], "max_steps": 0}, "max_steps must be an integer from 1"),
        ({"tools": [get_weather], "approve": 3}, "approve must be a function, got int"),
        ({"tools": [get_weather], "raise_errors": 1}, "raise_errors must be True or False"),
        ({"tools": [get_weather], "tempratur": 1}, "did you mean temperature?"),
        ({"tools": [get_weather, get_weather]}, r"is the name of tools\[0\] too"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(
    scripted_model: Make, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        made(scripted_model, "Hi.").run_tools("Go", **options)
