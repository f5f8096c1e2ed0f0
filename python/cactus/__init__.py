"""On-device AI: language, vision and speech models in one process."""

from __future__ import annotations

# Not from typing: a command imports this before it can answer Ctrl-C, and typing takes longest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cactus import errors as errors
    from cactus.agent.mcp.server import ToolServer as ToolServer
    from cactus.agent.methods import AsyncToolStream as AsyncToolStream
    from cactus.agent.methods import ToolStream as ToolStream
    from cactus.agent.results import ToolCall as ToolCall
    from cactus.agent.results import ToolEvent as ToolEvent
    from cactus.agent.results import ToolResult as ToolResult
    from cactus.agent.results import ToolRun as ToolRun
    from cactus.agent.results import ToolStep as ToolStep
    from cactus.api import CactusModel as CactusModel
    from cactus.api import cactus_audio_embed as cactus_audio_embed
    from cactus.api import cactus_complete as cactus_complete
    from cactus.api import cactus_destroy as cactus_destroy
    from cactus.api import cactus_embed as cactus_embed
    from cactus.api import cactus_get_last_error as cactus_get_last_error
    from cactus.api import cactus_image_embed as cactus_image_embed
    from cactus.api import cactus_init as cactus_init
    from cactus.api import cactus_rag_query as cactus_rag_query
    from cactus.api import cactus_reset as cactus_reset
    from cactus.api import cactus_stop as cactus_stop
    from cactus.api import cactus_stream_transcribe_process as cactus_stream_transcribe_process
    from cactus.api import cactus_stream_transcribe_start as cactus_stream_transcribe_start
    from cactus.api import cactus_stream_transcribe_stop as cactus_stream_transcribe_stop
    from cactus.api import cactus_tokenize as cactus_tokenize
    from cactus.api import cactus_transcribe as cactus_transcribe
    from cactus.api import cactus_vad as cactus_vad
    from cactus.audio.decode import AudioStream as AudioStream
    from cactus.audio.decode import open_audio as open_audio
    from cactus.audio.vad import Speech as Speech
    from cactus.audio.vad import detect_speech as detect_speech
    from cactus.calls.aio import AsyncEventStream as AsyncEventStream
    from cactus.calls.stream import EventStream as EventStream
    from cactus.cloud.cloud import Cloud as Cloud
    from cactus.corpus.corpus import Corpus as Corpus
    from cactus.embed.vectors import Embeddings as Embeddings
    from cactus.engine.defaults import SamplingDefaults as SamplingDefaults
    from cactus.errors import CactusError as CactusError
    from cactus.generate.conversation import Conversation as Conversation
    from cactus.generate.options import ChatOptions as ChatOptions
    from cactus.generate.options import CompletionOptions as CompletionOptions
    from cactus.generate.streams import AsyncCompletionStream as AsyncCompletionStream
    from cactus.generate.streams import CompletionStream as CompletionStream
    from cactus.model import Model as Model
    from cactus.schemas.functions import Tool as Tool
    from cactus.speech.live import LiveTranscription as LiveTranscription
    from cactus.speech.options import TranscribeOptions as TranscribeOptions
    from cactus.speech.stream import AsyncTranscriptionStream as AsyncTranscriptionStream
    from cactus.speech.stream import TranscriptionStream as TranscriptionStream
    from cactus.types import Citation as Citation
    from cactus.types import Completion as Completion
    from cactus.types import DetectedLanguage as DetectedLanguage
    from cactus.types import Handoff as Handoff
    from cactus.types import LiveUpdate as LiveUpdate
    from cactus.types import Metrics as Metrics
    from cactus.types import Passage as Passage
    from cactus.types import RankedText as RankedText
    from cactus.types import Reading as Reading
    from cactus.types import Scores as Scores
    from cactus.types import Segment as Segment
    from cactus.types import StreamEvent as StreamEvent
    from cactus.types import TokenLogprob as TokenLogprob
    from cactus.types import ToolCallDelta as ToolCallDelta
    from cactus.types import Transcription as Transcription
    from cactus.types import Word as Word
    from cactus.weights.download import download as download

__version__ = "0.3.0"

