"""The flat functions and the typed model on trained weights, in the native core."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cactus import Completion, Model, cactus_complete, cactus_destroy, cactus_init, cactus_reset
from cactus.api import _complete
from cactus.engine.loading import load
from cactus.errors import ContextLengthExceeded
from tests.generate.scripted import WEATHER, FixedCosts, InThread, joined

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Write a story about a dragon."}]
LONG = "The quick brown fox jumps over the lazy dog. " * 500  # 5,000 tokens and more


@pytest.fixture(scope="module")
def model(starter_folder: Path) -> Iterator[Model]:
    with Model(starter_folder) as loaded:
        yield loaded


def test_it_knows_the_capital_of_france(model: Model) -> None:
    done = model.chat(CAPITAL)
    assert done.text == "The capital of France is Paris."
    assert done.finish_reason == "stop"
    assert 0.85 < done.confidence < 0.99
    assert len(done.tokens) == len(done.logprobs) == done.metrics.decode_tokens == 7
    assert all(logprob <= 0 for logprob in done.logprobs)


def test_streamed_text_joined_is_the_answer(model: Model) -> None:
    with model.stream(STORY, max_tokens=40) as stream:
        events = list(stream)
        done = stream.completion
    assert joined(events) == done.text and len(done.text) > 80
    assert [event.token_id for event in events] == list(done.tokens)
    assert model.chat(STORY, max_tokens=40).tokens == done.tokens


def test_an_answer_that_quotes_is_the_same_in_fewer_steps(starter_folder: Path) -> None:
    engine = replace(load(starter_folder), costs=FixedCosts(0.2))
    steps = []
    step = engine.program.step

    def counting(rows: Any, **options: Any) -> Any:
        steps.append(len(rows[0].tokens))
        return step(rows, **options)

    engine.program.step = counting  # type: ignore[method-assign]
    text = "The old mill stands where the river bends below the village."
    with Model.from_engine(engine) as model:
        question = [{"role": "user", "content": f"Repeat this text:\n\n{text}"}]
        plain = model.chat(question, max_tokens=60, speculation=False)
        assert text in plain.text
        counts = []
        for options in ({}, {"speculation": True}, {"stop": "river"}):
            steps.clear()
            done = model.chat(question, **{"max_tokens": 60, **options})
            length = len(done.tokens)
            assert done.tokens == plain.tokens[:length]
            assert done.logprobs == plain.logprobs[:length]
            counts.append(len(steps) / length)
        assert done.text == plain.text[: plain.text.index("river")]
    assert max(counts) < 0.8


def test_many_conversations_have_the_answers_they_have_alone(model: Model) -> None:
    texts = [
        "What is 2+2?",
        "Name three colours.",
        "Say hello.",
        LONG * 2,
        "Who wrote Hamlet?",
        "Hi!",
    ]
    conversations = [[{"role": "user", "content": text}] for text in texts] * 2
    results = model.chat_many(conversations, max_tokens=30, return_exceptions=True)
    answers = {text: model.chat(text, max_tokens=30) for text in texts if text != LONG * 2}
    for text, done in zip(texts * 2, results, strict=True):
        if text == LONG * 2:
            assert isinstance(done, ContextLengthExceeded)
            continue
        alone = answers[text]
        assert isinstance(done, Completion)
        assert (done.text, done.tokens, done.logprobs) == (alone.text, alone.tokens, alone.logprobs)
        assert done.confidence == alone.confidence
    costs = [done.metrics for done in results if isinstance(done, Completion)]
    assert all(cost.cached_tokens >= 20 for cost in costs[1:]), "the system prompt was read again"


def test_characters_of_many_bytes_come_whole(model: Model) -> None:
    question = [{"role": "user", "content": "Repeat after me: 🎉 日本語 Grüße"}]
    bias = {str(token): 8.0 for token in set(model.tokenize("🎉日本語Grüße"))}
    with model.stream(question, max_tokens=60, logit_bias=bias) as stream:
        texts = [event.text for event in stream]
    assert "\ufffd" not in "".join(texts[:-1])
    assert "" in texts and "".join(texts) == stream.completion.text


def test_the_second_turn_reads_only_what_is_new_and_answers_the_same(model: Model) -> None:
    model.reset()
    first = model.chat(CAPITAL)
    turns = [
        *CAPITAL,
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And of Italy?"},
    ]
    warm = model.chat(turns)
    assert warm.text == "The capital of Italy is Rome."
    model.reset()
    cold = model.chat(turns)
    # The end of the first answer was never fed; all else of it is in the cache already.
    assert warm.metrics.cached_tokens == first.metrics.prefill_tokens + len(first.tokens)
    assert warm.metrics.prefill_tokens + warm.metrics.cached_tokens == cold.metrics.prefill_tokens
    assert (warm.tokens, warm.logprobs) == (cold.tokens, cold.logprobs), "bit for bit"


def test_going_back_in_a_conversation_answers_like_a_cold_start(model: Model) -> None:
    model.chat(STORY, max_tokens=30)
    model.chat(CAPITAL)
    warm = model.chat(STORY, max_tokens=30)
    assert warm.metrics.cached_tokens > 0
    model.reset()
    cold = model.chat(STORY, max_tokens=30)
    assert (warm.tokens, warm.logprobs) == (cold.tokens, cold.logprobs)


def test_stop_strings_that_span_tokens_are_never_shown(model: Model) -> None:
    whole = model.chat(CAPITAL).text
    for stop in ("France is Par", " of Fr", "is Paris.", "T"):
        with model.stream(CAPITAL, stop=[stop, "never said"]) as stream:
            shown = joined(stream)
        assert shown == stream.completion.text == whole[: whole.index(stop)]
        kept = model.chat(CAPITAL, stop=stop, include_stop_sequences=True)
        assert kept.text == whole[: whole.index(stop) + len(stop)]


def test_sampling_repeats_with_its_seed_and_penalties_do_not_leak(model: Model) -> None:
    def answer(**options: Any) -> str:
        return model.chat(STORY, max_tokens=12, **options).text

    greedy = answer()
    once = answer(temperature=0.9, seed=5)
    assert once == answer(temperature=0.9, seed=5) != answer(temperature=0.9, seed=6)
    answer(repetition_penalty=5.0, frequency_penalty=5.0)
    assert answer() == greedy


@pytest.mark.fault("F50")
def test_two_threads_on_one_handle_give_the_answers_of_one(starter_folder: Path) -> None:
    handle = cactus_init(str(starter_folder))
    assert handle is not None

    def answer(messages: Any) -> str:
        return str(
            json.loads(cactus_complete(handle, messages, max_tokens=16, confidence_threshold=0))[
                "response"
            ]
        )

    alone = [answer(CAPITAL), answer(STORY)]
    cactus_reset(handle)
    threads = [InThread(lambda m=m: answer(m)) for m in (CAPITAL, STORY) * 3]  # type: ignore[misc]
    assert [thread.result(60) for thread in threads] == alone * 3
    cactus_destroy(handle)


def test_one_thread_and_two_give_the_same_numbers(starter_folder: Path) -> None:
    results = []
    for threads in (1, 2):
        with Model(starter_folder, threads=threads) as loaded:
            done = loaded.chat(STORY, max_tokens=24)
            results.append((done.tokens, done.logprobs, done.confidence))
    assert results[0] == results[1]


@pytest.mark.fault("F51")
def test_stop_ends_a_prompt_of_5000_tokens_within_one_chunk(model: Model) -> None:
    model.reset()
    program: Any = model._engine.program
    messages = [{"role": "user", "content": LONG}]
    answer = InThread(lambda: model.chat(messages))
    lanes = model._chat()._batch._lanes
    while not lanes or lanes[0].progress.cached < program.chunk:
        time.sleep(0.001)
    before = lanes[0].progress.cached
    model.stop()
    done = answer.result(60)
    assert done.finish_reason == "cancelled" and done.text == ""
    # What was counted before, the chunk that ran while stop came, and one that began meanwhile.
    assert done.metrics.prefill_tokens <= before + 2 * program.chunk < 5000
    model.reset()


def test_stop_ends_an_answer_within_one_token(model: Model) -> None:
    seen = threading.Event()
    texts: list[str] = []

    def read() -> Any:
        with model.stream(STORY, max_tokens=4000) as stream:
            for event in stream:
                texts.append(event.text)
                if len(texts) == 5:
                    seen.set()
            return stream.completion

    answer = InThread(read)
    assert seen.wait(60)
    before = len(texts)
    model.stop()
    done = answer.result(60)
    assert done.finish_reason == "cancelled" and done.text == "".join(texts)
    assert len(done.tokens) <= before + 2


def test_close_in_the_middle_of_an_answer(starter_folder: Path) -> None:
    handle = cactus_init(str(starter_folder))
    assert handle is not None
    started = threading.Event()
    call = InThread(
        lambda: json.loads(
            cactus_complete(
                handle,
                STORY,
                max_tokens=4000,
                callback=lambda *_: started.set(),
                confidence_threshold=0,
            )
        )
    )
    assert started.wait(60)
    cactus_destroy(handle)
    row = call.result(60)
    assert not row["success"] and "destroyed while this call was running" in row["error"]


@pytest.mark.timeout(60)
def test_a_prompt_past_the_context_is_refused_before_it_is_read(model: Model) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        model.chat([{"role": "user", "content": LONG * 100}])
    assert caught.value.limit == model.context_length == 8192
    assert caught.value.prompt_tokens > 8192  # of what was read
    assert f"at least {caught.value.prompt_tokens} tokens" in str(caught.value)


def test_the_context_can_be_used_to_its_end(starter_folder: Path) -> None:
    with Model(starter_folder, context=48) as loaded:
        assert loaded.context_length == 48
        done = loaded.chat(CAPITAL, max_tokens=1000, logit_bias={"2": -100})
        assert done.finish_reason == "length"
        assert done.metrics.prefill_tokens + len(done.tokens) == 48


def test_the_starter_model_hears_of_tools(model: Model) -> None:
    tools = [WEATHER]
    plain = model.chat(CAPITAL, max_tokens=1)
    told = model.chat(CAPITAL, max_tokens=1, tools=tools, tool_rag_top_k=0, force_tools=False)
    assert told.function_calls == ()
    assert told.metrics.prefill_tokens + told.metrics.cached_tokens > (
        plain.metrics.prefill_tokens + plain.metrics.cached_tokens + 50
    )


def test_the_starter_model_calls_a_tool_and_answers_with_its_result(model: Model) -> None:
    tools = [WEATHER]

    def ask(messages: list[dict[str, Any]], streamed: bool, **options: Any) -> dict[str, Any]:
        pieces: list[str] = []
        if streamed:
            options["callback"] = lambda text, token_id, user_data: pieces.append(text)
        row: dict[str, Any] = json.loads(_complete(lambda: model, messages, options))
        assert row["success"] and (not streamed or "".join(pieces) == row["response"])
        return row

    for streamed in (False, True):
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Answer the user in one sentence."},
            {"role": "user", "content": "What's the weather in Paris?"},
        ]
        forced = {"tools": tools, "force_tools": True, "parallel_tool_calls": False}
        asked = ask(messages, streamed, **forced)
        calls = asked["function_calls"]
        assert calls == [{"name": "get_weather", "arguments": {"location": "Paris"}}]
        assert asked["response"] == ""
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages.append({"role": "tool", "content": "22 degrees and sunny"})
        told = ask(messages, streamed, max_tokens=60, confidence_threshold=0)
        assert "22 degrees and sunny" in told["response"] and told["function_calls"] == []
