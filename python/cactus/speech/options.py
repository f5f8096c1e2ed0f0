"""What a transcription may be asked for, checked before anything is heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cactus.errors import InvalidRequest
from cactus.generate.options import boolean, integer, known, number, text
from cactus.speech.languages import code_of

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Options:
    """The options of a transcription; names, defaults and meaning are those of faster-whisper.

    ``language`` is a code or a name; None, or "auto", detects it from the first window. A
    threshold None is not looked at. Where an answer's compression ratio is above its threshold, or
    its average log-probability below, the next of ``temperature`` is tried.
    """

    language: str | None = None
    task: str = "transcribe"
    timestamps: bool = True
    word_timestamps: bool = False
    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    temperature: tuple[float, ...] = TEMPERATURES
    compression_ratio_threshold: float | None = 2.4
    log_prob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    prompt_reset_on_temperature: float = 0.5
    initial_prompt: str = ""
    hotwords: str = ""
    max_initial_timestamp: float = 1.0
    max_new_tokens: int | None = None
    vad: bool = True
    seed: int = 0


def parse(raw: Mapping[str, Any]) -> Options:
    """Options by name. Raises InvalidRequest naming one that is unknown or out of its range.

    None means the default; for the thresholds it means that they are not looked at.
    """
    known(raw, _CHECKS)
    given = {n: v for n, v in raw.items() if v is not None or n.endswith("_threshold")}
    checked: dict[str, Any] = {}
    for name, value in given.items():
        checked[name] = None if value is None else _CHECKS[name](name, value)
    return Options(**checked)


def _language(name: str, value: object) -> str | None:
    code = code_of(text(name, value))
    return None if code == "auto" else code


def _temperatures(name: str, value: object) -> tuple[float, ...]:
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several:
        raise InvalidRequest(f"{name} is empty, expected one or several numbers")
    return tuple(number(name, each, 0, 2) for each in several)


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "language": _language,
    "task": text,
    "timestamps": boolean,
    "word_timestamps": boolean,
    "beam_size": lambda n, v: integer(n, v, 1, 16),
    "best_of": lambda n, v: integer(n, v, 1, 16),
    "patience": lambda n, v: number(n, v, 0.1, 10),
    "length_penalty": lambda n, v: number(n, v, 0, 10),
    "temperature": _temperatures,
    "compression_ratio_threshold": lambda n, v: number(n, v, 0, 1e6),
    "log_prob_threshold": lambda n, v: number(n, v, -1e6, 0),
    "no_speech_threshold": lambda n, v: number(n, v, 0, 1),
    "condition_on_previous_text": boolean,
    "prompt_reset_on_temperature": lambda n, v: number(n, v, 0, 1e6),
    "initial_prompt": text,
    "hotwords": text,
    "max_initial_timestamp": lambda n, v: number(n, v, 0, 30),
    "max_new_tokens": lambda n, v: integer(n, v, 1),
    "vad": boolean,
    "seed": lambda n, v: integer(n, v, 0, 2**64 - 1),
}
