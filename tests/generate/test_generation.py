from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.errors import ContextLengthExceeded, NonFiniteLogits
from cactus.model import Model
from cactus.types import StreamEvent
from tests.generate.scripted import (
    END,
    VOCABULARY,
    Harness,
    ScriptedProgram,
    ScriptedSampler,
    babbling,
    joined,
    read,
    saying,
)

UNSURE = math.log(VOCABULARY)


def harness(script: Any, **options: Any) -> Harness:
    return Harness(script, **options)


def test_the_answer_ends_with_the_end_token_which_is_no_part_of_it() -> None:
    done = harness(saying("Hi")).answer()
    assert (done.text, done.finish_reason, done.tokens) == ("Hi", "stop", tuple(b"Hi"))
    assert done.metrics.decode_tokens == 2
    assert len(done.logprobs) == 2


def test_one_event_a_token_and_their_texts_are_the_answer() -> None:
    events, done = read(harness(saying("Héllo")).start())
    assert [event.token_id for event in events] == list(done.tokens) == list("Héllo".encode())
    assert joined(events) == done.text == "Héllo"


@pytest.mark.fault("F34")
def test_half_a_character_is_never_shown() -> None:
    events, _ = read(harness(saying("a🎉b")).start())
    assert [event.text for event in events] == ["a", "", "", "", "🎉", "b"]


@pytest.mark.fault("F31")
def test_max_tokens_is_exact() -> None:
    rig = harness(babbling)
    for wanted in (1, 2, 7):
        done = rig.answer(max_tokens=wanted)
        assert (len(done.tokens), done.finish_reason) == (wanted, "length")


def test_a_character_cut_by_max_tokens_becomes_a_replacement_character() -> None:
    events, done = read(harness(saying("a🎉")).start(max_tokens=3))
    assert done.text == joined(events) == "a\ufffd"
    assert len(events) == 3


@pytest.mark.fault("F31")
def test_max_tokens_zero_reads_the_prompt_only() -> None:
    rig = harness(saying("Hi"))
    events, done = read(rig.start("question", max_tokens=0))
    assert events == [] and done.text == "" and done.finish_reason == "length"
    assert done.metrics.prefill_tokens == 8 and done.metrics.decode_tokens == 0
    assert rig.conversation.tokens == list(b"question")
    assert 0 < done.confidence < 1


@pytest.mark.fault("F31")
def test_max_tokens_is_capped_by_the_context() -> None:
    done = harness(babbling, context=20).answer("x" * 15, max_tokens=1000)
    assert (len(done.tokens), done.finish_reason) == (5, "length")


def test_the_prompt_is_read_in_chunks_and_only_its_last_row_has_an_output() -> None:
    rig = harness(saying("!"), chunk=4)
    rig.answer("abcdefghij")
    assert rig.program.steps[:3] == [list(b"abcd"), list(b"efgh"), list(b"ij")]


@pytest.mark.parametrize("chunk", [1, 3, 8, 500])
def test_the_size_of_the_chunks_changes_nothing(chunk: int) -> None:
    done = harness(babbling, chunk=chunk).answer(max_tokens=20)
    assert done.tokens == harness(babbling, chunk=4).answer(max_tokens=20).tokens


def test_the_last_sampled_token_is_not_in_the_cache() -> None:
    rig = harness(babbling)
    done = rig.answer(max_tokens=5)
    assert rig.conversation.tokens == [*b"question", *done.tokens[:-1]]
    assert rig.conversation.session.tokens == rig.conversation.tokens


def test_a_second_turn_reads_only_what_is_new() -> None:
    rig = harness(babbling)
    first = rig.answer(max_tokens=5)
    prompt = [*b"question", *first.tokens, *b" and then?"]
    second = rig.answer(prompt, max_tokens=5)
    # The last token of the answer was never fed, so it counts as new.
    assert second.metrics.prefill_tokens == 1 + len(" and then?")
    assert second.metrics.cached_tokens == len(prompt) - second.metrics.prefill_tokens
    assert second.tokens == harness(babbling).answer(prompt, max_tokens=5).tokens


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=6), st.integers(1, 4))
def test_a_reused_cache_answers_like_a_cold_one(prompts: list[str], grain: int) -> None:
    rig = harness(babbling, grain=grain)
    for prompt in prompts:
        assert rig.answer(prompt, max_tokens=4).tokens == (
            harness(babbling).answer(prompt, max_tokens=4).tokens
        )


