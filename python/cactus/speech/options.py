"""What a transcription may be asked for, checked before anything is heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cactus.errors import InvalidRequest
from cactus.generate.options import boolean, integer, number

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Options:
    """The options of a transcription; names, defaults and meaning are those of faster-whisper.

    ``language`` None detects it from the first window. Where an answer's compression ratio is above
    its threshold, or its average log-probability below, the next of ``temperature`` is tried.
    """

    language: str | None = None
    task: str = "transcribe"
    timestamps: bool = True
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


_RANGES = {
    "patience": (0.1, 10.0),
    "length_penalty": (0.0, 10.0),
    "compression_ratio_threshold": (0.0, 1e6),
    "log_prob_threshold": (-1e6, 0.0),
    "no_speech_threshold": (0.0, 1.0),
    "prompt_reset_on_temperature": (0.0, 1e6),
    "max_initial_timestamp": (0.0, 30.0),
}


def parse(given: Mapping[str, Any]) -> Options:
    """Options by name. Raises InvalidRequest naming one that is unknown or out of its range."""
    known = {field.name for field in fields(Options)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidRequest(
            f"unknown option {unknown[0]!r:.60}; known: {', '.join(sorted(known))}"
        )
    values = dict(given)
    for name in ("timestamps", "condition_on_previous_text", "vad"):
        if name in values:
            values[name] = boolean(name, values[name])
    for name, most in (("beam_size", 16), ("best_of", 16), ("max_new_tokens", None)):
        if values.get(name) is not None:
            values[name] = integer(name, values[name], 1, most)
    for name, (low, high) in _RANGES.items():
        if values.get(name) is not None:
            values[name] = number(name, values[name], low, high)
    for name in ("language", "task", "initial_prompt", "hotwords"):
        if values.get(name) is not None and not isinstance(values[name], str):
            raise InvalidRequest(f"{name} must be a string, got {type(values[name]).__name__}")
    if "seed" in values:
        values["seed"] = integer("seed", values["seed"], 0)
    if "temperature" in values:
        values["temperature"] = _temperatures(values["temperature"])
    return Options(**values)


def _temperatures(given: object) -> tuple[float, ...]:
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if not several:
        raise InvalidRequest("temperature is empty, expected one or several numbers")
    return tuple(number("temperature", each, 0.0, 2.0) for each in several)
