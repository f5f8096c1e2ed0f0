"""Images in chats that do more than chat: forms, tools, documents, a cloud."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cactus.chat.messages import Message, parse_messages
from cactus.cloud.images import image_url
from cactus.generate.elsewhere import Reply
from cactus.images.door import load
from cactus.model import Model
from tests.generate.scripted import babbling, saying
from tests.vision.scripted import DrawnVision, asked, drawing, seeing_model

Make = Callable[..., tuple[Model, Any, DrawnVision]]

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
    },
}


@pytest.fixture
def make() -> Iterator[Make]:
    models: list[Model] = []

    def build(script: Any = babbling, **options: Any) -> tuple[Model, Any, DrawnVision]:
        made = seeing_model(script, **{"chunk": 40, "context": 2000, **options})
        models.append(made[0])
        return made

    yield build
    for model in models:
        model.close()


def seen(program: Any) -> list[int]:
    """The pixels that the last session has read."""
    return [token - 1000 for token in program.sessions[-1].tokens if token > 999]


def pixels(*images: Any) -> list[int]:
    return [pixel for image in images for tile in image.tiles for pixel in tile]


def test_an_answer_about_an_image_keeps_to_a_schema(make: Make) -> None:
    model, program, _ = make()
    image = drawing(1, 2)
    answer = model.chat(asked("Who is this?", image), schema=PERSON, max_tokens=60)
    assert seen(program) == pixels(image)
    assert answer.structure is not None and answer.structure.unenforced == ()


def test_tools_are_called_about_images_and_their_results_may_have_some(make: Make) -> None:
    call = '<tool_call>{"name": "look_up", "arguments": {"what": "this"}}</tool_call>'
    model, program, _ = make(saying(call))
    one, two = drawing(1, 2), drawing(2)
    messages = asked("What is this?", one)
    answer = model.chat(messages, tools=[LOOK_UP])
    assert answer.finish_reason == "tool_calls" and seen(program) == pixels(one)
    result = {"role": "tool", "content": "it is", "images": [two]}
    model.chat([*messages, answer.message, result], tools=[LOOK_UP], max_tokens=1)
    assert seen(program) == pixels(one, two)
    other = model.chat(asked("What is this?", two), tools=[LOOK_UP])
    assert other.call_ids and answer.call_ids


def test_log_probabilities_and_confidence_are_those_of_the_answer(make: Make) -> None:
    model, _, _ = make(saying("no idea", entropies=[5.0] * 9))
    answer = model.chat(asked("?", drawing(1)), logprobs=True, top_logprobs=2)
    assert [entry.text for entry in answer.token_logprobs or ()] == [*"no idea"]
    unsure = model.chat(asked("?", drawing(1)), confidence_threshold=0.9)
    assert unsure.finish_reason == "handoff" and math.isfinite(unsure.confidence)


@dataclass
class Said:
    """Documents that say one sentence before the last question."""

    counted: list[int] = field(default_factory=list)

    def consult(self, messages: Sequence[Message], room: Any) -> Any:
        self.counted.append(room.count(messages))
        said = messages[-1].with_text_before("It is written. ")
        return Consulted([*messages[:-1], said])


@dataclass
class Consulted:
    messages: Sequence[Message]
    answer: None = None

    def cited(self, completion: Any) -> Any:
        return completion


def test_documents_stand_beside_images_and_count_them(make: Make) -> None:
    model, program, _ = make()
    said = Said()
    model.documents = said  # type: ignore[assignment]
    image = drawing(1, 2)
    model.chat(asked("What?", image), max_tokens=1)
    assert seen(program) == pixels(image)
    text = bytes(t for t in program.sessions[-1].tokens if t < 256).decode()
    assert "It is written. " in text and "What?" in text
    assert said.counted == [model.count_tokens(asked("What?", image))]


class Elsewhere:
    """A cloud that says some words, and then breaks off if it is to."""

    def __init__(self, words: str, error: Any = None) -> None:
        self.words, self.error = words, error
        self.asked: list[Sequence[Message]] = []

    def ready(self) -> bool:
        return True

    def ask(self, messages: Sequence[Message], options: Any, *, streamed: bool, wake: Any) -> Any:
        self.asked.append(messages)
        return Answering(self.words, self.error, wake)


class Answering:
    def __init__(self, words: str, error: Any, wake: Any) -> None:
        self._words, self._error, self._wake = words, error, wake
        self.reply: Reply | None = None

    def start(self) -> None:
        self.reply = Reply("host", "large", self._error)
        self._wake()

    def take(self) -> str:
        words, self._words = self._words, ""
        return words

    def close(self) -> None:
        pass


def test_a_cloud_is_asked_with_the_images_and_only_where_it_may(make: Make) -> None:
    model, _, _ = make(saying("no idea", entropies=[5.0] * 9))
    model.elsewhere = cloud = Elsewhere("a walrus")  # type: ignore[assignment]
    image = drawing(1)
    answer = model.chat(asked("What?", image))
    assert answer.text == "a walrus" and answer.cloud_handoff
    assert cloud.asked[0][-1].images == (image,)
    model.chat(asked("What?", image), allow_cloud=False)
    assert len(cloud.asked) == 1


def test_a_text_that_a_cloud_began_is_gone_on_with_by_who_sees_the_image(make: Make) -> None:
    from cactus.errors import CloudError

    model, program, vision = make(saying("no idea", entropies=[5.0] * 9))
    broken = CloudError("the connection was lost", code="connection")
    model.elsewhere = Elsewhere("a wal", broken)  # type: ignore[assignment]
    image = drawing(1, 2)
    with model.stream(asked("What?", image)) as stream:
        shown = "".join(event.text for event in stream)
    assert shown.startswith("a wal") and len(shown) > len("a wal")
    assert seen(program) == pixels(image) and len(vision.looked) == 2


def test_pixels_go_to_a_cloud_as_a_png() -> None:
    values = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for source in (values, Image.fromarray(values), load(values)):
        kind, _, data = image_url(source).partition(",")
        assert kind == "data:image/png;base64"
        assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == values).all()


def test_messages_take_images_in_every_form() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    given: list[Any] = [array, Image.fromarray(array), load(array), b"GIF89a", memoryview(b"x")]
    [message] = parse_messages([{"role": "user", "content": "?", "images": given}])
    assert all(one is other for one, other in zip(message.images, given, strict=True))
    assert replace(message, content="other").images == message.images
    assert "images" not in json.dumps(message.to_template())