@pytest.mark.fault("F34")
def test_a_stop_string_that_spans_tokens_is_cut_and_never_shown() -> None:
    events, done = read(harness(saying("one\nUser: two")).start(stop="\nUser:"))
    assert done.text == joined(events) == "one"
    assert done.finish_reason == "stop"
    assert len(events) == len(done.tokens) == len("one\nUser:")


def test_the_stop_string_is_kept_on_request() -> None:
    events, done = read(
        harness(saying("one\n\ntwo")).start(stop="\n\n", include_stop_sequences=True)
    )
    assert done.text == joined(events) == "one\n\n"


def test_text_held_back_at_the_end_of_the_turn_is_shown_with_a_last_event() -> None:
    events, done = read(harness(saying("one\nUs")).start(stop="\nUser:"))
    assert done.text == joined(events) == "one\nUs"
    assert events[-1] == StreamEvent("\nUs", END)
    assert len(events) == len(done.tokens) + 1


def test_text_held_back_when_max_tokens_is_reached_comes_with_the_last_token() -> None:
    events, done = read(harness(saying("one\nUs")).start(stop="\nUser:", max_tokens=5))
    assert done.text == joined(events) == "one\nU"
    assert len(events) == 5


@pytest.mark.fault("F34")
def test_a_stop_inside_a_character_of_many_bytes_cuts_at_the_character() -> None:
    events, done = read(harness(saying("a🎉b")).start(stop="🎉"))
    assert done.text == joined(events) == "a"


def test_a_special_token_given_as_stop_string_stops_by_its_id() -> None:
    def script(_history: list[int], answered: int) -> int:
        return [ord("a"), END + 1, ord("b")][answered]

    assert harness(script).start(stop_tokens={END + 1: "<turn>"}).run().text == "a"
    kept = harness(script).start(stop_tokens={END + 1: "<turn>"}, include_stop_sequences=True)
    events, done = read(kept)
    assert done.text == joined(events) == "a<turn>"


def test_the_stop_string_that_ended_an_answer_is_named() -> None:
    done = harness(saying("one; two")).start(stop=["two", "; ", ";"]).run()
    assert (done.text, done.stop_sequence) == ("one", ";")
    assert harness(saying("one")).start(stop="two").run().stop_sequence is None
    cut = harness(saying("one two")).start(stop="two", max_tokens=3).run()
    assert (cut.finish_reason, cut.stop_sequence) == ("length", None)

    def script(_history: list[int], answered: int) -> int:
        return [ord("a"), END + 1, ord("b")][answered]

    special = harness(script).start(stop_tokens={END + 1: "<turn>"})
    assert special.prompt_tokens == len("question")
    assert special.run().stop_sequence == "<turn>"


def test_low_confidence_at_the_first_token_hands_off_before_anything_is_shown() -> None:
    rig = harness(saying("Hi", entropies=[0.4 * UNSURE]))
    events, done = read(rig.start(confidence_threshold=0.7))
    assert events == [] and done.finish_reason == "handoff" and done.cloud_handoff
    assert done.confidence == pytest.approx(0.6)
    result = done.result()
    assert (result.success, result.cloud_handoff, result.response) == (False, True, None)
    assert result.decode_tokens == 0 and result.decode_tps == 0.0
    assert result.total_time_ms == pytest.approx(result.time_to_first_token_ms, abs=5)


def test_low_confidence_over_ten_tokens_hands_off_and_keeps_the_text_so_far() -> None:
    rig = harness(saying("x" * 30, entropies=[0.0] + [0.5 * UNSURE] * 29))
    events, done = read(rig.start(confidence_threshold=0.7))
    assert done.finish_reason == "handoff"
    assert done.text == joined(events) == "x" * 9  # the tenth token fills the window
    assert done.result().response is None


def test_without_a_threshold_an_unsure_model_answers() -> None:
    done = harness(saying("Hi", entropies=[UNSURE] * 3)).answer()
    assert (done.text, done.finish_reason) == ("Hi", "stop")
    assert done.confidence == pytest.approx(0.0, abs=1e-9)


