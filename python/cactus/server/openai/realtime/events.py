"""The events of a session: what a client sends, and what it is sent."""

from __future__ import annotations

from secrets import token_hex
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from cactus.server.endpoint import Body, Reply
from cactus.server.openai.audio_types import DurationUsage, Logprob, Milliseconds

TRANSCRIPTION = "conversation.item.input_audio_transcription"

Delay = Literal["minimal", "low", "medium", "high", "xhigh"]


class AudioFormat(Body, kw_only=True):
    """How audio is written: 16-bit samples, or G.711 at 8 kHz."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None


class TurnDetection(Body, kw_only=True):
    """What ends a turn: so much silence after speech that is at least as probable."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Milliseconds = 300
    silence_duration_ms: Milliseconds = 500
    idle_timeout_ms: int | None = None


class InputTranscription(Body, kw_only=True):
    """Which model writes, in which language, after which text, and how often."""

    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Delay | None = None


class NoiseReduction(Body, kw_only=True):
    """Which noise is taken away; none is here."""

    type: str | None = None


class InputConfig(Body, kw_only=True):
    """What comes in."""

    format: AudioFormat | None = None
    transcription: InputTranscription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | UnsetType | None = UNSET


class AudioConfig(Body, kw_only=True):
    """What comes in, in the newer form."""

    input: InputConfig | None = None


class SessionConfig(Body, kw_only=True):
    """What a session is to be like, in the newer form (`audio`) or the older one."""

    type: str = "transcription"
    audio: AudioConfig | None = None
    include: list[str] | None = None
    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | None = None
    input_audio_transcription: InputTranscription | None = None
    input_audio_noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | UnsetType | None = UNSET


class SessionUpdate(Body, kw_only=True, tag_field="type", tag="session.update"):
    """Change what is given; the rest stays."""

    session: SessionConfig


class TranscriptionSessionUpdate(SessionUpdate, kw_only=True, tag="transcription_session.update"):
    """The same, in the older form."""


class Append(Body, kw_only=True, tag_field="type", tag="input_audio_buffer.append"):
    """More audio, in base64."""

    audio: bytes


class Commit(Body, kw_only=True, tag_field="type", tag="input_audio_buffer.commit"):
    """The turn is over."""


class Clear(Body, kw_only=True, tag_field="type", tag="input_audio_buffer.clear"):
    """Forget the turn."""


ClientEvent = SessionUpdate | TranscriptionSessionUpdate | Append | Commit | Clear
CLIENT_EVENTS = (
    "session.update, transcription_session.update, input_audio_buffer.append, "
    "input_audio_buffer.commit, input_audio_buffer.clear"
)


class Named(Body, kw_only=True):
    """What an error says of the event that it is about."""

    event_id: str | None = None


def _new_id() -> str:
    return f"event_{token_hex(10)}"


class ServerEvent(Reply, kw_only=True, tag_field="type"):
    """What is sent to a client."""

    event_id: str = field(default_factory=_new_id)


class FormatReply(Reply, kw_only=True, omit_defaults=True):
    """How audio is written."""

    type: str
    rate: int | None = None


class TranscriptionSettings(Reply, kw_only=True, omit_defaults=True):
    """Which model writes."""

    model: str
    language: str | None = None
    prompt: str | None = None


class TurnDetectionReply(Reply, kw_only=True):
    """What ends a turn."""

    type: str = "server_vad"
    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int


class InputReply(Reply, kw_only=True):
    """What comes in."""

    format: FormatReply
    transcription: TranscriptionSettings
    turn_detection: TurnDetectionReply | None


class AudioReply(Reply, kw_only=True):
    """What comes in, in the newer form."""

    input: InputReply


class SessionReply(Reply, kw_only=True):
    """What a session is like."""

    type: Literal["transcription"] = "transcription"
    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    audio: AudioReply
    include: list[str] | UnsetType = UNSET


class OldSessionReply(Reply, kw_only=True):
    """What a session is like, in the older form."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    input_audio_format: str
    input_audio_transcription: TranscriptionSettings
    turn_detection: TurnDetectionReply | None
    include: list[str] | UnsetType = UNSET


class SessionCreated(ServerEvent, kw_only=True, tag="session.created"):
    """The first event."""

    session: SessionReply


class SessionUpdated(ServerEvent, kw_only=True, tag="session.updated"):
    """The session was changed."""

    session: SessionReply


class OldSessionCreated(ServerEvent, kw_only=True, tag="transcription_session.created"):
    """The first event, in the older form."""

    session: OldSessionReply


class OldSessionUpdated(ServerEvent, kw_only=True, tag="transcription_session.updated"):
    """The session was changed, in the older form."""

    session: OldSessionReply


class EventError(Reply, kw_only=True):
    """What is wrong; `event_id` is that of the client's event."""

    type: str
    code: str | None
    message: str
    param: str | None
    event_id: str | None


class ErrorEvent(ServerEvent, kw_only=True, tag="error"):
    """Something that a client has sent is wrong; the session goes on."""

    error: EventError


class SpeechStarted(ServerEvent, kw_only=True, tag="input_audio_buffer.speech_started"):
    """Somebody begins to speak."""

    audio_start_ms: int
    item_id: str


class SpeechStopped(ServerEvent, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """Nobody speaks any more."""

    audio_end_ms: int
    item_id: str


class Committed(ServerEvent, kw_only=True, tag="input_audio_buffer.committed"):
    """A turn is over."""

    previous_item_id: str | None
    item_id: str


class Cleared(ServerEvent, kw_only=True, tag="input_audio_buffer.cleared"):
    """A turn was forgotten."""


class AudioContent(Reply, kw_only=True):
    """What an item is made of."""

    type: Literal["input_audio"] = "input_audio"


class Item(Reply, kw_only=True):
    """A turn."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed"] = "completed"
    role: Literal["user"] = "user"
    content: list[AudioContent] = field(default_factory=lambda: [AudioContent()])


class ItemCreated(ServerEvent, kw_only=True, tag="conversation.item.created"):
    """A turn has become an item, in the older form."""

    previous_item_id: str | None
    item: Item


class ItemAdded(ServerEvent, kw_only=True, tag="conversation.item.added"):
    """A turn has become an item."""

    previous_item_id: str | None
    item: Item


class ItemDone(ServerEvent, kw_only=True, tag="conversation.item.done"):
    """An item is whole."""

    previous_item_id: str | None
    item: Item


class TranscriptDelta(ServerEvent, kw_only=True, tag=f"{TRANSCRIPTION}.delta"):
    """More of what is certain of a turn. `pending`, on request: what follows, and may change."""

    item_id: str
    content_index: int = 0
    delta: str
    pending: str | UnsetType = UNSET


class TranscriptCompleted(ServerEvent, kw_only=True, tag=f"{TRANSCRIPTION}.completed"):
    """All that was said in a turn."""

    item_id: str
    content_index: int = 0
    transcript: str
    usage: DurationUsage
    logprobs: list[Logprob] | UnsetType = UNSET


class Failure(Reply, kw_only=True):
    """Why a turn was not written down."""

    type: str
    code: str
    message: str


class TranscriptFailed(ServerEvent, kw_only=True, tag=f"{TRANSCRIPTION}.failed"):
    """A turn was not written down."""

    item_id: str
    content_index: int = 0
    error: Failure
