"""What an answer says of how sure the model was, and what a calibration makes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cactus.confidence.calibration import Calibration, Fit
from cactus.generate.answer import Answer, Request
from cactus.generate.options import Options
from cactus.types import Completion
from tests.generate.scripted import (
    ANSWER,
    END,
    THINK,
    VOCABULARY,
    Harness,
    ScriptedOutput,
    babbling,
    read,
    saying,
    scripted_engine,
    uttering,
)

CALIBRATED = Calibration((Fit({"logprob_mean": 4.0, "cut": -2.0}, 3.0),), 100, 0.5)


def sure(entropy: float) -> float:
    return 1 - entropy / math.log(VOCABULARY)


def test_every_token_has_a_confidence() -> None:
    done = Harness(saying("abc", entropies=[0.1, 2.0, 0.5, 3.0])).answer()
    assert done.confidences == pytest.approx([sure(0.1), sure(2.0), sure(0.5)])
    assert len(done.confidences) == len(done.tokens) == len(done.logprobs)
    assert done.scores is not None
    assert done.confidence == done.scores.entropy, "which the token that ended it is a part of"
    assert done.scores.entropy == pytest.approx(sure(5.6 / 4))


def test_scores_are_those_of_the_tokens() -> None:
    done = Harness(saying("abc", entropies=[0.1, 2.0, 0.5])).answer()
    scores = done.scores
    assert scores is not None and scores.content_tokens == 3
    assert scores.logprob_mean == pytest.approx(sum(done.logprobs) / 3)
    assert scores.logprob_min == -2.0
    assert scores.logprob_p10 == pytest.approx(-2.0 + 0.2 * 1.5)
    assert scores.logprob_window == pytest.approx(scores.logprob_mean), "fewer than ten"
    # The second token of the script has a logarithm that is lower by one.
    assert scores.margin_min == pytest.approx(math.exp(-2) - math.exp(-3))


def test_reasoning_does_not_count() -> None:
    thought = [THINK, *b"hm", ANSWER, *b"ok", END]
    entropies = [3.0, 3.0, 3.0, 3.0, 0.2, 0.4, 0.1]
    script = uttering(thought, entropies=entropies)
    done = Harness(script, tags=True).answer(reasoning="possible")
    assert done.reasoning == "hm" and done.text == "ok"
    assert done.scores is not None and done.scores.content_tokens == 2
    assert done.scores.logprob_min == -0.4
    assert done.confidence < sure(1.5), "the plain number counts all tokens"


def test_of_a_call_only_its_name_and_its_values_count() -> None:
    said = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'
    entropies = [0.3] * len(said)
    for text in ("now", "UTC"):
        entropies[said.index(text)] = 0.9
    entropies[said.index("arguments")] = 5.0
    rig = Harness(saying(said, entropies=entropies), context=2000)
    done = rig.answer(tools={"now": {"properties": {"zone": {"type": "string"}}}})
    assert done.function_calls == ({"name": "now", "arguments": {"zone": "UTC"}},)
    assert done.scores is not None and done.scores.content_tokens == len("nowUTC")
    assert done.scores.logprob_min == -0.9
    assert done.scores.logprob_mean == pytest.approx(-(2 * 0.9 + 4 * 0.3) / 6)


def test_what_a_grammar_forced_does_not_count() -> None:
    engine = scripted_engine(babbling)
    answer = Answer(engine, Request(list(b"question"), Options(max_tokens=3)))
    for token, entropy, forced in ((97, 5.0, True), (98, 0.2, False), (99, 4.0, True)):
        answer.take(ScriptedOutput(token, -entropy, entropy), forced)
    done = answer.completion()
    assert done.confidences == (1.0, pytest.approx(sure(0.2)), 1.0)
    assert done.confidence == pytest.approx(sure(0.2))
    assert done.scores is not None and done.scores.content_tokens == 1
    alone = Answer(engine, Request(list(b"question"), Options(max_tokens=1)))
    alone.take(ScriptedOutput(97, -5.0, 5.0), True)
    assert alone.completion().confidence == 1.0 and alone.completion().scores is None


def test_an_answer_without_text_has_no_scores() -> None:
    assert Harness(uttering([END])).answer().scores is None
    assert Harness(babbling).answer(max_tokens=0).scores is None


def test_likeliest_tokens_are_shown_as_many_as_were_asked_for() -> None:
    for count in (0, 1, 2, 3):
        done = Harness(saying("ab")).answer(logprobs=True, top_logprobs=count)
        assert done.token_logprobs is not None
        assert [len(entry.top) for entry in done.token_logprobs] == [count, count]


def test_guesses_change_no_score() -> None:
    prompt = "abcdefgh abcdefgh abcdefgh "

    def answers(slope: float) -> Completion:
        return Harness(saying("abcdefgh abcdefgh"), slope=slope, chunk=16).answer(prompt)

    assert answers(0.0).scores == answers(1.0).scores
    assert answers(0.0).confidences == answers(1.0).confidences


# -- with a calibration


def answered(script: Any, **options: Any) -> tuple[list[Any], Completion]:
    return read(Harness(script, calibration=CALIBRATED).start(**options))


def test_confidence_is_what_the_calibration_says() -> None:
    _, done = answered(saying("abc", entropies=[0.2, 0.4, 0.6]))
    assert done.confidence == pytest.approx(1 / (1 + math.exp(-(3 - 4 * 0.4))))
    _, cut = answered(saying("abc", entropies=[0.2, 0.4, 0.6]), max_tokens=3)
    assert cut.finish_reason == "length"
    assert cut.confidence == pytest.approx(1 / (1 + math.exp(-(1 - 4 * 0.4))))


def test_the_threshold_is_compared_with_the_whole_answer() -> None:
    # Unsure at the first token: by the plain number it would be handed off.
    entropies = [4.0] * 6 + [0.01] * 84
    plain = Harness(saying("x" * 90, entropies=entropies)).answer(confidence_threshold=0.7)
    assert plain.finish_reason == "handoff"
    _, done = answered(saying("x" * 90, entropies=entropies), confidence_threshold=0.7)
    assert done.finish_reason == "stop" and done.confidence > 0.7
    events, unsure = answered(saying("xyz", entropies=[1.0] * 3), confidence_threshold=0.7)
    assert unsure.finish_reason == "handoff" and unsure.confidence < 0.7
    assert "".join(event.text for event in events) == unsure.text == "xyz"
    assert unsure.confidence == pytest.approx(1 / (1 + math.exp(1))), "it ended by itself"
    assert unsure.result().response is None


def test_an_empty_answer_is_not_to_be_relied_on() -> None:
    _, done = answered(uttering([END]), confidence_threshold=0.1)
    assert (done.confidence, done.finish_reason) == (0.0, "handoff")
    _, done = answered(babbling, confidence_threshold=0.1, max_tokens=0)
    assert done.finish_reason == "length", "none was asked for"


def test_an_answer_that_is_built_again_is_the_same() -> None:
    rig = Harness(saying("xyz", entropies=[1.0] * 3), calibration=CALIBRATED)
    generation = rig.start(confidence_threshold=0.7)
    done = generation.run()
    assert generation._lane is not None
    lane = generation._lane
    again: Answer = lane.answer.again(lane._outputs)
    assert again.reason == "handoff" == done.finish_reason
    assert again.completion().scores == done.scores
    assert again.completion().confidence == done.confidence