def test_confidence_is_over_all_sampled_tokens() -> None:
    done = harness(saying("ab", entropies=[0.1 * UNSURE, 0.3 * UNSURE, 0.2 * UNSURE])).answer()
    assert done.confidence == pytest.approx(0.8)


@pytest.mark.fault("F12")
def test_logits_that_are_no_numbers_are_an_error_and_the_next_call_works() -> None:
    rig = harness(saying("Hi", entropies=[0.1, math.nan]))
    with pytest.raises(NonFiniteLogits, match="at position 8 are not finite"):
        rig.answer()
    assert rig.conversations.remembered == ()
    rig.program.script = saying("Hi")
    assert rig.answer().text == "Hi"


@pytest.mark.parametrize("failing_step", [1, 2, 4])
def test_a_step_that_fails_leaves_nothing_to_be_trusted(failing_step: int) -> None:
    rig = harness(babbling)
    count = 0

    def fail(_tokens: object) -> None:
        nonlocal count
        count += 1
        if count == failing_step:
            raise MemoryError("no more")

    rig.program.during = fail
    with pytest.raises(MemoryError):
        rig.answer(max_tokens=5)
    rig.program.during = lambda tokens: None
    done = rig.answer(max_tokens=5)
    assert done.metrics.cached_tokens == 0
    assert done.tokens == harness(babbling).answer(max_tokens=5).tokens


@pytest.mark.fault("F51")
def test_stopping_between_chunks_of_the_prompt() -> None:
    rig = harness(babbling, chunk=4)
    generation = rig.start("x" * 40)

    def stop_at_third(_tokens: object) -> None:
        if len(rig.program.steps) == 2:
            rig.turns.stop()

    rig.program.during = stop_at_third
    events, done = read(generation)
    assert events == [] and done.text == "" and done.finish_reason == "cancelled"
    assert done.metrics.prefill_tokens == 12, "the running chunk ends, no further one begins"
    assert done.confidence == 0.0


def test_what_was_read_before_a_stop_is_not_read_again() -> None:
    rig = harness(babbling, chunk=4)
    generation = rig.start("x" * 40)
    rig.program.during = lambda _tokens: rig.turns.stop()
    generation.run()
    rig.program.during = lambda _tokens: None
    assert rig.answer("x" * 40, max_tokens=1).metrics.cached_tokens == 4


@pytest.mark.fault("F51")
def test_stopping_between_tokens_returns_what_there_is() -> None:
    rig = harness(babbling)
    generation = rig.start()
    events = []
    for event in generation.events():
        events.append(event)
        if len(events) == 3:
            rig.turns.stop()
    assert generation.result is not None
    assert generation.result.finish_reason == "cancelled"
    assert len(events) == 3 and joined(events) == generation.result.text


def test_text_held_back_is_shown_when_the_answer_is_stopped() -> None:
    rig = harness(saying("one\nUser"))
    generation = rig.start(stop="\nUser:")
    events = []
    for event in generation.events():
        events.append(event)
        if event.token_id == ord("U"):
            rig.turns.stop()
    assert generation.result is not None
    assert generation.result.text == joined(events) == "one\nU"


def test_closing_early_gives_a_completion_of_what_was_shown_and_frees_the_turn() -> None:
    rig = harness(babbling)
    generation = rig.start()
    events = generation.events()
    shown = [next(events), next(events)]
    events.close()
    assert generation.result is not None
    assert generation.result.text == joined(shown)
    assert generation.result.finish_reason == "cancelled"
    assert rig.answer(max_tokens=2).tokens == harness(babbling).answer(max_tokens=2).tokens


def test_what_a_closed_stream_cost_does_not_depend_on_later_calls() -> None:
    rig = harness(babbling)
    generation = rig.start("question")
    events = generation.events()
    next(events)
    events.close()
    rig.answer("x", max_tokens=1)
    assert generation.result is not None
    assert generation.result.metrics.prefill_tokens == len("question")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("when", ["during", "after"])
