"""Images that Anthropic's client sends are what the model sees."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from cactus.model import Model
from tests.server.anthropic.conftest import made
from tests.server.running import serving
from tests.vision.tiny import png

PNG = png("square")
SOURCE: Any = {
    "type": "base64",
    "media_type": "image/png",
    "data": base64.b64encode(PNG).decode(),
}
IMAGE: Any = {"type": "image", "source": SOURCE}


@pytest.fixture(scope="module")
def client(tiny_vlm: Path) -> Iterator[Anthropic]:
    """A client of a server of `tiny_vlm`."""
    with serving(tiny_vlm) as running, made(running.url) as client:
        yield client


def said(message: Any) -> str:
    return "".join(block.text for block in message.content)


def test_an_image_is_seen(tiny_vlm: Path, client: Anthropic) -> None:
    content: Any = [IMAGE, {"type": "text", "text": "What is this?"}]
    meant: Any = [{"type": "image", "image": PNG}, {"type": "text", "text": "What is this?"}]
    with Model(tiny_vlm) as model:
        want = model.chat([{"role": "user", "content": meant}], max_tokens=8, sampling="model")
        count = model.count_tokens([{"role": "user", "content": meant}])
    told: Any = {"model": "tiny-vl", "messages": [{"role": "user", "content": content}]}
    assert said(client.messages.create(max_tokens=8, **told)) == want.text
    with client.messages.stream(max_tokens=8, **told) as stream:
        assert said(stream.get_final_message()) == want.text
    assert client.messages.count_tokens(**told).input_tokens == count


def test_an_image_in_the_result_of_a_tool_is_seen(tiny_vlm: Path, client: Anthropic) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1"}
    turns: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [use]},
        {
            "role": "user",
            "content": [{**result, "content": [{"type": "text", "text": "Seen"}, IMAGE]}],
        },
    ]
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {}}}
    meant: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "look", "content": "Seen"},
        {"role": "user", "content": [{"type": "image", "image": PNG}]},
    ]
    with Model(tiny_vlm) as model:
        want = model.chat(meant, max_tokens=8, sampling="model")
    assert said(client.messages.create(model="tiny-vl", messages=turns, max_tokens=8)) == want.text


def test_a_model_that_sees_nothing_says_so(tiny_model: Path) -> None:
    with (
        serving(tiny_model) as running,
        made(running.url) as client,
        pytest.raises(anthropic.BadRequestError, match="cannot look at images"),
    ):
        client.messages.create(
            model="tiny", messages=[{"role": "user", "content": [IMAGE]}], max_tokens=8
        )


@pytest.mark.fault("F41")
def test_an_address_is_fetched_only_where_the_server_may(client: Anthropic) -> None:
    image: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/x.png"}}
    with pytest.raises(anthropic.BadRequestError, match="not allowed here"):
        client.messages.create(
            model="tiny-vl", messages=[{"role": "user", "content": [image]}], max_tokens=8
        )


def test_where_it_may_an_address_is_asked(tiny_vlm: Path) -> None:
    image: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/x.png"}}
    with (
        serving(tiny_vlm, image_urls=True) as running,
        made(running.url) as client,
        pytest.raises(anthropic.BadRequestError) as caught,
    ):
        client.messages.create(
            model="tiny-vl", messages=[{"role": "user", "content": [image]}], max_tokens=8
        )
    assert "127.0.0.1" in str(caught.value) and "not allowed here" not in str(caught.value)
