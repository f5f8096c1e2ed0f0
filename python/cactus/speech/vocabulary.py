"""Whisper's special tokens: what a prompt says, what an answer may contain, what a time is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cactus.errors import InvalidRequest, ModelFormatError
from cactus.inputs.checks import short
from cactus.inputs.languages import unknown
from cactus.tokenizer import Tokenizer

TIME_STEP = 0.02
"""Seconds from one timestamp token to the next."""

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Vocabulary:
    """The ids that steer Whisper. Everything from ``first_time`` on is a timestamp.

    ``languages`` maps codes ("en") to ids; it is empty for English-only models, which have no
    language and no task in their prompt. ``silent`` are ids never chosen, ``silent_first`` those
    not chosen for the first token of an answer. ``steering`` are those of ``silent`` that are not
    text, whatever the model lists.
    """

    start: int
    end: int
    previous: int
    no_speech: int | None
    no_timestamps: int
    first_time: int
    tasks: Mapping[str, int]
    languages: Mapping[str, int]
    silent: frozenset[int]
    silent_first: frozenset[int]
    size: int
    steering: frozenset[int] = frozenset()

    @classmethod
    def of(cls, tokenizer: Tokenizer, generation: Mapping[str, Any], size: int) -> Vocabulary:
        """The tokens of a tokenizer; ``generation`` is generation_config.json, ``size`` the logits.

        Raises ModelFormatError naming a token that Whisper cannot do without.
        """

        def need(text: str) -> int:
            id = tokenizer.token_to_id(text)
            if id is None or id >= size:
                raise ModelFormatError(
                    f"tokenizer.json: {text} is missing; this is not a Whisper model"
                )
            return id

        def ids(key: str) -> frozenset[int]:
            listed = generation.get(key) or ()
            return frozenset(
                id for id in listed if isinstance(id, int) and not isinstance(id, bool) and id >= 0
            )

        no_timestamps = need("<|notimestamps|>")
        no_speech = tokenizer.token_to_id("<|nospeech|>")
        if no_speech is None:
            no_speech = tokenizer.token_to_id("<|nocaptions|>")
        start = need("<|startoftranscript|>")
        tasks = {task: id for task in TASKS if (id := tokenizer.token_to_id(f"<|{task}|>"))}
        languages: dict[str, int] = {}
        if tasks:
            # Languages lie between the start of a transcript and the first task.
            for id in range(start + 1, min(tasks.values())):
                text = tokenizer.id_to_token(id) or ""
                if text.startswith("<|") and text.endswith("|>"):
                    languages[text[2:-2]] = id
        multilingual = size >= 51_865 or bool(generation.get("is_multilingual"))
        steering = {
            *(start, need("<|startofprev|>"), need("<|startoflm|>"), no_timestamps),
            *tasks.values(),
            *languages.values(),
            *(() if no_speech is None else (no_speech,)),
        }
        return cls(
            start=start,
            end=need("<|endoftext|>"),
            previous=need("<|startofprev|>"),
            no_speech=no_speech,
            no_timestamps=no_timestamps,
            first_time=no_timestamps + 1,
            tasks=tasks if multilingual else {},
            languages=languages if multilingual else {},
            silent=ids("suppress_tokens") | steering,
            steering=frozenset(steering),
            silent_first=ids("begin_suppress_tokens"),
            size=size,
        )

    def prompt(self, language: str | None, task: str, timestamps: bool) -> list[int]:
        """What stands before an answer; InvalidRequest for a language or task there is not."""
        if task not in TASKS:
            raise InvalidRequest(f"task is {short(task)}, expected one of {', '.join(TASKS)}")
        ids = [self.start]
        if self.languages:
            ids += [self.language(language), self.tasks[task]]
        elif task != "transcribe" or language not in (None, "en"):
            raise InvalidRequest(
                f"this model knows English only: language en, task transcribe; got language "
                f"{short(language)}, task {task}. Models without .en in their name know others"
            )
        return ids if timestamps else [*ids, self.no_timestamps]

    def language(self, code: str | None) -> int:
        """The id of a language code such as "en"; InvalidRequest names those that are near."""
        if code is None or code not in self.languages:
            raise unknown(code, self.languages)
        return self.languages[code]

    def seconds(self, id: int) -> float:
        """The time that a timestamp token means, from the start of its window."""
        return (id - self.first_time) * TIME_STEP

    def is_text(self, id: int) -> bool:
        """Whether an id is a piece of text: no timestamp and nothing that steers."""
        return id < self.end
