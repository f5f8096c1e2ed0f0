"""The flat functions: integer handles in, JSON strings and lists out.

What a user's data can cause never raises out of `cactus_complete` and `cactus_transcribe`: it comes
back as JSON with ``success`` false and the reason in ``error``. Functions whose result is a list
raise CactusError. Either way the reason is this thread's last error too, until its next success.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from cactus import arguments
from cactus.calls.closing import NotCopied
from cactus.calls.stopwatch import Stopwatch
from cactus.cloud.asker import ConfiguredAsker
from cactus.compat import Self, Unpack
from cactus.errors import CactusError, InvalidRequest, ModelClosed
from cactus.generate.chat import Messages
from cactus.generate.options import ChatOptions
from cactus.handles import Handles
from cactus.inputs.checks import boolean, integer, text
from cactus.machine import resident_megabytes
from cactus.model import Model
from cactus.speech.live import LiveTranscription
from cactus.types import CompletionResult, LiveResult, Result, TranscriptionResult, VadResult

Callback = Callable[[str, int, None], object]
"""Called as ``callback(token, token_id, user_data)`` for every token; `user_data` is None."""


class CompleteOptions(ChatOptions, total=False):
    """The options of `cactus_complete`: those of ``Model.chat`` and two more."""

    stop_sequences: str | Sequence[str] | None
    callback: Callback | None


DEFAULTS: dict[str, Any] = {"confidence_threshold": 0.7, "tool_rag_top_k": 2}
"""Of the options of `cactus_complete` those whose default is not that of ``Model.chat``."""

_last = threading.local()


def cactus_init(
    model_path: str | os.PathLike[str], corpus_dir: str | None = None, cache_index: bool = False
) -> int | None:
    """Load a model and return its handle, or None with the reason in `cactus_get_last_error`.

    `model_path`: a weights folder, a ``.gguf`` file, a hub id, or the name of a downloaded model.
    """
    try:
        with _remember_errors():
            model = _load(model_path, corpus_dir, cache_index)
    except (CactusError, MemoryError, OSError) as error:
        _models.refuse(_text(error))
        return None
    return _models.add(model)


def cactus_complete(model: int, messages: Messages, **options: Unpack[CompleteOptions]) -> str:
    """Answer a chat; returns JSON with exactly 14 fields (see docs/flat-functions.md).

    `messages`: dicts with `role` and `content`, or a JSON string. `callback(token, token_id, None)`
    is called for every token; what it raises ends the generation and is raised here. All other
    errors are in the JSON. Below `confidence_threshold` (0.7 unless given; 0 is off) the result is
    a hand-off, or the answer of the cloud that ``cactus auth`` has set up (docs/cloud.md).
    """
    return _complete(lambda: _find(model), messages, options)


def cactus_transcribe(
    model: int,
    audio_path: str,
    prompt: str = "",
    callback: Callback | None = None,
    **options: Any,
) -> str:
    """Transcribe speech; returns the JSON of `cactus_complete` and `segments`.

    `prompt`: Whisper's special tokens (``<|startoftranscript|><|en|><|transcribe|>
    <|notimestamps|>``) set language, task and timestamps, other text is what was said before; empty
    detects the language. `callback(text, token_id, None)` is called for every segment; what it
    raises ends the transcription and is raised here. `options` are those of ``Model.transcribe``.
    All other errors are in the JSON.
    """
    return _transcribe(lambda: _find(model), audio_path, prompt, callback, options)


def cactus_stream_transcribe_start(
    model: int, options: Mapping[str, Any] | str | None = None, language: str | None = "en"
) -> int | None:
    """Begin to transcribe samples as they come; a handle, or None: the last error says why.

    `language` None or "" detects it. `options`, a dict or a JSON string, are those of
    ``Model.transcribe_live``, and `min_chunk_size`, its interval in samples.
    There is no `confirmation_threshold`: text is confirmed when two passes agree on it, token for
    token.
    """
    return _start(lambda: _find(model), options, language)


def cactus_stream_transcribe_process(stream: int, pcm: Any) -> str:
    """Transcribe more samples; returns the JSON of `cactus_transcribe`, `confirmed` and `pending`.

    `pcm`: bytes of 16-bit samples, or an array or list of samples, mono at 16 kHz. `confirmed` is
    the text that became certain with this call, to be appended to what came before; `pending` is
    the text behind it, which may change. Errors are in the JSON.
    """
    return _to_json(
        lambda _: _streams.find(stream).feed(arguments.samples("pcm", pcm)).result(),
        None,
        LiveResult,
    )


def cactus_stream_transcribe_stop(stream: int) -> str:
    """Transcribe what is left and end it; the JSON of `cactus_stream_transcribe_process`."""

    def work(_: _Listener) -> Result:
        live = _streams.find(stream)
        _streams.remove(stream)
        return live.finish().result()

    return _to_json(work, None, LiveResult)


def cactus_vad(
    model: int,
    audio_path: str | None = None,
    pcm_data: Any = None,
    options: Mapping[str, Any] | str | None = None,
) -> str:
    """Where somebody speaks; returns JSON with `segments`, `start` and `end` in samples at 16 kHz.

    One of `audio_path` and `pcm_data` (bytes of 16-bit samples, or an array, mono at 16 kHz); both
    or neither raise ValueError. `options`, a dict or a JSON string: `threshold` 0.5,
    `neg_threshold`, `min_speech_duration_ms` 250, `max_speech_duration_s`,
    `min_silence_duration_ms` 100, `speech_pad_ms` 30. All other errors are in the JSON.
    """
    return _vad(lambda: _find(model), audio_path, pcm_data, options)


def cactus_embed(model: int, text: str, normalize: bool = False) -> list[float]:
    """The embedding of a text, at length 1 with `normalize`. Raises CactusError.

    A text over the model's limit is an error (ContextLengthExceeded); ``Model.embed`` can cut it.
    """
    with _remember_errors():
        return _embed(_find(model), text, normalize)


def cactus_image_embed(model: int, image_path: str) -> list[float]:
    """The embedding of an image: the mean of the encoder's states, or a dual encoder's own vector.

    Raises CactusError: UnsupportedModel for a model that cannot see, InvalidImage.
    """
    with _remember_errors():
        return _image_embed(_find(model), image_path)


def cactus_audio_embed(model: int, audio_path: str) -> list[float]:
    """The embedding of a recording: the mean of the encoder's states. Raises CactusError."""
    with _remember_errors():
        return _find(model).embed_audio(arguments.audio("audio_path", audio_path))


