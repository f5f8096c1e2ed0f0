"""A folder of documents: searched, asked, and kept in step with its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.calls.aio import in_loop, run_alone
from cactus.calls.closing import Closing
from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call
from cactus.compat import Unpack
from cactus.corpus.reader import TOP_K, Reader, Turns
from cactus.embed.methods import EmbedMethods
from cactus.errors import CorpusError, InvalidRequest
from cactus.generate.chat import Messages
from cactus.generate.generation import Generation
from cactus.generate.methods import ChatMethods
from cactus.generate.options import ChatOptions
from cactus.generate.streams import AsyncCompletionStream, CompletionStream
from cactus.inputs.checks import integer
from cactus.inputs.text import reason_of
from cactus.progress import Progress, chosen_progress
from cactus.retrieval.types import Embedder, Hit, SearchOptions, SyncReport, sees
from cactus.speech.methods import SpeechMethods
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.retrieval.index import Index

Named = str | os.PathLike[str]


class Corpus(Closing):
    """The documents in a folder and below, and the index by which they are searched.

    The index lies in the user's cache folder, or `cache_dir`; the folder itself is only read. It is
    brought up to date when the corpus is opened, unless `sync` is False: only what is new or has
    changed is read. `progress` is a function that gets a label, how much is done and how much there
    is; True and False show it always and never, None on a terminal if it takes a while.

    `embedder`: what makes vectors of texts, as a name, a path, a `Model` or an `Embedder`. Default:
    ``CACTUS_EMBEDDER``, else the one that the index was made with, else one among the downloaded
    models, all-minilm-l6-v2 first, else `fallback`, which is slower and finds less where it is a
    model that chats. `reranker`: a cross-encoder that looks again at what is found.
    `speech`: a speech model; recordings are left out without one. `include`, `exclude`: patterns
    as in .gitignore, of files; `hidden`: those too whose name begins with a dot. What of these is
    not given is as it was when the index was made. `threads` is of models that are loaded here.

    Raises CorpusError for a folder that is missing or has nothing to read, ModelNotFound, and what
    `Model` raises. Any thread may use it.
    """

    def __init__(
        self,
        folder: Named,
        *,
        embedder: Named | EmbedMethods | Embedder | None = None,
        reranker: Named | EmbedMethods | None = None,
        speech: Named | SpeechMethods | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        hidden: bool | None = None,
        cache_dir: Named | None = None,
        sync: bool = True,
        progress: Progress | bool | None = None,
        fallback: EmbedMethods | Embedder | None = None,
        threads: int | None = None,
    ) -> None:
        from cactus.corpus.models import embedder_of, reranker_of, transcriber_of
        from cactus.corpus.settings import Settings
        from cactus.retrieval.index import Index
        from cactus.retrieval.store import index_path

        self.folder = _folder(folder)
        cache = None if cache_dir is None else Path(cache_dir)
        settings = Settings.load(index_path(self.folder, cache)).given(
            {
                "embedder": embedder,
                "speech": speech,
                "include": include,
                "exclude": exclude,
                "hidden": hidden,
            }
        )
        self._turns = Turns()
        self._syncs: list[StopFlag] = []
        self._counted: tuple[int, int, int] | None = None
        self._closed = False
        self._owned = ExitStack()
        try:
            found, name = embedder_of(embedder, settings.embedder, fallback, threads, self._owned)
            self._settings = settings.given({"embedder": name})
            self.embedder = found.name
            self._rerank = reranker_of(reranker, threads, self._owned)
            transcribe = transcriber_of(speech, settings.speech, threads, self._owned)
            self._index: Index = self._owned.enter_context(
                Index.open(
                    self.folder,
                    found,
                    cache,
                    include=settings.include,
                    exclude=settings.exclude,
                    hidden=settings.hidden,
                    transcribe=transcribe,
                    speech=(settings.speech or "given") if transcribe else "",
                )
            )
            if sync and not self._would_lose_vectors():
                report = self.sync(progress=progress)
                if not self.chunks:
                    raise CorpusError(_nothing(self.folder, report, settings.include))
        except BaseException:
            self.close()
            raise

    # -- what it is

    @property
    def files(self) -> int:
        """How many documents the index has."""
        return self._counts()[0]

    @property
    def chunks(self) -> int:
        """How many chunks they are cut into."""
        return self._counts()[1]

    @property
    def made_with(self) -> str | None:
        """The name of the embedder whose vectors the index has; None where there is none yet."""
        return self._index.made_with

    @property
    def index_path(self) -> Path:
        """The file of the index."""
        return self._index.path

    def __repr__(self) -> str:
        if self._closed:
            return f"<Corpus {self.folder}, closed>"
        return f"<Corpus {self.folder}: {self.files} files, {self.chunks} chunks, {self.embedder}>"

    # -- what is done with it

    def sync(self, *, progress: Progress | bool | None = None) -> SyncReport:
        """Bring the index up to date with the folder; says what was added, changed and skipped.

        What is done when it is interrupted stays done.
        """
        return self._sync(progress, StopFlag())

    def stop(self) -> None:
        """End every `sync` in flight with Cancelled. Works from any thread or signal handler."""
        for flag in list(self._syncs):
            flag.set()

    async def async_sync(self, *, progress: Progress | bool | None = None) -> SyncReport:
        """`sync` in a thread of its own; cancelling the task stops it. `async` is a keyword."""
        told = in_loop(progress)
        return await run_alone(lambda call: self._sync(told, call.flag))

    def search(self, query: str, top_k: int = TOP_K, **options: Unpack[SearchOptions]) -> list[Hit]:
        """The chunks that fit `query` best, the best first, with scores from 0 to 1.

        `mode`: by vectors and words together ("hybrid", the default), by vectors ("dense") or by
        words ("lexical") alone. `paths`: patterns of the files that are searched, such as
        "guide/**". `metadata`: what their metadata must be. `neighbours`: so many chunks before and
        behind a hit are joined to it. What is not similar enough is left out, so that nothing may
        be found; with `floor` False it is not.
        """
        self._check()
        return self._index.search(query, top_k, rerank=self._rerank, **options)

    async def asearch(
        self, query: str, top_k: int = TOP_K, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """`search` in a thread of its own."""
        return await run_alone(lambda _: self.search(query, top_k, **options))

    def ask(
        self,
        model: ChatMethods,
        question: Messages,
        *,
        passages: int = TOP_K,
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """The answer of `model` to a question, or to the last one of some messages, from here.

        ``citations`` of it are the sentences that the documents support, ``reading`` is what it was
        made from: at most so many `passages`. Where nothing in them is similar to the question, no
        model is asked, and the text is "The documents do not say.". `options` and errors are those
        of ``Model.chat``.
        """
        return self._ask(model, question, passages, options, Call()).run()

    def ask_stream(
        self,
        model: ChatMethods,
        question: Messages,
        *,
        passages: int = TOP_K,
        **options: Unpack[ChatOptions],
    ) -> CompletionStream:
        """`ask` token by token, as ``Model.stream`` is ``Model.chat``."""
        return CompletionStream(self._ask(model, question, passages, options, Call()))

    async def aask(
        self,
        model: ChatMethods,
        question: Messages,
        *,
        passages: int = TOP_K,
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """`ask` in a thread of its own; cancelling the task stops the generation."""
        return await run_alone(
            lambda call: self._ask(model, question, passages, options, call).run()
        )

    def aask_stream(
        self,
        model: ChatMethods,
        question: Messages,
        *,
        passages: int = TOP_K,
        **options: Unpack[ChatOptions],
    ) -> AsyncCompletionStream:
        """`ask_stream` for ``async for``."""
        return AsyncCompletionStream(
            lambda call: self._ask(model, question, passages, options, call)
        )

    def reader(self, passages: int = TOP_K, *, strict: bool = False) -> Reader:
        """What a model consults; `strict`: it is not asked where nothing is found.

        Raises InvalidRequest for an index of pictures.
        """
        if sees(self._index.embedder):
            raise InvalidRequest(
                f"the index of {self.folder} is of pictures, since the embedder {self.embedder} is "
                "for those: it can be searched, not asked; name another embedder"
            )
        return Reader(self, self._turns, passages, strict)

    def close(self) -> None:
        """Close the index and free the models that were loaded for it; it may be called twice.

        A `sync` in flight ends with an error; what it has done stays done.
        """
        self._closed = True
        self.stop()
        self._owned.close()

    # -- a library for the reader

    @property
    def tokens(self) -> int:
        """How many tokens all chunks have together, as the embedder counts."""
        return self._counts()[2]

    def all(self) -> list[Hit]:
        """All chunks, in the order of the documents."""
        self._check()
        return list(self._index.all())

    def document(self, source: str, tokens: int) -> list[Hit]:
        """All chunks of a document, in order; none where they have more than so many tokens."""
        self._check()
        return self._index.document(source, tokens)

    def _would_lose_vectors(self) -> bool:
        """Whether a sync would make anew without vectors what an embedder has made them for."""
        if self._index.embedder.dimensions or self.made_with in (None, self.embedder):
            return False
        return self.chunks > 0

    def _counts(self) -> tuple[int, int, int]:
        """Files, chunks and tokens, as they were after the last sync: all rows are looked at."""
        if self._counted is None:
            index = self._index
            self._counted = index.files, index.chunks, index.tokens
        return self._counted

    def _sync(self, progress: Progress | bool | None, stop: StopFlag) -> SyncReport:
        self._check()
        self._syncs.append(stop)
        try:
            with chosen_progress(progress) as shown:
                report = self._index.sync(shown, stop)
        finally:
            self._syncs.remove(stop)
            self._counted = None
        self._settings.save(self._index.path)
        return report

    def _ask(
        self,
        model: ChatMethods,
        question: Messages,
        passages: int,
        options: Mapping[str, Any],
        call: Call,
    ) -> Generation:
        self._check()
        if not isinstance(model, ChatMethods):
            raise InvalidRequest(f"model must be a cactus Model, got {type(model).__name__}")
        reader = self.reader(integer("passages", passages, 1), strict=True)
        return model._chat().generation(question, options, call, reader)

    def _check(self) -> None:
        if self._closed:
            raise CorpusError(f"the corpus of {self.folder} is closed")


def _folder(given: Any) -> Path:
    """The folder that is meant, or an error that says what is wrong with it."""
    if not isinstance(given, (str, os.PathLike)):
        raise InvalidRequest(f"a corpus is a folder: a string or path, got {type(given).__name__}")
    if not os.fspath(given):
        raise InvalidRequest("a corpus is a folder, got an empty name; '.' is the current folder")
    folder = Path(given).expanduser()
    try:
        with os.scandir(folder):
            resolved = folder.resolve()
            str(resolved).encode()
            return resolved
    except FileNotFoundError:
        raise CorpusError(f"there is no folder {folder}") from None
    except NotADirectoryError:
        raise CorpusError(
            f"{folder} is a file; a corpus is the folder that the documents are in"
        ) from None
    except UnicodeEncodeError:
        name = os.fsencode(folder).decode("utf-8", "backslashreplace")
        raise CorpusError(
            f"the path of the folder {name} is not valid UTF-8, so that no result could name it"
        ) from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"the folder {folder} cannot be read: {reason_of(error)}") from None


def _nothing(folder: Path, report: SyncReport, include: Sequence[str] | None) -> str:
    skipped = str(report.skipped) if report.skipped.total else "it is empty"
    if include:
        skipped += f"; only files like {', '.join(include)} are read (include)"
    return f"{folder} has no document that can be read: {skipped}"