def test_an_interrupt_in_a_step_ends_the_call_and_no_more(when: str, streamed: bool) -> None:
    rig = harness(babbling)

    def interrupt(*_: object) -> None:
        if len(rig.program.steps) == 4:
            setattr(rig.program, when, lambda *_: None)
            raise KeyboardInterrupt

    setattr(rig.program, when, interrupt)
    before = ScriptedSampler.open_samplers
    generation = rig.start()
    with pytest.raises(KeyboardInterrupt):
        read(generation) if streamed else generation.run()
    assert ScriptedSampler.open_samplers == before
    again = rig.answer(max_tokens=6)
    assert again.tokens == harness(babbling).answer(max_tokens=6).tokens
    assert again.metrics.cached_tokens == len("question") - 1, "what was read is still known"


def test_every_sampler_is_closed_however_the_call_ends() -> None:
    before = ScriptedSampler.open_samplers
    rig = harness(babbling)
    rig.answer(max_tokens=2)
    events = rig.start().events()
    next(events)
    assert ScriptedSampler.open_samplers == before + 1
    events.close()
    rig.program.script = saying("x", entropies=[math.nan])
    with pytest.raises(NonFiniteLogits):
        rig.answer()
    assert ScriptedSampler.open_samplers == before


def test_prompt_and_answer_have_a_limit_together(scripted_model: Callable[..., Model]) -> None:
    model = scripted_model(saying("x" * 90), context=60, chunk=512)
    prompt = model.count_tokens([{"role": "user", "content": "Hello!"}])
    for total, answer in ((prompt + 4, 4), (60, 60 - prompt), (99, 60 - prompt)):
        done = model.chat("Hello!", max_total_tokens=total)
        assert (done.text, done.finish_reason) == ("x" * answer, "length")
    assert model.chat("Hello!", max_total_tokens=prompt + 4, max_tokens=2).text == "xx"
    assert model.chat("Hello!", max_total_tokens=prompt, max_tokens=0).text == ""
    for total, most in ((prompt, 1), (prompt - 1, 0)):
        with pytest.raises(ContextLengthExceeded, match=r"^max_total_tokens: ") as caught:
            model.chat("Hello!", max_total_tokens=total, max_tokens=most)
        assert (caught.value.prompt_tokens, caught.value.limit) == (prompt, total)


def test_the_sampling_options_reach_a_fresh_sampler() -> None:
    rig = harness(saying("x"))
    seen: list[dict[str, Any]] = []

    class Recorder(ScriptedSampler):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            seen.append(options)

    rig.batch.engine = dataclasses.replace(rig.engine, make_sampler=Recorder)
    rig.answer(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=7, logit_bias={"5": 1})
    rig.answer()
    assert seen[0] == {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_window": None,
        "logit_bias": {5: 1.0},
        "seed": 7,
        "prompt": list(b"question"),
    }
    assert seen[1]["seed"] is None and seen[1]["temperature"] == 0.0


def test_the_readers_own_time_is_not_the_engines() -> None:
    generation = harness(saying("abc")).start()
    for _ in generation.events():
        time.sleep(0.05)
    assert generation.result is not None
    assert generation.result.metrics.total_time_ms < 100


def test_rates_are_finite_even_when_nothing_was_done() -> None:
    rig = harness(saying(""))
    metrics = rig.answer().metrics
    assert metrics.decode_tokens == 0 and metrics.decode_tps == 0.0
    assert metrics.prefill_tps > 0 and math.isfinite(metrics.prefill_tps)
    assert metrics.time_to_first_token_ms <= metrics.total_time_ms
    assert metrics.ram_usage_mb > 1


def test_decode_rate_counts_the_steps_after_the_first_token() -> None:
    rig = harness(saying("abcd"))
    rig.program.during = lambda _tokens: time.sleep(0.01)
    metrics = rig.answer().metrics
    seconds = (metrics.total_time_ms - metrics.time_to_first_token_ms) / 1000
    assert metrics.decode_tps == pytest.approx(4 / seconds)  # a, b, c, d, end: four steps apart


def test_programs_of_the_tests_notice_a_wrong_cache() -> None:
    # The guard of the guards: a script that depends on the history sees a token that is missing.
    program = ScriptedProgram(babbling)
    assert program.script([1, 2, 3], 0) != program.script([1, 3], 0)
