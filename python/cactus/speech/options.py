"""What a transcription may be asked for, checked before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean, integer, known, number, short, text
from cactus.inputs.languages import code_of

if TYPE_CHECKING:
    from cactus.audio.segmenter import VadOptions

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class TranscribeOptions(TypedDict, total=False):
    """The options of ``Model.transcribe`` and its streaming, live and async forms."""

    language: str | None
    task: Literal["transcribe", "translate"] | None
    multilingual: bool | None
    language_detection_segments: int | None
    language_detection_threshold: float | None
    timestamps: bool | None
    without_timestamps: bool | None
    word_timestamps: bool | None
    logprobs: bool | None
    clip_timestamps: str | Sequence[float] | None
    max_initial_timestamp: float | None
    beam_size: int | None
    best_of: int | None
    patience: float | None
    length_penalty: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    temperature: float | Sequence[float] | None
    compression_ratio_threshold: float | None
    log_prob_threshold: float | None
    no_speech_threshold: float | None
    hallucination_silence_threshold: float | None
    condition_on_previous_text: bool | None
    prompt_reset_on_temperature: float | None
    initial_prompt: str | None
    prefix: str | None
    hotwords: str | None
    suppress_blank: bool | None
    suppress_tokens: Sequence[int] | None
    max_new_tokens: int | None
    vad: bool | None
    vad_filter: bool | None
    vad_parameters: Mapping[str, Any] | None
    batch_size: int | None
    seed: int | None


@dataclass(frozen=True)
class Options:
    """The options of a transcription; names, defaults and meaning are those of faster-whisper.

    ``language`` is a code or an English name; None, or "auto", detects it from the first
    ``language_detection_segments`` windows: the first that is surer than
    ``language_detection_threshold`` decides, else most of them. ``multilingual`` detects it in
    every window. A threshold None is not looked at. Where an answer's compression ratio is above
    its threshold, or its average log-probability below, the next of ``temperature`` is tried.
    ``clip_timestamps`` are seconds: start, end, start, end ... of what is transcribed. With a
    ``batch_size`` above 1 the recording is cut in pauses, and so many passages go on at a time.
    """

    language: str | None = None
    task: str = "transcribe"
    multilingual: bool = False
    language_detection_segments: int = 1
    language_detection_threshold: float | None = 0.5
    timestamps: bool = True
    word_timestamps: bool = False
    logprobs: bool = False
    clip_timestamps: tuple[float, ...] = ()
    max_initial_timestamp: float = 1.0
    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    temperature: tuple[float, ...] = TEMPERATURES
    compression_ratio_threshold: float | None = 2.4
    log_prob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    hallucination_silence_threshold: float | None = None
    condition_on_previous_text: bool = True
    prompt_reset_on_temperature: float = 0.5
    initial_prompt: str = ""
    prefix: str = ""
    hotwords: str = ""
    suppress_blank: bool = True
    suppress_tokens: tuple[int, ...] = (-1,)
    max_new_tokens: int | None = None
    vad: bool = True
    vad_parameters: VadOptions | None = None
    batch_size: int = 1
    seed: int = 0


OTHER_NAMES: dict[str, tuple[str, Callable[[bool], bool]]] = {
    "vad_filter": ("vad", lambda value: value),
    "without_timestamps": ("timestamps", lambda value: not value),
}
"""Names of faster-whisper for options that have another one here, and their values here."""


def parse(raw: Mapping[str, Any]) -> Options:
    """Options by name. Raises InvalidRequest naming one that is unknown or out of its range.

    None means the default; for the thresholds it means that they are not looked at.
    """
    known(raw, TranscribeOptions.__annotations__)
    given = {n: v for n, v in raw.items() if v is not None or n.endswith("_threshold")}
    for other, (name, value_of) in OTHER_NAMES.items():
        if other in given:
            if name in given:
                raise InvalidRequest(f"{name} and {other} are two names of one option: give one")
            given[name] = value_of(boolean(other, given.pop(other)))
    checked: dict[str, Any] = {}
    for name, value in given.items():
        checked[name] = None if value is None else _CHECKS[name](name, value)
    options = Options(**checked)
    _check_together(options)
    return options


def _check_together(options: Options) -> None:
    """InvalidRequest for an option that another one leaves without an effect."""
    if options.multilingual and options.language is not None:
        raise InvalidRequest(
            f"multilingual detects the language of every window, language is "
            f"{short(options.language)}: give one of them"
        )
    if options.hallucination_silence_threshold is not None and not options.word_timestamps:
        raise InvalidRequest("hallucination_silence_threshold needs word_timestamps=True")
    if options.vad_parameters is not None and not options.vad:
        raise InvalidRequest("vad_parameters need voice activity detection: vad is False")
    if options.batch_size > 1 and (not options.vad or options.clip_timestamps):
        why = "vad is False" if not options.vad else "clip_timestamps are given"
        raise InvalidRequest(
            f"batch_size is {options.batch_size}: voice activity detection cuts the recording "
            f"into what goes on at a time, and {why}; give batch_size=1"
        )


def _language(name: str, value: object) -> str | None:
    code = code_of(text(name, value))
    return None if code == "auto" else code


def _temperatures(name: str, value: object) -> tuple[float, ...]:
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several:
        raise InvalidRequest(f"{name} is empty, expected one or several numbers")
    return tuple(number(name, each, 0, 2) for each in several)


def _clips(name: str, value: object) -> tuple[float, ...]:
    several: object = value
    if isinstance(value, str):
        try:
            several = [float(each) for each in value.split(",")]
        except ValueError:
            raise InvalidRequest(
                f'{name} is {short(value)}, expected seconds such as "0,12.5,30,60"'
            ) from None
    if not isinstance(several, (list, tuple)):
        raise InvalidRequest(f"{name} is a {type(value).__name__}, expected a list of seconds")
    times = tuple(number(name, each, 0, 1e9) for each in several)
    if any(a >= b for a, b in pairwise(times)):
        raise InvalidRequest(f"{name} must rise: start, end, start, end ...; got {short(value)}")
    return () if times == (0.0,) else times


def _suppressed(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest(f"{name} is a {type(value).__name__}, expected a list of token ids")
    return tuple(integer(name, each, -1, 2**31 - 1) for each in value)


def _vad_parameters(name: str, value: Any) -> VadOptions:
    from cactus.audio.segmenter import VadOptions

    return VadOptions.parse(value)


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "language": _language,
    "task": text,
    "multilingual": boolean,
    "language_detection_segments": lambda n, v: integer(n, v, 1, 100),
    "language_detection_threshold": lambda n, v: number(n, v, 0, 1),
    "clip_timestamps": _clips,
    "repetition_penalty": lambda n, v: number(n, v, 0.01, 100),
    "no_repeat_ngram_size": lambda n, v: integer(n, v, 0, 448),
    "hallucination_silence_threshold": lambda n, v: number(n, v, 0, 1e6),
    "prefix": text,
    "suppress_blank": boolean,
    "suppress_tokens": _suppressed,
    "vad_parameters": _vad_parameters,
    "timestamps": boolean,
    "logprobs": boolean,
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
    "batch_size": lambda n, v: integer(n, v, 1, 64),
    "seed": lambda n, v: integer(n, v, 0, 2**64 - 1),
}
