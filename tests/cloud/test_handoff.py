"""A model that is unsure, and a larger one that is asked: in every form of a call."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cactus
from cactus import Cloud, Completion, Model, StreamEvent
from cactus.confidence.calibration import Calibration, Fit
from cactus.engine.loading import load
from cactus.errors import InvalidRequest, UnsupportedModel
from tests.cloud.conftest import UNSURE, cloud_of
from tests.cloud.test_exchange import TOOLS
from tests.cloud_server import (
    KEY,
    CloudServer,
    delta,
    refuses,
    resets,
    resets_when_heard,
    says,
    streams,
    tells,
)
from tests.generate.scripted import saying, scripted_engine

Make = Callable[..., Model]


def read(stream: Any) -> list[StreamEvent]:
    with stream:
        return list(stream)


def shown(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if event.kind == "text")


def check_answered(done: Completion) -> None:
    assert (done.text, done.finish_reason) == ("from the cloud", "stop")
    assert done.handoff is not None and done.handoff.answered and done.handoff.code is None
    assert done.handoff.model == "large" and done.handoff.host is not None
    assert done.tokens == () and done.logprobs == () and done.cloud_handoff
    assert done.confidence == done.handoff.confidence == pytest.approx(0.1)
    assert done.metrics.decode_tokens == 0 and done.metrics.prefill_tokens > 0
    assert done.metrics.total_time_ms >= done.metrics.time_to_first_token_ms > 0


def check_local(done: Completion, code: str) -> None:
    assert (done.text, done.finish_reason) == ("said here", "stop")
    assert done.handoff is not None and not done.handoff.answered
    assert done.handoff.code == code and done.handoff.reason
    assert done.tokens == tuple(b"said here") and not done.cloud_handoff


# -- every form of a call

FORMS: dict[str, Callable[[Model], Completion]] = {}


def form(work: Callable[[Model], Completion]) -> Callable[[Model], Completion]:
    FORMS[work.__name__] = work
    return work


@form
def chat(model: Model) -> Completion:
    return model.chat("Hi")


@form
def stream(model: Model) -> Completion:
    with model.stream("Hi") as events:
        text = shown(list(events))
        assert text == events.completion.text
        return events.completion


@form
def achat(model: Model) -> Completion:
    return asyncio.run(model.achat("Hi"))


@form
def astream(model: Model) -> Completion:
    async def work() -> Completion:
        async with model.astream("Hi") as events:
            text = shown([event async for event in events])
            assert text == events.completion.text
            return events.completion

    return asyncio.run(work())


@form
def conversation(model: Model) -> Completion:
    talk = model.conversation()
    done = talk.chat("Hi")
    assert talk.messages[-1]["content"] == done.text
    return done


@form
def many(model: Model) -> Completion:
    first, *rest = model.chat_many(["Hi"] * 3)
    assert [done.text for done in rest] == [first.text] * 2
    return first


@form
def as_completed(model: Model) -> Completion:
    results = dict(model.chat_as_completed(["Hi"] * 2))
    assert set(results) == {0, 1}
    return results[1]


@pytest.mark.parametrize("form", FORMS)
def test_an_unsure_model_asks_the_cloud(server: CloudServer, unsure_model: Make, form: str) -> None:
    server.behave(tells("from ", "the ", "cloud") if "stream" in form else says("from the cloud"))
    check_answered(FORMS[form](unsure_model()))
    assert server.last.body["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.fault("F76")
@pytest.mark.parametrize("form", FORMS)
def test_where_the_cloud_fails_the_model_answers(
    server: CloudServer, unsure_model: Make, form: str
) -> None:
    server.behave(refuses(401))
    check_local(FORMS[form](unsure_model()), "http_401")


@pytest.mark.parametrize("form", FORMS)
def test_a_sure_model_asks_nobody(server: CloudServer, unsure_model: Make, form: str) -> None:
    done = FORMS[form](unsure_model(at=99))
    assert done.text == "said here" and done.handoff is None and server.received == []


def flat(model: Model, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    monkeypatch.setattr("cactus.api.Model", lambda *_, **__: model)
    handle = cactus.cactus_init("scripted")
    assert handle is not None
    options.setdefault("confidence_threshold", 0.7)
    return json.loads(cactus.cactus_complete(handle, "Hi", **options))


@pytest.fixture
def configured(server: CloudServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACTUS_CLOUD_API_KEY", KEY)
    monkeypatch.setenv("CACTUS_CLOUD_BASE_URL", server.url)
    monkeypatch.setenv("CACTUS_CLOUD_MODEL", "large")
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))


@pytest.mark.usefixtures("configured")
def test_the_flat_functions_ask_what_is_set_up(
    server: CloudServer, unsure_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave(tells("from ", "the cloud"))
    heard: list[tuple[str, int]] = []
    row = flat(unsure_model(), monkeypatch, callback=lambda text, id, _: heard.append((text, id)))
    assert (row["success"], row["cloud_handoff"], row["error"]) == (True, True, None)
    assert row["response"] == "from the cloud" and len(row) == 14
    assert "".join(text for text, _ in heard) == row["response"]
    assert {id for _, id in heard} == {-1}


@pytest.mark.fault("F76")
@pytest.mark.usefixtures("configured")
def test_the_flat_functions_fall_back(
    server: CloudServer, unsure_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave(refuses(429))
    heard: list[str] = []
    row = flat(unsure_model(), monkeypatch, callback=lambda text, *_: heard.append(text))
    assert (row["success"], row["cloud_handoff"]) == (True, False)
    assert row["response"] == "".join(heard) == "said here"


@pytest.mark.fault("F78")
@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("how", ["environment", "option"])
def test_what_is_forbidden_is_not_done(
    server: CloudServer, unsure_model: Make, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options: dict[str, Any] = {}
    if how == "environment":
        monkeypatch.setenv("CACTUS_NO_CLOUD", "1")
    else:
        options["allow_cloud"] = False
    forbid_connections(monkeypatch)
    row = flat(unsure_model(), monkeypatch, **options)
    assert (row["success"], row["cloud_handoff"], row["response"]) == (False, True, None)
    # Of a typed model the cloud was the reason to look at confidence at all.
    assert unsure_model().chat("Hi", **options).text == "said here"
    assert server.received == []


def forbid_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> Any:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, forbidden)
    for name in ("getaddrinfo", "create_connection", "socketpair"):
        monkeypatch.setattr(socket, name, forbidden)


@pytest.mark.fault("F78")
def test_without_a_cloud_no_connection_is_opened(
    unsure_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_connections(monkeypatch)
    before = threading.active_count()
    row = flat(unsure_model(cloud=None), monkeypatch)
    assert (row["success"], row["cloud_handoff"], row["response"]) == (False, True, None)
    model = unsure_model(cloud=None)
    done = model.chat("Hi", confidence_threshold=0.7)
    assert (done.finish_reason, done.text, done.handoff) == ("handoff", "", None)
    assert model.chat("Hi").text == "said here"
    assert threading.active_count() <= before


@pytest.mark.usefixtures("configured")
def test_it_is_never_too_late_where_nothing_is_shown(
    server: CloudServer, unsure_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "abcdefghijklmnopqrstuvwxyz" * 2
    entropies = [0.01] * 20 + [UNSURE] * 20
    model = Model.from_engine(scripted_engine(saying(text, entropies=entropies)))
    assert flat(model, monkeypatch)["response"] == "from the cloud"
    heard: list[str] = []
    row = flat(model, monkeypatch, callback=lambda text, *_: heard.append(text))
    assert row["response"] == "".join(heard) == text and not row["cloud_handoff"]
    model.close()


@pytest.mark.fault("F76")
def test_settings_that_are_broken_are_a_cloud_that_fails(
    unsure_model: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cactus.cloud import store
    from cactus.cloud.secret import Secret

    store.save("https://example.com/v1", "large", Secret(KEY))
    store.settings_file().chmod(0o644)
    row = flat(unsure_model(), monkeypatch)
    assert (row["success"], row["response"]) == (True, "said here")
    assert "mode 0644" in caplog.text and KEY not in caplog.text


def test_a_threshold_that_is_given_counts(server: CloudServer, unsure_model: Make) -> None:
    assert unsure_model().chat("Hi", confidence_threshold=0.05).handoff is None
    assert unsure_model().chat("Hi", confidence_threshold=0).handoff is None
    assert server.received == []
    check_answered(unsure_model().chat("Hi", confidence_threshold=0.2))


def test_raw_text_is_not_asked_elsewhere(server: CloudServer, unsure_model: Make) -> None:
    assert unsure_model().complete("Hi").text == "said here"
    assert unsure_model().complete("Hi", confidence_threshold=0.7).finish_reason == "handoff"
    with pytest.raises(InvalidRequest, match="allow_cloud"):
        unsure_model().complete("Hi", allow_cloud=False)  # type: ignore[call-arg]
    assert server.received == []


def test_a_speech_model_has_no_use_for_a_cloud(speech_folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match="transcribe"):
        Model(speech_folder, cloud=Cloud(KEY, None, "large"))


def test_a_cloud_must_be_one() -> None:
    with pytest.raises(InvalidRequest, match=r"cloud must be a cactus\.Cloud, got str"):
        Model("nowhere", cloud="https://example.com")  # type: ignore[arg-type]


def test_tools_go_along_and_calls_come_back(server: CloudServer, unsure_model: Make) -> None:
    server.behave(says(None, [("weather", '{"city": "Rom"}')], "tool_calls"))
    call = {"name": "weather", "arguments": {"city": "Rom"}}
    options: dict[str, Any] = {"tools": TOOLS, "parallel_tool_calls": False}
    done = unsure_model(context=2000).chat("Hi", **options)
    assert done.finish_reason == "tool_calls" and done.text == ""
    assert done.function_calls == (call,) and done.call_ids == ("c0",)
    assert done.message["tool_calls"][0]["id"] == "c0"
    assert done.result().function_calls == [call]
    sent = server.last.body
    assert [t["function"]["name"] for t in sent["tools"]] == ["weather", "clock"]
    assert sent["parallel_tool_calls"] is False
    with unsure_model(context=2000).stream("Hi", **options) as stream:
        (event,) = list(stream)
        assert stream.completion.function_calls == (call,)
    piece = event.tool_call
    assert event.kind == "tool_call" and piece is not None
    assert (piece.index, piece.id, piece.name, piece.call) == (0, "c0", "weather", call)
    assert json.loads(piece.arguments) == {"city": "Rom"}


# What is forced says nothing about confidence; the argument has to be chosen.
NUMBER = {"enum": [1, 2]}
TOOL = {"name": "f", "parameters": {"properties": {"a": NUMBER}, "required": ["a"]}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"force_tools": True}, "required"),
        ({"tool_choice": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"tool_choice": "none"}, "none"),
    ],
)
def test_the_choice_of_tools_goes_along(
    server: CloudServer, tiny_model: Path, choice: dict[str, Any], sent: Any
) -> None:
    with Model.from_engine(load(tiny_model), cloud_of(server)) as model:
        options = {"tools": [TOOL], "max_tokens": 90, "confidence_threshold": 0.99, **choice}
        if sent == "none":
            assert model.chat("Hi", **options).text == "from the cloud"
        else:
            done = model.chat("Hi", **options)  # text alone is not what was asked for
            assert done.handoff is not None and done.handoff.code == "bad_reply"
            server.behave(says(None, [("f", '{"a": 2}')], "tool_calls"))
            done = model.chat("Hi", **options)
            assert done.function_calls == ({"name": "f", "arguments": {"a": 2}},)
    assert server.last.body["tool_choice"] == sent


def test_the_loop_runs_what_the_cloud_calls(server: CloudServer, unsure_model: Make) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    server.behave(says(None, [("weather", '{"city": "Rom"}')], "tool_calls"), says("It rains."))
    run = unsure_model(context=4000).run_tools("Weather?", tools=[weather])
    assert str(run) == "It rains." and len(run.steps) == 2
    *_, call, result = server.last.body["messages"]
    assert (result["content"], result["tool_call_id"]) == ("rain in Rom", "c0")
    assert call["tool_calls"][0]["id"] == "c0"


def test_a_model_with_a_calibration_is_judged_at_the_end(server: CloudServer) -> None:
    sure = Calibration((Fit({}, -2.0),), 100, 0.5)  # whatever it says: right in one of eight cases
    engine = replace(scripted_engine(saying("said here")), calibration=sure)
    with Model.from_engine(engine, cloud_of(server)) as model:
        done = model.chat("Hi")
        assert done.text == "from the cloud" and done.handoff is not None
        assert done.confidence == done.handoff.confidence == pytest.approx(0.119, abs=0.001)
        with model.stream("Hi") as stream:
            assert shown(list(stream)) == "from the cloud"  # fewer than ten tokens
        server.behave(refuses(401))
        check_local(model.chat("Hi"), "http_401")


# -- what is shown is one answer


def test_nothing_is_shown_before_it_is_clear_whose_answer_it_is(
    server: CloudServer, unsure_model: Make
) -> None:
    text = "abcdefghijklmnop"
    fed: list[int] = []
    # Unsure of every token from the second on: noticed at the tenth.
    entropies = [0.01] + [UNSURE] * 9
    engine = scripted_engine(saying(text, entropies=entropies))
    with Model.from_engine(engine, cloud_of(server)) as model:
        events = read(model.stream("Hi"))
        assert shown(events) == "from the cloud" and {e.token_id for e in events} == {-1}
    model = unsure_model(text, at=99)
    program: Any = model._engine.program
    with model.stream("Hi") as stream:
        for _ in stream:
            fed.append(len(program.steps))
    assert fed[0] >= 10  # the first event came when ten tokens were there
    assert server.last.body["stream"] is True


def test_after_a_part_was_shown_it_is_too_late(server: CloudServer, unsure_model: Make) -> None:
    text = "abcdefghijklmnopqrstuvwxyz" * 2
    entropies = [0.01] * 20 + [UNSURE] * 20

    def model() -> Model:
        engine = scripted_engine(saying(text, entropies=entropies))
        return Model.from_engine(engine, cloud_of(server))

    with model() as streamed, streamed.stream("Hi") as stream:
        assert shown(list(stream)) == stream.completion.text == text
        handoff = stream.completion.handoff
        assert handoff is not None and (handoff.answered, handoff.code) == (False, "too_late")
        assert handoff.confidence < 0.9 and server.received == []
    with model() as whole:  # where nothing is shown it never is
        done = whole.chat("Hi")
        assert done.text == "from the cloud"


def test_reasoning_may_be_shown_before(server: CloudServer) -> None:
    from tests.generate.scripted import ANSWER, END, THINK, uttering

    tokens = [THINK, *b"let me think about it", ANSWER, *b"yes", END]
    entropies = [0.01] * 14 + [UNSURE] * 20
    engine = scripted_engine(uttering(tokens, entropies=entropies), tags=True)
    with Model.from_engine(engine, cloud_of(server)) as model, model.stream("Hi") as stream:
        events = list(stream)
        done = stream.completion
    thought = "".join(e.text for e in events if e.kind == "reasoning")
    assert shown(events) == done.text == "from the cloud"
    assert thought == done.reasoning and thought
    assert thought.startswith("let me")


@pytest.mark.fault("F77")
def test_a_reply_that_breaks_off_where_nothing_was_shown_is_forgotten(
    server: CloudServer, unsure_model: Make
) -> None:
    server.behave(streams(delta(content="half an "), then=resets))
    check_local(unsure_model().chat("Hi"), "reset")


def test_stop_strings_end_a_clouds_answer_too(server: CloudServer, unsure_model: Make) -> None:
    server.behave(tells("one t", "wo th", "ree", pause=0.01))
    with unsure_model().stream("Hi", stop="two") as stream:
        assert shown(list(stream)) == stream.completion.text == "one "
        assert stream.completion.finish_reason == "stop"
    server.behave(says("one two three"))
    done = unsure_model().chat("Hi", stop="two", include_stop_sequences=True)
    assert done.text == "one two"


@pytest.mark.fault("F77")
def test_what_the_cloud_has_begun_and_shown_the_model_finishes(
    server: CloudServer, unsure_model: Make
) -> None:
    server.behave(streams(delta(content="half an "), then=resets_when_heard))
    template = (
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}"
        "{% if not loop.last or add_generation_prompt %}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}"
    )
    model = unsure_model("answer", template=template)
    with model.stream("Hi", max_tokens=11) as stream:
        events = [next(stream)]
        server.heard.set()
        events += stream
        done = stream.completion
    assert shown(events) == done.text == "half an ans"
    assert done.finish_reason == "length" and done.handoff is not None
    assert (done.handoff.answered, done.handoff.code) == (False, "reset")
    assert done.metrics.decode_tokens == 3
    assert done.metrics.cached_tokens == 0, "what this answer has read itself was not remembered"


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_the_form_of_the_answer_goes_along_and_is_checked(
    server: CloudServer, tiny_model: Path
) -> None:
    with Model.from_engine(load(tiny_model), cloud_of(server)) as model:

        def ask() -> Completion:
            return model.chat("Hi", schema=SCHEMA, max_tokens=40, confidence_threshold=0.99)

        server.behave(says('{"n": 7}'))
        done = ask()
        assert done.handoff is not None and done.handoff.answered
        assert done.parsed == {"n": 7} and done.structure is not None and done.structure.valid
        sent = server.last.body["response_format"]
        assert sent["json_schema"]["schema"] == SCHEMA
        for wrong in ('{"n": "seven"}', '{"n": 7', "seven"):
            server.behave(says(wrong))
            done = ask()
            assert done.handoff is not None and done.handoff.code == "format"
            assert isinstance(done.parsed["n"], int)  # of the local model, by its grammar
        server.behave(says("yes"))
        done = model.chat("Hi", response_format=["yes", "no"], confidence_threshold=0.99)
        assert done.text in ("yes", "no") and server.received == []
        assert done.handoff is None or done.handoff.code == "format"


@pytest.mark.usefixtures("configured")
def test_the_example_tells_who_answers(server: CloudServer, starter_folder: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "hand_off.py"
    done = subprocess.run(
        [sys.executable, script, starter_folder], capture_output=True, text=True, timeout=100
    )
    assert done.stderr == "" and KEY not in done.stdout
    assert "A larger model that may be asked: <Cloud large at localhost:" in done.stdout
    assert "large at localhost" in done.stdout.split("\n", 1)[1]
    assert "from the cloud" in done.stdout and "the local model" in done.stdout