def cactus_rag_query(model: int, query: str, top_k: int = 5) -> list[dict[str, Any]]:
    """The chunks of `corpus_dir` that fit `query` best, with `score`, `text`, `source` and more.

    Nothing that is not similar enough. Raises InvalidRequest for a model without `corpus_dir`.
    """
    with _remember_errors():
        return _rag_query(_find(model), query, top_k)


def cactus_tokenize(model: int, text: str) -> list[int]:
    """The token ids of a plain text, without any special token added. Raises CactusError."""
    with _remember_errors():
        return _find(model).tokenize(text)


def cactus_reset(model: int) -> None:
    """Forget the conversation (clear the KV cache); waits for a running call."""
    with _remember_errors():
        _find(model).reset()


def cactus_stop(model: int) -> None:
    """End the calls in flight; they return what they have. Safe in any thread or callback."""
    # A model that was destroyed meanwhile has nothing left to stop.
    with _remember_errors(), suppress(ModelClosed):
        _find(model).stop()


def cactus_destroy(model: int | None) -> None:
    """End the calls in flight and free the model; nothing happens for None or a second time."""
    with _remember_errors():
        if model is None:
            return
        try:
            _find(model)
        except ModelClosed:
            return
        found = _models.remove(model)
        if found is not None:
            _destroy(found)


def cactus_get_last_error() -> str | None:
    """Why the last call of this thread failed, or None if it succeeded."""
    error: str | None = getattr(_last, "error", None)
    return error


