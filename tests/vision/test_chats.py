"""Images among the tokens of chats: what is looked at, what is remembered, and what never mixes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cactus.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    TemplateError,
    UnsupportedModel,
)
from cactus.model import Model
from tests.generate.scripted import ScriptedSampler, babbling, scripted_engine
from tests.vision.scripted import Drawing, DrawnVision, asked, drawing, seeing_model

Make = Callable[..., tuple[Model, Any, DrawnVision]]


@pytest.fixture
def make() -> Iterator[Make]:
    models: list[Model] = []

    def build(script: Any = babbling, **options: Any) -> tuple[Model, Any, DrawnVision]:
        made = seeing_model(script, **{"chunk": 16, **options})
        models.append(made[0])
        return made

    yield build
    for model in models:
        model.close()


def alone(make: Make, messages: Any, **options: Any) -> str:
    """The answer of a model that answers nothing else."""
    model, _, _ = make(**options)
    return model.chat(messages, max_tokens=8).text


def numbers(image: Drawing) -> list[int]:
    """What a session remembers of an image."""
    return [1000 + pixel for tile in image.tiles for pixel in tile]


def test_the_features_of_an_image_stand_where_the_template_put_it(make: Make) -> None:
    model, program, _ = make()
    image = drawing(1, tiles=2, tokens=3)
    model.chat(asked("What?", image), max_tokens=1)
    first, second = numbers(image)[:3], numbers(image)[3:]
    wanted = [*b"u:[0", *first, *b"1", *second, *b"]What?\na:"]
    assert program.sessions[0].tokens == wanted


def test_images_of_several_turns_stand_in_their_messages(make: Make) -> None:
    model, program, vision = make()
    one, two, three = (drawing(n) for n in (1, 2, 3))
    messages = [
        *asked("A", one, two),
        {"role": "assistant", "content": "B"},
        *asked("C", three),
    ]
    model.chat(messages, max_tokens=1)
    remembered = program.sessions[0].tokens
    assert [t for t in remembered if t > 999] == [*numbers(one), *numbers(two), *numbers(three)]
    assert vision.looked == [*one.tiles, *two.tiles, *three.tiles]


def test_a_text_that_says_image_is_no_image_and_no_marker(make: Make) -> None:
    model, program, vision = make()
    text = "<image> [0#####] <|image_start|>"
    model.chat(text, max_tokens=1)
    assert bytes(program.sessions[0].tokens) == f"u:{text}\na:".encode()
    image = drawing(4)
    model.chat(asked(text, image), max_tokens=1)
    assert bytes(t for t in program.sessions[-1].tokens if t < 256).decode() == f"u:[0]{text}\na:"
    assert vision.looked == list(image.tiles)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_however_a_prompt_is_cut_into_steps_the_answer_is_the_same(make: Make, chunk: int) -> None:
    messages = [*asked("Which?", drawing(1, 3, 4), drawing(2, 1, 9)), *asked("And?", drawing(3))]
    assert alone(make, messages, chunk=chunk) == alone(make, messages, chunk=200)


def test_reading_begins_with_the_first_tile(make: Make) -> None:
    model, program, vision = make()
    read_before: list[int] = []
    vision.during = lambda tile: read_before.append(len(program.fed))
    image = drawing(1, tiles=3, tokens=4)
    model.chat(asked("What?", image), max_tokens=1)
    assert read_before == [len("u:[0"), len("u:[0") + 5, len("u:[0") + 10]


def test_the_second_question_looks_at_nothing_and_reads_what_is_new(make: Make) -> None:
    model, _, vision = make()
    image = drawing(1, tiles=2)
    talk = model.conversation(max_tokens=4)
    first = talk.chat("What is it?", images=[image])
    assert (first.metrics.encoded_tiles, first.metrics.image_tiles) == (2, 2)
    second = talk.chat("And now?")
    assert (second.metrics.encoded_tiles, second.metrics.encode_time_ms) == (0, 0)
    assert second.metrics.image_tokens == first.metrics.image_tokens == 10
    # The last token of the answer, which was not read yet, the end of its turn, and the question.
    assert second.metrics.prefill_tokens == len("x\nu:And now?\na:")
    assert len(vision.looked) == 2


def test_features_are_kept_when_the_conversation_is_not(make: Make) -> None:
    model, program, vision = make()
    image = drawing(1, tiles=2)
    model.chat(asked("What is it?", image), max_tokens=2)
    model._chat()._conversations.forget()
    program.steps.clear()
    done = model.chat([{"role": "system", "content": "S"}, *asked("What?", image)], max_tokens=2)
    assert len(vision.looked) == 2
    assert (done.metrics.encoded_tiles, done.metrics.cached_tokens) == (0, 0)


def test_an_image_that_differs_in_one_pixel_is_another(make: Make) -> None:
    model, _program, vision = make()
    one = Drawing(((1, 2, 3, 4), (5, 6, 7, 8)))
    two = Drawing(((1, 2, 3, 4), (5, 6, 7, 9)))
    texts = [model.chat(asked("What?", image), max_tokens=8).text for image in (one, two, one)]
    assert texts[0] == texts[2] != texts[1]
    assert texts == [alone(make, asked("What?", image)) for image in (one, two, one)]
    assert len(vision.looked) == 4


def test_an_image_that_is_cut_otherwise_is_looked_at_again(make: Make) -> None:
    model, _, vision = make()
    image = drawing(1, tiles=3)
    assert model.count_tokens(asked("What?", image)) == len("u:[0]What?\na:") + 17
    whole = model.chat(asked("What?", image), max_tokens=2)
    part = model.chat(asked("What?", image), max_tokens=2, max_tiles=2)
    assert (whole.metrics.image_tiles, part.metrics.image_tiles) == (3, 2)
    assert len(vision.looked) == 5


def test_the_cache_gives_way_under_its_budget_and_answers_stay_the_same(make: Make) -> None:
    images = [drawing(n, tiles=2, tokens=5) for n in range(4)]
    wanted = [alone(make, asked("What?", image)) for image in images]
    for budget in (0, 20, 50, 1 << 20):
        model, _, vision = make(budget=budget)
        for image, text in [*zip(images, wanted, strict=True)] * 2:
            model._chat()._conversations.forget()
            assert model.chat(asked("What?", image), max_tokens=8).text == text
            assert vision.sight.cache.bytes <= budget
        assert len(vision.looked) == (8 if budget == 1 << 20 else 16)


def test_the_same_image_twice_is_looked_at_once(make: Make) -> None:
    for budget in (0, 1 << 20):
        model, program, vision = make(budget=budget)
        image = drawing(1, tiles=2)
        model.chat(asked("Same?", image, image), max_tokens=1)
        assert [t for t in program.sessions[0].tokens if t > 999] == numbers(image) * 2
        assert len(vision.looked) == 2


def test_reset_forgets_features_too(make: Make) -> None:
    model, _, vision = make()
    for _ in range(2):
        model.chat(asked("What?", drawing(1)), max_tokens=1)
        model.reset()
        assert vision.sight.cache.bytes == 0
    assert len(vision.looked) == 2


# -- before anything is computed


def test_counting_tokens_reads_sizes_only(make: Make) -> None:
    model, _program, vision = make()
    messages = asked("What?", drawing(1, tiles=2, tokens=3))
    assert model.count_tokens(messages) == len("u:[0###1###]What?\na:")
    assert (vision.door.measured, vision.door.loaded, vision.looked) == (1, 0, [])
    done = model.chat(messages, max_tokens=1)
    assert done.metrics.prefill_tokens == model.count_tokens(messages)


def test_a_prompt_that_is_too_long_says_what_its_images_take(make: Make) -> None:
    model, program, vision = make(context=60)
    messages = asked("What?", drawing(1, tiles=3, tokens=20), drawing(2))
    with pytest.raises(
        ContextLengthExceeded,
        match=r"83 tokens, 23 more than the context of 60; 65 of them are 2 images in 4 tiles: "
        r"give max_tiles or max_image_tokens",
    ):
        model.chat(messages)
    assert (vision.door.loaded, vision.looked, program.steps) == (0, [], [])
    assert model.chat(messages, max_tiles=1, max_tokens=1).metrics.image_tokens == 25


def test_a_template_without_a_place_for_an_image_is_refused(make: Make) -> None:
    model, _, _ = make(template="{{ messages[0].role }}")
    with pytest.raises(TemplateError, match="have 1 images, and the chat template writes"):
        model.chat(asked("What?", drawing(1)))


def test_a_model_that_cannot_see_refuses_images() -> None:
    with (
        Model.from_engine(scripted_engine(babbling)) as model,
        pytest.raises(UnsupportedModel, match=r"messages\[0\] has images, and scripted"),
    ):
        model.chat(asked("What?", drawing(1)))


@pytest.mark.parametrize("name", ["max_tiles", "max_image_tokens", "allow_image_urls"])
def test_options_of_images_are_refused_by_a_model_that_cannot_see(name: str) -> None:
    options: Any = {name: True if name == "allow_image_urls" else 2}
    with (
        Model.from_engine(scripted_engine(babbling)) as model,
        pytest.raises(InvalidRequest, match=f"{name}: scripted looks at no images"),
    ):
        model.chat("hello", **options)


# -- beside what else a chat can do


def test_samplers_and_guesses_never_see_an_image(make: Make) -> None:
    seen: list[list[int]] = []

    class Watched(ScriptedSampler):
        def __init__(self, **options: Any) -> None:
            seen.append(list(options["prompt"]))
            super().__init__(**options)

    def parrot(history: list[int], answered: int) -> int:
        return b"abcabc"[answered % 3]

    model, program, _ = make(parrot, slope=0.0)
    object.__setattr__(model._engine, "make_sampler", Watched)
    image = drawing(1, tokens=6)
    done = model.chat(asked("abc#", image, image), max_tokens=20)
    assert done.text == "abc" * 6 + "ab"
    assert all(id >= 0 for prompt in seen for id in prompt)
    assert any(len(step) > 1 for step in program.steps[-4:])  # it did guess


def test_progress_is_told_tile_by_tile(make: Make) -> None:
    model, _, _ = make()
    told: list[tuple[str, int, int]] = []

    def progress(label: str, done: int, total: int) -> None:
        told.append((label, done, total))

    messages = asked("What?", drawing(1, 2), drawing(2))
    model.chat(messages, max_tokens=1, image_progress=progress)
    assert told == [("looking at images", done, 3) for done in range(4)]
    told.clear()
    model.chat(messages, max_tokens=1, image_progress=progress)
    assert told == []


def test_assessing_an_answer_looks_at_the_image_once(make: Make) -> None:
    model, _, vision = make(lambda history, answered: b"yes"[answered] if answered < 3 else 256)
    messages = asked("What?", drawing(1, 2))
    answer = model.chat(messages)
    assessed = model.assess(messages, answer, samples=3, self_check=True)
    assert assessed.scores is not None and assessed.scores.agreement == 1
    assert len(vision.looked) == 2


# -- families whose decoder wants more


def test_what_must_be_read_at_once_has_a_step_to_itself(make: Make) -> None:
    talks = [asked("one", drawing(1, 3, 11)), asked("two", drawing(2, 1, 15)), "no image"]
    wanted = [alone(make, talk) for talk in talks]
    for budget in (0, 1 << 20):
        model, program, _ = make(sight={"whole": True}, budget=budget)
        done = model.chat_many(talks, max_tokens=8)
        assert [each.text for each in done] == wanted
        steps = [step for step in program.steps if any(token < 0 for token in step)]
        assert sorted(len(step) for step in steps) == [11, 11, 11, 15]
        assert all(token < 0 for step in steps for token in step)


def test_rotary_positions_of_images_have_rows_and_columns(make: Make) -> None:
    model, program, _ = make(sight={"axes": True, "factor": 2}, chunk=7)
    rows: list[Any] = []
    step = program.step
    program.step = lambda given, *stop: (rows.extend(given), step(given, *stop))[1]
    image = Drawing(((1, 2),))
    talk = model.conversation(max_tokens=3)
    talk.chat("?", images=[image])
    found = np.concatenate([row.positions for row in rows])
    before = len("u:[0")
    assert found[:before].tolist() == [[n] * 3 for n in range(before)]
    assert found[before : before + 2].tolist() == [[4, 4, 4], [4, 4, 5]]
    behind = len("]?\na:") + 2  # and two tokens of the answer, which were read
    assert found[before + 2 :].tolist() == [[6 + n] * 3 for n in range(behind)]
    model.chat("text alone", max_tokens=1)
    assert rows[-1].positions is None
