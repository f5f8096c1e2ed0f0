"""Three of the four doors to a model, and what comes in by them; server.py has the fourth."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import cactus
from cactus import Model

ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Hello", {"max_tokens": 4, "temperature": 0}),
    ("What is 2 + 2?", {"max_tokens": 6, "temperature": 0}),
    ("Grüße aus 東京 🌵", {"max_tokens": 5, "temperature": 0}),
    ("a b " * 40, {"max_tokens": 4, "temperature": 0}),
    ("Hello", {"max_tokens": 6, "temperature": 0.8, "top_p": 0.9, "seed": 7}),
    ("Tell me of the sea", {"max_tokens": 8, "temperature": 1.2, "top_p": 1.0, "seed": 11}),
)
"""Questions whose answers are the same at every door, and at any time."""
TOGETHER = 8
"""Questions that one coroutine waits for at once."""

Answers = dict[int, str]


def messages(text: str) -> list[dict[str, str]]:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def another(chosen: random.Random) -> list[dict[str, str]]:
    """A question that nobody has asked before."""
    return messages("".join(chosen.choices("abcdefgh ", k=chosen.randint(1, 60))))


class Doors:
    """A model that is loaded, and asked; `answers` are the first ones."""

    def __init__(self, folder: Path, answers: Answers) -> None:
        self._folder, self.answers = folder, answers
        self.model = Model(folder, threads=1, cache_bytes=1 << 20)
        self.handle = cactus.cactus_init(str(folder))

    def check(self, index: int, text: str, door: str) -> None:
        """An answer is what it was the first time. Raises AssertionError."""
        first = self.answers.setdefault(index, text)
        assert text == first, f"{door}: question {index}: {text!r}, first {first!r}"

    def flat(self, times: int) -> None:
        """Ask by the flat functions."""
        for number in range(times):
            index = number % len(ASKED)
            text, options = ASKED[index]
            given = {**options, "confidence_threshold": 0}
            told = json.loads(cactus.cactus_complete(self.handle, messages(text), **given))
            assert told["success"], told
            self.check(index, told["response"], "flat")

    def typed(self, times: int, chosen: random.Random) -> None:
        """Ask by the methods of a model; some streams are left."""
        for number in range(times):
            index = number % len(ASKED)
            text, options = ASKED[index]
            match number % 5:
                case 0:
                    with self.model.stream(another(chosen), max_tokens=30) as stream:
                        next(iter(stream), None)
                case 1:
                    self.model.chat(another(chosen), max_tokens=4)
                case 2:
                    with self.model.stream(messages(text), **options) as stream:
                        said = "".join(event.text for event in stream)
                    self.check(index, said, "stream")
                case _:
                    said = self.model.chat(messages(text), **options).text
                    self.check(index, said, "typed")

    def awaited(self, times: int) -> None:
        """Ask by coroutines, several at once; some are cancelled."""
        asyncio.run(self._awaited(times))

    async def _awaited(self, times: int) -> None:
        for begin in range(0, times, TOGETHER):
            indices = [(begin + n) % len(ASKED) for n in range(min(TOGETHER, times - begin))]
            asked = [(messages(text), options) for text, options in map(ASKED.__getitem__, indices)]
            tasks = [
                asyncio.ensure_future(self.model.achat(question, **options))
                for question, options in asked
            ]
            if begin // TOGETHER % 4 == 3:
                await asyncio.sleep(0.001)
                tasks[-1].cancel()
                with suppress(asyncio.CancelledError):
                    await tasks.pop()
            for index, told in zip(indices, await asyncio.gather(*tasks), strict=False):
                self.check(index, told.text, "async")

    def load(self, times: int) -> None:
        """Load the model again, ask, and close it; by turns with a method and flatly."""
        for number in range(times):
            text, options = ASKED[0]
            if number % 2:
                with Model(self._folder, threads=1) as model:
                    self.check(0, model.chat(messages(text), **options).text, "load")
                continue
            handle = cactus.cactus_init(str(self._folder))
            assert handle is not None, cactus.cactus_get_last_error()
            given = {**options, "confidence_threshold": 0}
            told = json.loads(cactus.cactus_complete(handle, messages(text), **given))
            self.check(0, told["response"], "flat load")
            cactus.cactus_destroy(handle)

    def close(self) -> None:
        """Free both."""
        cactus.cactus_destroy(self.handle)
        self.model.close()