class CactusModel(NotCopied):
    """A model as a context manager: ``with CactusModel("weights/...") as model:``.

    The methods are the flat functions without the handle. Loading raises CactusError; every method
    but `destroy` raises RuntimeError (ModelClosed) once the model has been destroyed.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        corpus_dir: str | None = None,
        cache_index: bool = False,
    ) -> None:
        with _remember_errors():
            self._model = _load(model_path, corpus_dir, cache_index)

    def complete(self, messages: Messages, **options: Unpack[CompleteOptions]) -> str:
        """See `cactus_complete`."""
        with _remember_errors():
            model = self._open()
        return _complete(lambda: model, messages, options)

    def transcribe(
        self,
        audio_path: str,
        prompt: str = "",
        callback: Callback | None = None,
        **options: Any,
    ) -> str:
        """See `cactus_transcribe`."""
        with _remember_errors():
            model = self._open()
        return _transcribe(lambda: model, audio_path, prompt, callback, options)

    def stream_transcribe_start(
        self, options: Mapping[str, Any] | str | None = None, language: str | None = "en"
    ) -> int | None:
        """See `cactus_stream_transcribe_start`; ``_process`` and ``_stop`` take what it returns."""
        with _remember_errors():
            model = self._open()
        return _start(lambda: model, options, language)

    def vad(
        self,
        audio_path: str | None = None,
        pcm_data: Any = None,
        options: Mapping[str, Any] | str | None = None,
    ) -> str:
        """See `cactus_vad`."""
        with _remember_errors():
            model = self._open()
        return _vad(lambda: model, audio_path, pcm_data, options)

    def embed(self, text: str, normalize: bool = False) -> list[float]:
        """See `cactus_embed`."""
        with _remember_errors():
            return _embed(self._open(), text, normalize)

    def image_embed(self, image_path: str) -> list[float]:
        """See `cactus_image_embed`."""
        with _remember_errors():
            return _image_embed(self._open(), image_path)

    def audio_embed(self, audio_path: str) -> list[float]:
        """See `cactus_audio_embed`."""
        with _remember_errors():
            return self._open().embed_audio(arguments.audio("audio_path", audio_path))

    def rag_query(self, query: str, top_k: int = 5) -> list[dict[str, Any]]:
        """See `cactus_rag_query`."""
        with _remember_errors():
            return _rag_query(self._open(), query, top_k)

    def tokenize(self, text: str) -> list[int]:
        """See `cactus_tokenize`."""
        with _remember_errors():
            return self._open().tokenize(text)

    def reset(self) -> None:
        """See `cactus_reset`."""
        with _remember_errors():
            self._open().reset()

    def stop(self) -> None:
        """See `cactus_stop`."""
        with _remember_errors():
            self._open().stop()

    def destroy(self) -> None:
        """See `cactus_destroy`."""
        _destroy(self._model)

    def __repr__(self) -> str:
        return repr(self._model).replace("Model", "CactusModel", 1)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.destroy()

    def _open(self) -> Model:
        if self._model.closed:
            raise ModelClosed("Model has been destroyed")
        return self._model


@contextmanager
def _remember_errors() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _last.error = _text(error)
        raise
    _last.error = None


_models: Handles[Model] = Handles(
    "model",
    "cactus_init",
    lambda handle: ModelClosed(f"model {handle} has been destroyed"),
)
_streams: Handles[LiveTranscription] = Handles(
    "stream",
    "cactus_stream_transcribe_start",
    lambda handle: InvalidRequest(
        f"stream {handle} has ended: it was stopped, or its model destroyed"
    ),
)


def _text(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.encode("utf-8", "replace").decode()  # it may quote half a surrogate pair


def _load(model_path: str | os.PathLike[str], corpus_dir: object, cache_index: object) -> Model:
    arguments.path("model_path", model_path)
    if corpus_dir is not None:
        corpus_dir = arguments.path("corpus_dir", corpus_dir)
    # The index is always kept: it is quick to open again.
    if boolean("cache_index", cache_index) and corpus_dir is None:
        raise InvalidRequest("cache_index is about the index of corpus_dir: give that, too")
    model = Model(model_path, corpus=corpus_dir)
    model.elsewhere = ConfiguredAsker()
    return model


def _destroy(model: Model) -> None:
    model.close()
    _streams.remove_where(lambda live: live.closed)


def _start(find: Callable[[], Model], options: Any, language: str | None) -> int | None:
    try:
        with _remember_errors():
            model = find()
            if language is not None:
                text("language", language)
            given = {"language": language or None, **_named(options)}
            if given.pop("confirmation_threshold", None) is not None:
                raise InvalidRequest(
                    "confirmation_threshold is not available: text is confirmed when two passes "
                    "agree on it; leave the option out"
                )
            if "min_chunk_size" in given:
                samples = integer("min_chunk_size", given.pop("min_chunk_size"), 1_600, 480_000)
                given["interval"] = samples / 16_000
            return _streams.add(model.transcribe_live(**given))
    except (CactusError, MemoryError, OSError) as error:
        _streams.refuse(_text(error))
        return None


def _find(handle: object) -> Model:
    return _models.find(handle)


class _Listener:
    """The caller's callback; ``raised`` is what it raised, which is not ours to report."""

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self.raised: BaseException | None = None

    def check(self) -> None:
        if self._callback is not None and not callable(self._callback):
            raise arguments.wrong("callback", "a function", self._callback)

    def __call__(self, text: str, token_id: int) -> None:
        if self._callback is not None:
            try:
                self._callback(text, token_id, None)
            except BaseException as error:
                self.raised = error
                raise


