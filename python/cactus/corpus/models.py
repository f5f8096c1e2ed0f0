"""The models that a corpus is made with: found by name, or handed in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.embed.methods import EmbedMethods
from cactus.errors import InvalidRequest, ModelNotFound
from cactus.speech.methods import SpeechMethods

if TYPE_CHECKING:
    from cactus.documents.read import Spoken
    from cactus.retrieval.types import Embedder, Reranker


def embedder_of(
    wanted: Any,
    known: str | None,
    fallback: EmbedMethods | Embedder | None,
    threads: int | None,
    owned: ExitStack,
) -> tuple[Embedder, str | None]:
    """The embedder, and its name or folder, by which it is found again.

    What is `wanted`, else by the environment, else `known` from before, else one among the
    weights, else `fallback`. Raises ModelNotFound, which says how one is fetched.
    """
    from cactus.vision.embedder import embedder_around, load_embedder
    from cactus.weights.embedders import find_embedder, no_embedder

    if isinstance(wanted, EmbedMethods):
        return embedder_around(wanted), str(wanted._engine.folder)
    if wanted is not None and not isinstance(wanted, (str, os.PathLike)):
        if not hasattr(wanted, "fingerprint"):
            raise InvalidRequest(
                "embedder must be a name, a path, a cactus.Model or an Embedder, got "
                f"{type(wanted).__name__}"
            )
        given: Embedder = wanted
        return given, None
    folder: Path | None = None
    if wanted is None and known is not None and not os.environ.get("CACTUS_EMBEDDER"):
        with suppress(ModelNotFound):  # it was deleted; another one makes the index anew
            folder = find_embedder(known)
    folder = folder or find_embedder(wanted)
    if folder is not None:
        made = owned.enter_context(load_embedder(folder, threads))
        return made, str(folder)
    if fallback is None:
        raise no_embedder()
    return embedder_around(fallback) if isinstance(fallback, EmbedMethods) else fallback, None


def reranker_of(wanted: Any, threads: int | None, owned: ExitStack) -> Reranker | None:
    """A function that ranks texts for a query; None where none is wanted."""
    if wanted is None:
        return None
    model = wanted
    if isinstance(wanted, EmbedMethods):
        wanted._texts("rerank")  # or UnsupportedModel now, and not at the first search
    else:
        model = owned.enter_context(EmbedMethods.around(_load("reranker", wanted, threads)))
    return lambda query, texts: model.rerank(query, texts, truncate=True)


def transcriber_of(
    wanted: Any, known: str | None, threads: int | None, owned: ExitStack
) -> Callable[[str], Sequence[Spoken]] | None:
    """A function that transcribes a recording; the model is loaded for the first one.

    None where no model is `wanted`, nor `known` from before, or that was deleted.
    """
    if wanted is None:
        with suppress(ModelNotFound):
            return None if known is None else transcriber_of(known, None, threads, owned)
        return None
    if isinstance(wanted, SpeechMethods):
        wanted._speech()  # or UnsupportedModel now, and not at the first recording
        return lambda path: wanted.transcribe(path).segments
    from cactus.weights.resolve import resolve

    folder = resolve(_named("speech", wanted), None, "transcribe")
    models: list[SpeechMethods] = []

    def transcribe(path: str) -> Sequence[Spoken]:
        if not models:
            model = SpeechMethods.around(_load("speech", folder, threads))
            models.append(owned.enter_context(model))
        return models[0].transcribe(path).segments

    return transcribe


def name_of(wanted: Any) -> str | None:
    """What a model is found by again, where it was named."""
    return os.fspath(wanted) if isinstance(wanted, (str, os.PathLike)) else None


def _load(option: str, wanted: Any, threads: int | None) -> Any:
    from cactus.engine.loading import load
    from cactus.weights.resolve import resolve

    return load(resolve(_named(option, wanted)), threads=threads)


def _named(option: str, wanted: Any) -> str | Path:
    if not isinstance(wanted, (str, os.PathLike)):
        raise InvalidRequest(
            f"{option} must be a name, a path or a cactus.Model, got {type(wanted).__name__}"
        )
    return os.fspath(wanted)
