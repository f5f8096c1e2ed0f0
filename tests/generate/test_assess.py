"""Asking a model once more about an answer."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.confidence.agreement import agreement, in_common
from cactus.confidence.calibration import Calibration, Fit
from cactus.errors import InvalidRequest
from tests.generate.scripted import END, saying, scripted_engine


def scripted(script: Any, **options: Any) -> Model:
    return Model.from_engine(scripted_engine(script, context=400, **options))


def test_texts_agree_by_their_words_or_their_last_numbers() -> None:
    assert in_common("The answer is Paris.", "the answer is  PARIS") == 1.0
    assert in_common("Paris", "Rome") == 0.0
    assert in_common("red green", "green blue") == 0.5
    assert in_common("So 3 + 4 = 7", "It is 7.") == 1.0
    assert in_common("So 3 + 4 = 7", "So 3 + 4 = 8") == 0.0
    assert in_common("", "!") == 1.0
    assert agreement("a b", ["a b", "c"]) == pytest.approx(0.5, abs=0.2)


def test_the_samples_are_other_answers_to_the_same_question(tiny_model: Path) -> None:
    # In int8 this random model's samples happen to agree in nothing, whatever the seed.
    with Model(tiny_model, kv="f16") as model:
        answer = model.chat("Hello", max_tokens=12)
        model.reset()
        sure = model.assess("Hello", answer, samples=4, max_tokens=3)
        again = model.assess("Hello", answer, samples=4, max_tokens=3)
        other = model.assess("Hello", answer, samples=4, max_tokens=3, seed=77)
    assert sure.scores is not None and answer.scores is not None
    assert sure.scores.agreement is not None and 0 <= sure.scores.agreement < 1
    assert sure == again, "the seed of the first is 0 unless it is given"
    assert other.scores is not None and other.scores.agreement != sure.scores.agreement
    assert replace(sure.scores, agreement=None) == answer.scores
    assert replace(sure, scores=answer.scores) == answer


def test_one_that_always_says_the_same_agrees_with_itself() -> None:
    with scripted(saying("It is blue.")) as model:
        answer = model.chat("Which colour?")
        sure = model.assess("Which colour?", answer, samples=3)
        assert sure.scores is not None and sure.scores.agreement == 1.0
        assert sure.scores.self_check is None
        program: Any = model._engine.program
        rows = [len(batch) for batch in program.batches]
        assert max(rows) == 3, "all of them in one batch"


def test_the_self_check_is_the_probability_of_yes() -> None:
    """The model says Yes to a question about its answer; the second likeliest token is not No."""
    asked: list[str] = []

    def script(history: list[int], answered: int) -> tuple[int, float]:
        text = bytes(each for each in history if each < 256).decode()
        if "Is this answer correct?" in text:
            asked.append(text)
            return ord("Y"), 0.5
        return ([*b"blue", END][min(answered, 4)], 0.1)

    with scripted(script) as model:
        answer = model.chat("Which colour?")
        sure = model.assess("Which colour?", answer, samples=0, self_check=True)
    assert sure.scores is not None
    assert sure.scores.self_check == 0.5, "Y alone is neither Yes nor No"
    assert asked[0].startswith("u:Which colour?\na:blue\nu:Is this answer correct?")


def test_yes_and_no_are_weighed(starter_folder: Path) -> None:
    with Model(starter_folder) as model:
        question = "What is the capital of France?"
        answer = model.chat(question, max_tokens=20)
        sure = model.assess(question, answer, samples=0, self_check=True)
        assert sure.scores is not None and sure.scores.self_check is not None
        assert 0 < sure.scores.self_check < 1
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer.text},
            {"role": "user", "content": "Is this answer correct? Reply with one word: Yes or No."},
        ]
        said = model.chat(turns, max_tokens=1, logprobs=True, top_logprobs=20).token_logprobs
    assert said is not None
    share = {"yes": 0.0, "no": 0.0}
    for entry in said[0].top:
        word = entry.text.strip().lower()
        if word in share:
            share[word] += math.exp(entry.logprob)
    assert sure.scores.self_check == pytest.approx(share["yes"] / sum(share.values()))


def test_an_answer_that_was_continued_is_asked_about_as_a_whole() -> None:
    seen: list[str] = []

    def script(history: list[int], answered: int) -> tuple[int, float]:
        seen.append(bytes(each for each in history if each < 256).decode())
        return ([*b" blue", END][min(answered, 5)], 0.1)

    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "It is"}]
    with scripted(script) as model:
        answer = model.chat(turns)
        model.assess(turns, answer, samples=0, self_check=True)
    assert any("a:It is blue\nu:Is this answer" in text for text in seen)


def test_a_calibration_that_knows_them_makes_confidence_of_them() -> None:
    known = Fit({"agreement": 8.0}, -4.0)
    calibration = Calibration((known, Fit({"entropy": 1.0}, 0.0)), 60, 0.5)
    with scripted(saying("blue"), calibration=calibration) as model:
        answer = model.chat("Which colour?")
        sure = model.assess("Which colour?", answer, samples=2)
    assert sure.confidence == pytest.approx(1 / (1 + math.exp(-4)))
    assert answer.confidence != sure.confidence


def test_it_can_be_awaited(tiny_model: Path) -> None:
    async def work() -> None:
        async with Model(tiny_model) as model:
            answer = await model.achat("Hello", max_tokens=4)
            sure = await model.aassess("Hello", answer, samples=2, max_tokens=4)
            assert sure == model.assess("Hello", answer, samples=2, max_tokens=4)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 0}, "nothing is to be assessed"),
        ({"samples": 33}, "samples must be an integer from 0 to 32"),
        ({"self_check": 1}, "self_check"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_what_cannot_be_asked_is_an_error(options: dict[str, Any], said: str) -> None:
    with scripted(saying("blue")) as model:
        answer = model.chat("Which colour?")
        with pytest.raises(InvalidRequest, match=said):
            model.assess("Which colour?", answer, **options)


def test_an_answer_without_text_cannot_be_assessed() -> None:
    with scripted(saying("")) as model:
        answer = model.chat("Which colour?")
        with pytest.raises(InvalidRequest, match="no text"):
            model.assess("Which colour?", answer)
        with pytest.raises(InvalidRequest, match="must be a Completion, got str"):
            model.assess("Which colour?", "blue")  # type: ignore[arg-type]