def _to_json(
    work: Callable[[_Listener], Result],
    callback: Callback | None,
    result: type[CompletionResult] | type[VadResult],
) -> str:
    """What ``work`` returns, or a ``result`` with the error, as JSON."""
    listener = _Listener(callback)
    try:
        with _remember_errors():
            listener.check()
            return work(listener).to_json()
    except (CactusError, MemoryError) as error:
        if error is listener.raised:
            raise
        return result(
            success=False, error=_text(error), ram_usage_mb=resident_megabytes()
        ).to_json()


def _complete(find: Callable[[], Model], messages: Messages, options: Mapping[str, Any]) -> str:
    rest = dict(options)
    rest |= {name: value for name, value in DEFAULTS.items() if rest.get(name) is None}
    callback = rest.pop("callback", None)

    def work(tell: _Listener) -> CompletionResult:
        if rest.get("logprobs") is True:
            raise InvalidRequest("logprobs: this JSON has no field for them; use Model.chat")
        if callback is None:  # a cloud may be asked late where nothing is shown
            return find().chat(messages, **rest).result()
        with find().stream(messages, **rest) as stream:
            for event in stream:
                tell(event.text if event.kind == "text" else "", event.token_id)
            return stream.completion.result()

    return _to_json(work, callback, CompletionResult)


def _transcribe(
    find: Callable[[], Model],
    audio: Any,
    prompt: str,
    callback: Callback | None,
    options: Mapping[str, Any],
) -> str:
    def work(tell: _Listener) -> CompletionResult:
        from cactus.speech.prompt import parse_prompt

        model = find()
        given = parse_prompt(prompt) | dict(options)
        checked = arguments.audio("audio_path", audio)
        with model.transcribe_stream(checked, **given) as stream:
            for segment in stream:
                tell(segment.text, segment.tokens[-1])
            result = stream.transcription
            assert result is not None
            return result.result()

    return _to_json(work, callback, TranscriptionResult)


def _vad(find: Callable[[], Model], audio_path: Any, pcm_data: Any, options: Any) -> str:
    with _remember_errors():
        if (audio_path is None) == (pcm_data is None):
            given = "neither" if pcm_data is None else "both"
            raise InvalidRequest(f"expected one of audio_path and pcm_data, got {given}")

    def work(_: _Listener) -> Result:
        from cactus.audio.vad import detect_speech

        watch = Stopwatch()
        watch.start()
        find()
        wanted = {
            "min_speech_duration_ms": 250,
            "min_silence_duration_ms": 100,
            "speech_pad_ms": 30,
        } | _named(options)
        if pcm_data is None:
            found = detect_speech(arguments.audio("audio_path", audio_path), **wanted)
        else:
            pcm = arguments.samples("pcm_data", pcm_data)
            found = detect_speech(pcm, sample_rate=16_000, **wanted)
        return VadResult(
            success=True,
            segments=[{"start": each.start, "end": each.end} for each in found],
            total_time_ms=1000 * watch.seconds,
            ram_usage_mb=resident_megabytes(),
        )

    return _to_json(work, None, VadResult)


def _named(options: Any) -> dict[str, Any]:
    """Options given as a dict, as a JSON string, or not at all."""
    if isinstance(options, str):
        from cactus.inputs.values import parse_json

        options = parse_json(options, "options")
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise arguments.wrong("options", "a dict or a JSON object", options)
    return {str(name): value for name, value in options.items()}


def _embed(model: Model, given: object, normalize: object) -> list[float]:
    vector = model.embed(
        text("text", given), normalize=boolean("normalize", normalize), progress=False
    )
    return [float(value) for value in vector]


def _image_embed(model: Model, image_path: object) -> list[float]:
    path = arguments.path("image_path", image_path)
    return [float(value) for value in model.embed_image(path)]


def _rag_query(model: Model, query: object, top_k: object) -> list[dict[str, Any]]:
    return model.rag_query(text("query", query), integer("top_k", top_k, 0))
