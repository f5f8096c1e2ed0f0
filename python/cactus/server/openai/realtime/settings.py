"""What a session is like, and how a client changes that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from cactus.inputs.checks import short
from cactus.inputs.languages import NAMES, code_of
from cactus.server.errors import ApiError
from cactus.server.openai.audio_types import only_language
from cactus.server.openai.realtime.events import (
    AudioFormat,
    AudioReply,
    FormatReply,
    InputConfig,
    InputReply,
    InputTranscription,
    NoiseReduction,
    OldSessionReply,
    SessionConfig,
    SessionReply,
    TranscriptionSettings,
    TurnDetection,
    TurnDetectionReply,
)
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.service import Service

PCM_RATE, G711_RATE = 24_000, 8_000

LOGPROBS = "item.input_audio_transcription.logprobs"
PENDING = "item.input_audio_transcription.pending"

SECONDS_OF = {"minimal": 0.5, "low": 1.0, "medium": 2.0, "high": 3.0, "xhigh": 5.0}
"""Seconds of new audio after which a turn that goes on is written down once more."""

_OLD_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


def new_id() -> str:
    """An id of a session."""
    return f"sess_{token_hex(10)}"


@dataclass(frozen=True)
class SessionSettings:
    """What a session is like. `vad` None: the client says where a turn ends."""

    model: str
    format: str = "audio/pcm"
    language: str | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    interval: float = SECONDS_OF["low"]
    vad: TurnDetection | None = field(default_factory=TurnDetection)
    include: tuple[str, ...] = ()

    @property
    def rate(self) -> int:
        """Samples a second of what is sent."""
        return PCM_RATE if self.format == "audio/pcm" else G711_RATE

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``Model.transcribe_live``."""
        return {
            "interval": self.interval,
            "language": self.language,
            "initial_prompt": self.prompt,
            "hotwords": ", ".join(self.keywords) or None,
            "logprobs": LOGPROBS in self.include,
            # Of a turn that a detector has cut out all is speech.
            "vad": self.vad is None,
        }

    def updated(self, config: SessionConfig, service: Service) -> SessionSettings:
        """These with what a client gives. Raises ApiError naming the field."""
        if config.type != "transcription":
            raise invalid(
                f"expected transcription, got {short(config.type)}: this server writes down "
                "what is said",
                "session.type",
            )
        made, where = self, "session.audio.input"
        given = InputConfig() if config.audio is None else config.audio.input or InputConfig()
        made = made._with(given, where, service)
        name: Any = _OLD_FORMATS.get(config.input_audio_format or "")
        old = InputConfig(
            format=None if name is None else AudioFormat(type=name),
            transcription=config.input_audio_transcription,
            noise_reduction=config.input_audio_noise_reduction,
            turn_detection=config.turn_detection,
        )
        made = made._with(old, "session", service)
        if config.include is None:
            return made
        for index, name in enumerate(config.include):
            if name not in (LOGPROBS, PENDING):
                raise invalid(
                    f"expected {LOGPROBS} or {PENDING}, got {short(name)}",
                    f"session.include[{index}]",
                )
        return replace(made, include=tuple(config.include))

    def _with(self, given: InputConfig, where: str, service: Service) -> SessionSettings:
        made = self
        if given.format is not None:
            made = replace(made, format=_format(given.format, where))
        _refuse_noise(given.noise_reduction, where)
        if given.turn_detection is not UNSET:
            made = replace(made, vad=_detection(given.turn_detection, where))
        if given.transcription is not None:
            made = made._writing(given.transcription, where, service)
        return made

    def _writing(self, given: InputTranscription, where: str, service: Service) -> SessionSettings:
        field = "transcription" if where.endswith("input") else "input_audio_transcription"
        where = f"{where}.{field}"
        model = self.model
        if given.model:
            try:
                model = service.find(given.model, "transcribe").name
            except ApiError as error:
                error.param = f"{where}.model"
                raise
        made = replace(self, model=model, language=self._language(given, where))
        if given.prompt is not None:
            made = replace(made, prompt=given.prompt or None)
        if given.keywords is not None:
            made = replace(made, keywords=tuple(given.keywords))
        if given.delay is not None:
            made = replace(made, interval=SECONDS_OF[given.delay])
        return made

    def _language(self, given: InputTranscription, where: str) -> str | None:
        """The language that is given; "" for one that is detected."""
        language = only_language(given.language, given.languages, f"{where}.languages")
        if language is None:
            return self.language
        code = code_of(language)
        if language and code not in NAMES:
            raise invalid(
                f"expected a code such as en, or a name, got {short(language)}",
                f"{where}.language",
            )
        return code or None

    def reply(self, id: str) -> SessionReply:
        """The session as a client is told."""
        rate = PCM_RATE if self.format == "audio/pcm" else None
        heard = InputReply(
            format=FormatReply(type=self.format, rate=rate),
            transcription=self._transcription,
            turn_detection=self._turn_detection,
        )
        include = list(self.include) or UNSET
        return SessionReply(id=id, audio=AudioReply(input=heard), include=include)

    def old_reply(self, id: str) -> OldSessionReply:
        """The session as a client of the older form is told."""
        return OldSessionReply(
            id=id,
            input_audio_format={v: k for k, v in _OLD_FORMATS.items()}[self.format],
            input_audio_transcription=self._transcription,
            turn_detection=self._turn_detection,
            include=list(self.include) or UNSET,
        )

    @property
    def _transcription(self) -> TranscriptionSettings:
        return TranscriptionSettings(model=self.model, language=self.language, prompt=self.prompt)

    @property
    def _turn_detection(self) -> TurnDetectionReply | None:
        if self.vad is None:
            return None
        return TurnDetectionReply(
            threshold=self.vad.threshold,
            prefix_padding_ms=self.vad.prefix_padding_ms,
            silence_duration_ms=self.vad.silence_duration_ms,
        )


def _format(given: AudioFormat, where: str) -> str:
    rate = PCM_RATE if given.type == "audio/pcm" else G711_RATE
    if given.rate not in (None, rate):
        raise invalid(
            f"expected {rate} of {given.type}, got {given.rate}",
            f"{where}.format.rate",
        )
    return given.type


def _detection(given: Any, where: str) -> TurnDetection | None:
    if given is None:
        return None
    if given.type != "server_vad":
        raise invalid(
            f"expected server_vad, got {given.type}",
            f"{where}.turn_detection.type",
        )
    if given.idle_timeout_ms is not None:
        raise invalid(
            "it is for conversations: nobody answers here",
            f"{where}.turn_detection.idle_timeout_ms",
        )
    detection: TurnDetection = given
    return detection


def _refuse_noise(given: NoiseReduction | None, where: str) -> None:
    if given is not None and given.type is not None:
        field = "noise_reduction" if where.endswith("input") else "input_audio_noise_reduction"
        raise invalid("not supported: leave it out", f"{where}.{field}")