# Where every public name lives. Nothing of it is imported before it is asked for, so that a command
# that only prints its help, or a program that only might need a model, starts at once.
_HOMES = {
    "AsyncCompletionStream": "cactus.generate.streams",
    "AsyncEventStream": "cactus.calls.aio",
    "AsyncToolStream": "cactus.agent.methods",
    "AsyncTranscriptionStream": "cactus.speech.stream",
    "AudioStream": "cactus.audio.decode",
    "CactusError": "cactus.errors",
    "CactusModel": "cactus.api",
    "ChatOptions": "cactus.generate.options",
    "Citation": "cactus.types",
    "Cloud": "cactus.cloud.cloud",
    "Completion": "cactus.types",
    "CompletionOptions": "cactus.generate.options",
    "CompletionStream": "cactus.generate.streams",
    "Conversation": "cactus.generate.conversation",
    "Corpus": "cactus.corpus.corpus",
    "DetectedLanguage": "cactus.types",
    "Embeddings": "cactus.embed.vectors",
    "EventStream": "cactus.calls.stream",
    "Handoff": "cactus.types",
    "LiveTranscription": "cactus.speech.live",
    "LiveUpdate": "cactus.types",
    "Metrics": "cactus.types",
    "Model": "cactus.model",
    "Passage": "cactus.types",
    "RankedText": "cactus.types",
    "Reading": "cactus.types",
    "SamplingDefaults": "cactus.engine.defaults",
    "Scores": "cactus.types",
    "Segment": "cactus.types",
    "Speech": "cactus.audio.vad",
    "StreamEvent": "cactus.types",
    "TokenLogprob": "cactus.types",
    "Tool": "cactus.schemas.functions",
    "ToolCall": "cactus.agent.results",
    "ToolCallDelta": "cactus.types",
    "ToolEvent": "cactus.agent.results",
    "ToolResult": "cactus.agent.results",
    "ToolRun": "cactus.agent.results",
    "ToolServer": "cactus.agent.mcp.server",
    "ToolStep": "cactus.agent.results",
    "ToolStream": "cactus.agent.methods",
    "TranscribeOptions": "cactus.speech.options",
    "Transcription": "cactus.types",
    "TranscriptionStream": "cactus.speech.stream",
    "Word": "cactus.types",
    "cactus_audio_embed": "cactus.api",
    "cactus_complete": "cactus.api",
    "cactus_destroy": "cactus.api",
    "cactus_embed": "cactus.api",
    "cactus_get_last_error": "cactus.api",
    "cactus_image_embed": "cactus.api",
    "cactus_init": "cactus.api",
    "cactus_rag_query": "cactus.api",
    "cactus_reset": "cactus.api",
    "cactus_stop": "cactus.api",
    "cactus_stream_transcribe_process": "cactus.api",
    "cactus_stream_transcribe_start": "cactus.api",
    "cactus_stream_transcribe_stop": "cactus.api",
    "cactus_tokenize": "cactus.api",
    "cactus_transcribe": "cactus.api",
    "cactus_vad": "cactus.api",
    "detect_speech": "cactus.audio.vad",
    "download": "cactus.weights.download",
    "errors": "cactus.errors",
    "open_audio": "cactus.audio.decode",
}

__all__ = [
    "AsyncCompletionStream",
    "AsyncEventStream",
    "AsyncToolStream",
    "AsyncTranscriptionStream",
    "AudioStream",
    "CactusError",
    "CactusModel",
    "ChatOptions",
    "Citation",
    "Cloud",
    "Completion",
    "CompletionOptions",
    "CompletionStream",
    "Conversation",
    "Corpus",
    "DetectedLanguage",
    "Embeddings",
    "EventStream",
    "Handoff",
    "LiveTranscription",
    "LiveUpdate",
    "Metrics",
    "Model",
    "Passage",
    "RankedText",
    "Reading",
    "SamplingDefaults",
    "Scores",
    "Segment",
    "Speech",
    "StreamEvent",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolEvent",
    "ToolResult",
    "ToolRun",
    "ToolServer",
    "ToolStep",
    "ToolStream",
    "TranscribeOptions",
    "Transcription",
    "TranscriptionStream",
    "Word",
    "cactus_audio_embed",
    "cactus_complete",
    "cactus_destroy",
    "cactus_embed",
    "cactus_get_last_error",
    "cactus_image_embed",
    "cactus_init",
    "cactus_rag_query",
    "cactus_reset",
    "cactus_stop",
    "cactus_stream_transcribe_process",
    "cactus_stream_transcribe_start",
    "cactus_stream_transcribe_stop",
    "cactus_tokenize",
    "cactus_transcribe",
    "cactus_vad",
    "detect_speech",
    "download",
    "errors",
    "open_audio",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'cactus' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home)
    value = module if home == f"cactus.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
