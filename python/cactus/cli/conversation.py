"""What was said in a chat: taking turns back, forgetting the oldest, keeping it in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.cli.images import Attached, load_image
from cactus.errors import InvalidImage, InvalidRequest
from cactus.inputs.versions import wrong_version

if TYPE_CHECKING:
    from cactus.types import Completion

FORMAT = 1
"""Version of the file of a saved conversation."""
FILE_LIMIT = 64 << 20
"""Bytes of a saved conversation that are read at most."""
ROLES = ("system", "user", "assistant", "tool")
FOLLOWING = {
    "nothing": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("user", "tool", "assistant"),
}
"""The roles that may follow one; an assistant that called tools speaks again after them."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked: a text, about images or not."""

    text: str
    images: tuple[Attached, ...] = ()

    @property
    def message(self) -> Message:
        """It as a model takes it."""
        return self._message([image.picture for image in self.images])

    @property
    def saved(self) -> Message:
        """It as a file has it: of images their paths."""
        return self._message([image.path for image in self.images])

    def _message(self, images: list[Any]) -> Message:
        message: Message = {"role": "user", "content": self.text}
        return message | {"images": images} if images else message


class Conversation:
    """A system message, if there is one, and turns: what was asked, and the messages of the answer.

    Those are several where tools were called.
    """

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.turns: list[tuple[Question, list[Message]]] = []

    @property
    def images(self) -> list[Attached]:
        """The images of all turns, in their order."""
        return [image for question, _ in self.turns for image in question.images]

    def messages(self, *more: Question) -> list[Message]:
        """All messages as a model takes them, `more` being what is asked next."""
        messages = self._system()
        for question, answer in self.turns:
            messages += [question.message, *answer]
        return messages + [question.message for question in more]

    def add(
        self, question: Question, completion: Completion, before: Sequence[Message] = ()
    ) -> None:
        """Append a turn; `before` are the calls of tools that led to the answer, and their results.

        Where a message has calls alone, its content is kept as an empty text.
        """
        answer: Message = {"role": "assistant", "content": completion.text}
        if completion.reasoning:
            answer["reasoning_content"] = completion.reasoning
        work = [message | {"content": message.get("content") or ""} for message in before]
        self.turns.append((question, [*work, answer]))

    def save(self, file: Path, model: str) -> None:
        """Write it as JSON, of images their paths.

        Raises OSError; FileExistsError rather than replace a file.
        """
        messages = self._system()
        for question, answer in self.turns:
            messages += [question.saved, *answer]
        with file.open("x", encoding="utf-8") as out:
            whole = {"format": FORMAT, "model": model, "messages": messages}
            json.dump(whole, out, ensure_ascii=False)
            out.write("\n")

    def _system(self) -> list[Message]:
        return [{"role": "system", "content": self.system}] if self.system else []

    @classmethod
    def load(cls, file: Path) -> Conversation:
        """What `save` wrote.

        Raises OSError, and InvalidRequest where it is something else, or an image is gone.
        """
        with file.open("rb") as opened:
            data = opened.read(FILE_LIMIT + 1)
        try:
            if len(data) > FILE_LIMIT:
                raise ValueError(f"larger than {FILE_LIMIT >> 20} MB")
            saved = json.loads(data)
            version = saved.get("format", FORMAT)  # older versions wrote none
            wrong = wrong_version(str(file), "format", version, FORMAT, "choose another file")
            if wrong is None:
                return cls._of(saved["messages"])
        except InvalidImage as error:
            raise InvalidImage(f"{file} has an image that cannot be loaded: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(f"{file} is not a conversation of /save: {error}") from None
        raise InvalidRequest(wrong)

    @classmethod
    def _of(cls, messages: Sequence[Message]) -> Conversation:
        for number, message in enumerate(messages):
            if message["role"] not in ROLES or not isinstance(message["content"], str):
                raise ValueError(f"message {number} is not text of {', '.join(ROLES)}")
        first = bool(messages) and messages[0]["role"] == "system"
        made = cls(messages[0]["content"] if first else None)
        before = "nothing"
        for message in messages[first:]:
            role = message["role"]
            if role not in FOLLOWING[before]:
                raise ValueError("user and assistant do not take turns")
            if role == "user":
                made.turns.append((_question(message), []))
            else:
                made.turns[-1][1].append(message)
            before = role
        if before == "user":
            raise ValueError("the last question has no answer")
        return made


def _question(message: Message) -> Question:
    paths = message.get("images", [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ValueError("images are not a list of paths")
    return Question(message["content"], tuple(map(load_image, paths)))
