"""The chat of `cactus run` with a model that repeats what it is told; run by test_terminal.py."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cactus.cli import commands
from cactus.cli import main as cli
from cactus.cli.chat import Chat, Manner
from cactus.cli.run import chat_settings
from cactus.cli.talk import talk
from cactus.errors import ContextLengthExceeded, InsufficientMemory, NativeError
from cactus.types import Completion, Metrics, StreamEvent

REFUSALS = {
    "too long": ContextLengthExceeded(
        "the prompt has 74 tokens, 14 more than the context of 60", prompt_tokens=74, limit=60
    ),
    "too big": InsufficientMemory("no room for the cache"),
    "odd": NativeError("a step failed"),
}


class EchoStream:
    """Says the last message as JSON, letter by letter; "slow" takes ten seconds.

    "stubborn" does not stop when it is told to, as a long step of a real model. "ponder" makes it
    think two lines first. "stare" takes a second and a half for three tiles of images.
    """

    def __init__(self, model: EchoModel, messages: list[dict[str, Any]], options: Any) -> None:
        self.model, self.text = model, ""
        self.says = repr([message["content"] for message in messages])
        self.says += "".join(
            f" sees {[(image.width, image.height) for image in message['images']]}"
            for message in messages
            if "images" in message
        )
        self.look = options.get("image_progress") if "stare" in self.says else None
        self.says += "".join(
            f" after {message['reasoning_content']!r}"
            for message in messages
            if "reasoning_content" in message
        )
        self.stubborn = "stubborn" in messages[-1]["content"]
        self.pause = 0.02 if "slow" in messages[-1]["content"] else 0.0
        if self.pause:
            self.says += "." * 500
        self.reason = "stop"
        self.reasoning: str | None = None

    def __iter__(self):
        for word, error in REFUSALS.items():
            if word in self.says:
                yield StreamEvent("half", 1)
                raise error
        for tile in range(4 if self.look else 0):
            self.look("looking at images", tile, 3)
            time.sleep(0.5)
        if "ponder" in self.says:
            self.reasoning = "Well,\n\x1b[31mlet me see"
            for letter in self.reasoning:
                yield StreamEvent(letter, 1, "reasoning")
        for letter in self.says:
            if self.model.stopped and not self.stubborn:
                self.reason = "cancelled"
                return
            time.sleep(self.pause)
            self.text += letter
            yield StreamEvent(letter, 1)

    @property
    def completion(self) -> Completion:
        cost = Metrics(decode_tokens=7)
        if self.look:
            cost = replace(cost, encoded_tiles=3, encode_time_ms=1500)
        if "length" in self.says:
            self.reason = "length"
        if "over and over" in self.says:
            self.reason = "repetition"
        return Completion(self.text, self.reason, 1.0, (), (), cost, reasoning=self.reasoning)

    def __enter__(self):
        self.model.stopped = False
        return self

    def __exit__(self, *_: object) -> None:
        pass


class EchoModel:
    name = architecture = "echo"
    context_length = 60
    stopped = False
    sampling_defaults = SimpleNamespace(temperature=0.6, top_p=0.9, source="model")

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def count_tokens(self, messages, **_options) -> int:
        return sum(1 + 20 * len(message.get("images", ())) for message in messages)

    def stream(self, messages, **options) -> EchoStream:
        return EchoStream(self, messages, options)

    def stop(self) -> None:
        self.stopped = True

    def reset(self) -> None:
        pass


if __name__ == "__main__":
    manner = Manner(history="--history" in sys.argv)
    folder = Path(sys.argv[-1])
    options = {"sampling": "model"}
    chat = Chat(
        EchoModel(), folder, options=options, manner=manner, settings=chat_settings(),
        sees="--sees" in sys.argv,
    )  # fmt: skip
    commands.cactus.invoke = lambda context: context.exit(talk(chat))
    sys.exit(cli.run_cli(["run"]))
