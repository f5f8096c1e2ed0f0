"""The exception tree. Every message names what was given, what was expected and what to do.

CactusError
├── ModelNotFound            no model under that name or path
├── UnsupportedModel         an architecture, tensor type or call that this model does not have
├── ModelFormatError         a model file is damaged or lies about itself
│   ├── TokenizerError       its tokenizer cannot be used
│   └── TemplateError        its chat template fails or breaks the sandbox
├── InvalidRequest           an option or message of a call is wrong (also a ValueError)
│   ├── ContextLengthExceeded    the prompt does not fit the model's context
│   ├── InvalidAudio         an audio file cannot be decoded
│   │   └── UnsupportedAudio     it is another kind of file
│   └── InvalidImage         an image cannot be read, is too large, or may not be
├── MicrophoneError          there is no microphone, or it has gone
├── NonFiniteLogits          the model produced NaN or infinity
├── InsufficientMemory       the memory is not there (also a MemoryError)
├── Overloaded               too much of its kind is under way: try again later
├── DownloadError            a model could not be fetched
├── CloudError               a cloud is not set up as it must be, or gave no answer
├── CorpusError              an index of documents cannot be used
├── ToolServerError          a server of tools cannot be reached, or a tool of it has failed
├── Cancelled                the call was ended by ``stop`` or ``destroy``
├── ModelClosed              the model has been destroyed (also a RuntimeError)
├── ReentrantCall            a signal handler called the model it interrupted (also a RuntimeError)
├── ForkError                a model was used in a forked child (also a RuntimeError)
└── NativeError              the native library is missing, of another version, or refused a plan
"""

from __future__ import annotations

from typing import Any


class CactusError(Exception):
    """Base of every error that Cactus raises on purpose. Every one can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class, as exceptions do: `args` lacks what it takes by keyword.
        return _restore, (type(self), self.args), self.__dict__


def _restore(kind: type[CactusError], arguments: tuple[Any, ...]) -> CactusError:
    error = BaseException.__new__(kind)  # a class that is a MemoryError too refuses its own
    error.args = arguments
    return error


class ModelNotFound(CactusError):
    """No model lies under the given name or path."""


class UnsupportedModel(CactusError):
    """The model's architecture, a tensor type, or the call asked of it is not supported."""


class ModelFormatError(CactusError):
    """A model file is damaged, truncated, or its metadata contradicts the file."""


class TokenizerError(ModelFormatError):
    """The model's tokenizer cannot be built or used."""


class TemplateError(ModelFormatError):
    """The chat template is broken, raised an error, or tried to leave the sandbox."""


class InvalidRequest(CactusError, ValueError):
    """An option or a message of a call is wrong; the message names the field."""


class ContextLengthExceeded(InvalidRequest):
    """The prompt is longer than the model's context; raised before any prefill."""

    def __init__(self, message: str, *, prompt_tokens: int, limit: int) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class InvalidAudio(InvalidRequest):
    """Audio cannot be decoded: it is damaged, empty, unreadable, or not audio at all."""


class UnsupportedAudio(InvalidAudio):
    """The file is of a kind that is not decoded; the message lists those that are."""


class InvalidImage(InvalidRequest):
    """An image cannot be read: damaged, of another kind, too large, or not allowed there."""


class MicrophoneError(CactusError):
    """There is no microphone, it cannot be used, or it has gone while it was in use."""


class NonFiniteLogits(CactusError):
    """The model produced NaN or infinite logits: damaged weights or an overflow."""


class InsufficientMemory(CactusError, MemoryError):
    """More memory is needed than there is; the message says how much."""


class Overloaded(CactusError):
    """So much of this kind is under way that no more is begun; try again later."""


class DownloadError(CactusError):
    """A model could not be fetched; what was fetched is kept for the next try."""


class CloudError(CactusError):
    """A cloud is not set up as it must be, or gave no answer; `code` is the reason in a word."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class CorpusError(CactusError):
    """An index of documents cannot be used, or is not there; the message says what to do."""


class ToolServerError(CactusError):
    """A server of tools cannot be reached, has ended, or a tool of it has failed."""


class Cancelled(CactusError):
    """The call was ended by ``stop()`` or ``destroy()`` from another thread."""


class ModelClosed(CactusError, RuntimeError):
    """The model has been destroyed."""


class ReentrantCall(CactusError, RuntimeError):
    """A signal handler called the model whose call it interrupted, which cannot go on before."""


class ForkError(CactusError, RuntimeError):
    """A model loaded before ``fork`` was used in the child; load it again there."""


class NativeError(CactusError):
    """The native library is missing, has another version, or refused what it was given."""
