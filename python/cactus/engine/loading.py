"""From a weights folder to a loaded model, whatever it can do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cactus.compat import Unpack
from cactus.confidence.store import find_calibration
from cactus.engine.contract import InMemory
from cactus.engine.defaults import SamplingDefaults, read_defaults
from cactus.engine.fit import prepare
from cactus.engine.loaded import Loaded
from cactus.engine.options import LoadArguments, LoadOptions
from cactus.engine.programs import TOKENS, Programs
from cactus.errors import InvalidRequest, ModelFormatError, TemplateError
from cactus.inputs.files import UnreadableFile, find_json
from cactus.machine import available_bytes, memory_bytes
from cactus.models.uses import abilities_of
from cactus.weights.locate import name_of

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate
    from cactus.tokenizer import Tokenizer

IMAGE_CACHE = 256 << 20
"""Bytes of features of images that are kept by default: a photograph takes some 1 to 10 MB."""

DRAFTS_HAVE = ("threads", "isa", "kv", "activations", "preload", "resident")
"""Options that a draft is loaded with as its model is."""


def load(folder: Path, **arguments: Unpack[LoadArguments]) -> Loaded:
    """Load a weights folder into the native core, whatever it is of; `Model` has the options.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError, and InvalidRequest
    for an option, or for a `context` beyond the model's own.
    """
    options = LoadOptions(**arguments)
    config = find_json(folder / "config.json") or {}
    name, architecture = name_of(folder), str(config.get("model_type", ""))
    abilities = abilities_of(config)
    if options.context is not None and "transcribe" in abilities:
        raise InvalidRequest("context: a speech model has windows of 30 seconds")
    if options.cache_bytes is not None and "transcribe" in abilities:
        raise InvalidRequest("cache_bytes: a speech model remembers no conversations")
    if options.image_cache_bytes is not None and "see" not in abilities:
        raise InvalidRequest("image_cache_bytes: this model looks at no images")
    draft = _loaded_or_path(options.draft)
    if draft is not None:
        from cactus.engine.drafts import check_abilities, check_vocabulary

        check_abilities(name, architecture, abilities, folder, draft)
    prepare(folder, draft if isinstance(draft, Path) else None, resident=options.resident)
    from cactus.native import Row, Sampler

    programs = Programs(folder, architecture, options)
    try:
        tokens = programs.start(TOKENS)
        tokenizer, template = _load_text_side(folder, name, "chat" in abilities)
        cache_bytes = _default_cache() if options.cache_bytes is None else options.cache_bytes
        drafting: Loaded | None = None
        if isinstance(draft, Loaded):
            check_vocabulary(name, tokenizer, draft.name, draft.tokenizer)
            drafting = draft
        elif draft is not None:
            drafting = _load_draft(draft, arguments, name, tokenizer, tokens.blob, cache_bytes)
            cache_bytes -= drafting.cache_bytes
    except BaseException:
        programs.close()
        raise
    return Loaded(
        folder=folder,
        name=name,
        architecture=architecture,
        abilities=abilities,
        # The core's own word: a kept plan may say anything of itself.
        context_length=tokens.program.info.context_length,
        program=tokens.program,
        programs=programs,
        tokenizer=tokenizer,
        template=template,
        row=Row,
        make_sampler=Sampler,
        config=config,
        plan=tokens.blob,
        sampling_defaults=sampling_defaults(folder),
        cache_bytes=cache_bytes,
        image_cache_bytes=(
            IMAGE_CACHE if options.image_cache_bytes is None else options.image_cache_bytes
        ),
        calibration=find_calibration(folder) if "chat" in abilities else None,
        draft=drafting,
        owns_draft=drafting is not None and drafting is not draft,
    )


def _loaded_or_path(draft: str | os.PathLike[str] | InMemory | None) -> Path | Loaded | None:
    if isinstance(draft, InMemory):
        assert isinstance(draft, Loaded)
        return draft
    return None if draft is None else Path(draft)


def _load_draft(
    folder: Path,
    arguments: LoadArguments,
    name: str,
    tokenizer: Tokenizer,
    plan: bytes,
    cache_bytes: int,
) -> Loaded:
    """The draft in `folder`, loaded as the model `name` is, which has `tokenizer` and runs `plan`.

    Both share `cache_bytes`, so that they remember equally many tokens. Raises what `load` does,
    and InvalidRequest for another vocabulary.
    """
    from cactus.engine.drafts import check_vocabulary
    from cactus.graph.work import read_work

    passed = {key: value for key, value in arguments.items() if key in DRAFTS_HAVE}
    draft = load(folder, **cast(LoadArguments, passed))
    try:
        check_vocabulary(name, tokenizer, draft.name, draft.tokenizer)
        own, others = draft.work().position_bytes, read_work(plan).position_bytes
        return replace(draft, cache_bytes=cache_bytes * own // max(own + others, 1))
    except BaseException:
        draft.close()
        raise


def _default_cache() -> int:
    """A quarter of the memory that is available now."""
    available = available_bytes() or memory_bytes()
    return 1 << 30 if available is None else available // 4


def _load_text_side(
    folder: Path, name: str, chats: bool
) -> tuple[Tokenizer, ChatTemplate | TemplateError]:
    from cactus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder, name, kept=True)
    if not chats:
        return tokenizer, TemplateError(f"{name} has no chat template")
    from cactus.chat.template import ChatTemplate

    try:
        return tokenizer, ChatTemplate.load(folder, tokenizer)
    except TemplateError as error:
        return tokenizer, error


def sampling_defaults(folder: Path) -> SamplingDefaults | ModelFormatError:
    """What a weights folder recommends, or what is wrong with its generation_config.json."""
    try:
        return read_defaults(folder)
    except UnreadableFile:
        raise
    except ModelFormatError as error:
        return error
