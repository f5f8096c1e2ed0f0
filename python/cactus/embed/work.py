"""What an embedder or a reranker does for its callers: every vector and score begins here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from cactus.calls.run import GeneratorRun
from cactus.calls.turns import Call, Turns
from cactus.embed.encoder import Encoder
from cactus.embed.options import EmbedOptions, RankOptions
from cactus.embed.rank import rank
from cactus.embed.texts import Item, is_several
from cactus.embed.vectors import Embeddings
from cactus.engine.base import Worker
from cactus.engine.loaded import Loaded
from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean, expected, integer, known
from cactus.types import RankedText

if TYPE_CHECKING:
    from cactus.progress import Progress

R = TypeVar("R")


class TextsRun(GeneratorRun[int, R]):
    """A run over many texts; its events are how many are done, and `told` is told them.

    `count`: how many there are, if that is known; the work yields no event when it has them all.
    """

    def __init__(
        self,
        turns: Turns,
        call: Call,
        work: Generator[int, None, R],
        told: Callable[[int], object] | None,
        count: int | None,
    ) -> None:
        super().__init__(turns, call, work)
        self._told, self._count = told, count

    def _events(self) -> Generator[int, None, None]:
        for done in super()._events():
            if self._told is not None:
                self._told(done)
            yield done
        if self._told is not None and self._count and self._finished:
            self._told(self._count)


class TextWork(Worker):
    """Checks options, and makes the runs that read texts.

    Whoever calls has seen to it that the model is open and has the ability.
    """

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        super().__init__(engine, turns, owned)
        self.encoder = Encoder.of(engine)

    def embedding(
        self, texts: Any, options: Mapping[str, Any], progress: Progress | None, call: Call
    ) -> TextsRun[Embeddings]:
        """The run that makes vectors of texts: of one, or of several."""
        known(options, EmbedOptions.__annotations__)
        encoder = self.encoder
        single, given = _texts(texts)
        most = options.get("batch_size")
        if most is not None:
            most = integer("batch_size", most, 1)
        named = options.get("prompt")
        if named is not None and not isinstance(named, str):
            raise InvalidRequest(expected("prompt", "a name or None", named))
        prompt = encoder.settings.prompt(named)
        size = encoder.size(options.get("dimensions"))
        normalize = options.get("normalize")
        normalize = (
            encoder.settings.normalize if normalize is None else boolean("normalize", normalize)
        )
        truncate = boolean("truncate", options.get("truncate", False))
        count = len(given) if isinstance(given, Sized) else None

        def items() -> Iterator[Item]:
            for index, text in enumerate(given):
                name = "text" if single else f"texts[{index}]"
                # A default prompt is for texts; who gives ids has done all of it.
                before = prompt if named is not None or isinstance(text, str) else ""
                yield encoder.reader.read(index, text, before, truncate, name)

        work = encoder.embed(items(), count, size, normalize, most, call.flag)
        told = _told(progress, "embedding", count)
        return TextsRun(self._turns, call, _first(work) if single else work, told, count)

    def ranking(
        self,
        query: Any,
        texts: Any,
        options: Mapping[str, Any],
        progress: Progress | None,
        call: Call,
    ) -> TextsRun[list[RankedText]]:
        """The run that scores texts by a query."""
        known(options, RankOptions.__annotations__)
        if not isinstance(query, str):
            raise InvalidRequest(f"query must be a string, got {type(query).__name__}")
        if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
            raise InvalidRequest(f"texts must be a list of strings, got {type(texts).__name__}")
        given = list(texts)
        for index, text in enumerate(given):
            if not isinstance(text, str):
                raise InvalidRequest(f"texts[{index}] must be a string, got {type(text).__name__}")
        most, top = options.get("batch_size"), options.get("top_k")
        most = None if most is None else integer("batch_size", most, 1)
        top = None if top is None else integer("top_k", top, 1)
        truncate = boolean("truncate", options.get("truncate", False))
        normalize = options.get("normalize")
        normalize = None if normalize is None else boolean("normalize", normalize)
        work = rank(self.encoder, query, given, most, truncate, normalize, top, call.flag)
        told = _told(progress, "ranking", len(given))
        return TextsRun(self._turns, call, work, told, len(given))


def _texts(texts: Any) -> tuple[bool, Iterable[Any]]:
    """Whether a caller gave one text, and what there is to be read."""
    if isinstance(texts, str):
        return True, [texts]
    if not is_several(texts):
        raise InvalidRequest(
            "texts must be a string, a list of strings, or token ids of either kind, "
            f"got {type(texts).__name__}"
        )
    if isinstance(texts, Sized) and len(texts) and hasattr(texts, "__getitem__"):
        first = next(iter(texts))
        if hasattr(first, "__index__") and not isinstance(first, bool):
            return True, [texts]
    return False, texts


def _first(work: Generator[int, None, Embeddings]) -> Generator[int, None, Embeddings]:
    """The vector of the only text."""
    made = yield from work
    return Embeddings(made[0], made.tokens, made.truncated)


def _told(
    progress: Progress | None, label: str, count: int | None
) -> Callable[[int], object] | None:
    if progress is None:
        return None
    told = progress
    return lambda done: told(label, done, count or 0)
