"""A loaded model with typed results: chat, streaming, and their async forms.

    with Model("smollm2-135m-instruct") as model:
        print(model.chat("Hello!"))

A chat that begins like one before only reads what is new. Calls from several threads are answered
together, and give the answers they would give alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cactus.agent.methods import ToolMethods
from cactus.calls.turns import Call
from cactus.cloud.cloud import Cloud
from cactus.compat import Self, refuse_subinterpreters
from cactus.corpus.corpus import Corpus
from cactus.corpus.methods import CorpusMethods
from cactus.engine.loaded import Loaded
from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean
from cactus.speech.methods import SpeechMethods
from cactus.vision.methods import VisionMethods

if TYPE_CHECKING:
    from cactus.engine.options import LoadArguments


class Model(ToolMethods, SpeechMethods, VisionMethods, CorpusMethods):
    """A language model, or a speech model, in memory.

    `name_or_path`: a weights folder, a ``.gguf`` file, a hub id, or the name of a downloaded model.
    `threads`: default ``CACTUS_THREADS``, else the physical cores. `isa`: a kernel tier to force,
    default ``CACTUS_ISA``, else the best this processor has; of an encoder "amx_bf16" or (but for
    speech) "avx512_bf16" where it has one, unless `activations` are given or the weights are FP32
    (of speech: FP16). `context`: tokens at most, default (and at most) the model's own. `kv`: what
    the cache keeps keys and values in, "int8" or "f16", which takes twice the memory and is read
    more slowly; default "int8", and "f16" for speech and embedders. `activations`: what numbers
    have when they meet quantised weights, "int12" or "int8", which reads prompts a quarter faster
    and changes answers more; default "int12", and "int8" for encoders. `preload`: read all weights
    in the background at once, instead of as they are needed: the first answer comes sooner where
    the file is not in memory. `resident`: copy the weights into memory of this process, so that the
    file may change or vanish while the model is used. `cache_bytes`: the memory of keys and values
    up to which conversations that have ended are remembered, so that the next turn of each reads
    only what is new; default a quarter of what the machine has free, 0: none is.
    `image_cache_bytes`: the memory up to which features of images are kept, so that one that is
    shown again is not looked at again; default 256 MB, 0: none are. `draft`: a smaller model of the
    same vocabulary, by its name or folder, or loaded as a `Model`. It writes a few tokens on, which
    one step of this model checks together, where that is faster: answers are the same to the last
    bit. One that is loaded here shares `cache_bytes`. `download`: fetch a model that is known and
    not here; otherwise no connection is opened. `cloud`: a larger model elsewhere, which is asked
    where this one is less sure than `confidence_threshold`, by default 0.7 then (docs/cloud.md);
    without it nothing leaves this machine. `corpus`: a folder of documents, or a `cactus.Corpus`,
    that chats are answered from (docs/documents.md).

    Raises ModelNotFound, UnsupportedModel, ModelFormatError, InsufficientMemory, InvalidRequest.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        isa: str | None = None,
        context: int | None = None,
        kv: Literal["f16", "int8"] | None = None,
        activations: Literal["int12", "int8"] | None = None,
        preload: bool = False,
        resident: bool = False,
        cache_bytes: int | None = None,
        image_cache_bytes: int | None = None,
        draft: str | os.PathLike[str] | Model | None = None,
        download: bool = False,
        cloud: Cloud | None = None,
        corpus: str | os.PathLike[str] | Corpus | None = None,
    ) -> None:
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise InvalidRequest(
                f"a model is named by a string or a path, got {type(name_or_path).__name__}"
            )
        if cloud is not None and not isinstance(cloud, Cloud):
            raise InvalidRequest(f"cloud must be a cactus.Cloud, got {type(cloud).__name__}")
        refuse_subinterpreters()
        from cactus.engine.loading import load
        from cactus.engine.options import LoadOptions

        options: LoadArguments = {
            "threads": threads,
            "isa": isa,
            "context": context,
            "kv": kv,
            "activations": activations,
            "preload": preload,
            "resident": resident,
            "cache_bytes": cache_bytes,
            "image_cache_bytes": image_cache_bytes,
        }
        if isinstance(draft, Model):
            draft._turns.check()
            options["draft"] = draft._engine
        else:
            options["draft"] = draft
        LoadOptions(**options)  # before anything is looked for or fetched
        folder = _find(name_or_path, boolean("download", download))
        if draft is not None and not isinstance(draft, Model):
            options["draft"] = _find(draft, download)
        self._start(load(folder, **options))
        self._set_cloud(cloud)
        self._set_corpus(corpus)

    @classmethod
    def from_engine(
        cls,
        engine: Loaded,
        cloud: Cloud | None = None,
        corpus: str | os.PathLike[str] | Corpus | None = None,
    ) -> Self:
        """A model around an engine that is already loaded; it is closed with the model."""
        model = cls.around(engine)
        model._set_cloud(cloud)
        model._set_corpus(corpus)
        return model

    def _start(self, engine: Loaded) -> None:
        super()._start(engine)
        try:  # so that what is damaged is named when it is loaded
            if "see" in engine.abilities:
                self._vision("see")
            if "transcribe" in engine.abilities:
                self._speech()
            elif "complete" not in engine.abilities and "embed" in engine.abilities:
                self._texts("embed")
            elif "complete" not in engine.abilities and "rerank" in engine.abilities:
                self._texts("rerank")
        except BaseException:
            self.close()
            raise

    def _set_cloud(self, cloud: Cloud | None) -> None:
        if cloud is None:
            return
        try:
            self._engine.require("chat")
        except BaseException:
            self.close()
            raise
        self.elsewhere = cloud.asker

    # -- what it is

    @property
    def name(self) -> str:
        """The name of the weights folder; of a converted GGUF file, the file's."""
        return self._engine.name

    @property
    def architecture(self) -> str:
        """The Hugging Face ``model_type``."""
        return self._engine.architecture

    @property
    def context_length(self) -> int:
        """The most tokens that a prompt and its answer may have together."""
        return self._engine.context_length

    @property
    def draft(self) -> str | None:
        """The name of the draft model, if there is one."""
        found = self._engine.draft
        return None if found is None else found.name

    @property
    def thinks(self) -> bool:
        """Whether it may think before it answers: such answers have `reasoning`."""
        return self._engine.thinks

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._turns.closed

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Model {self.name} ({self.architecture}, {self.context_length} tokens{state})>"

    # -- what all models do

    def tokenize(self, text: str) -> list[int]:
        """The token ids of plain text: no special tokens are added, and none are recognised."""
        self._turns.check()
        if not isinstance(text, str):
            raise InvalidRequest(f"text must be a string, got {type(text).__name__}")
        return list(self._engine.tokenizer.encode(text))

    def detokenize(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of token ids; special tokens are left out, or with `skip_special` False spelled.

        Bytes that are not UTF-8, such as half a character, become U+FFFD.
        """
        from cactus.generate.prompt import token_ids

        self._turns.check()
        # The program of a model that only makes vectors chooses no token.
        size = self._engine.program.vocab_size or self._engine.tokenizer.vocab_size
        known = token_ids("ids", ids, size)
        skip = boolean("skip_special", skip_special)
        return str(self._engine.tokenizer.decode(known, skip_special=skip))

    def reset(self) -> None:
        """Forget all conversations, and what calls in flight would leave.

        The next chat reads its whole prompt.
        """
        self._turns.check()
        # The call is not registered: stop() ends answers, it must not make a reset be skipped.
        self._turns.advance(Call(), self._forget)

    def _forget(self) -> None:
        for worker in list(self._workers.values()):
            worker.forget()

    def stop(self) -> None:
        """End every call in flight; each returns what it has so far.

        Works from any thread, callback or signal handler, at once: a step that reads a chunk of the
        prompt or 30 seconds of audio ends half-way. Nothing happens, and nothing is remembered,
        when no call is in flight.
        """
        self._turns.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.close)  # it waits for the step that runs


def _find(name_or_path: str | os.PathLike[str], download: bool) -> Path:
    """The model's folder; a terminal sees how far a conversion or download is."""
    from cactus.progress import chosen_progress

    with chosen_progress(None) as progress:
        if not download:
            from cactus.weights.resolve import resolve

            return resolve(name_or_path, progress)
        from cactus.weights.download import find_or_download

        return find_or_download(name_or_path, progress=progress)
