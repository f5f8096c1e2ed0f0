"""From texts to the tokens that a step takes, within the limit of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from cactus.embed.settings import Settings
from cactus.errors import ContextLengthExceeded, InvalidRequest, ModelFormatError
from cactus.inputs.checks import integer
from cactus.inputs.text import clean_text

if TYPE_CHECKING:
    from cactus.tokenizer import Tokenizer

WORDY = 64
"""Characters of a token that none has on average: of a long text that many are enough to read."""


def is_several(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether a value is a list or the like, and not an array without dimensions."""
    if isinstance(value, (bytes, bytearray, memoryview, Mapping)):
        return False
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) != 0


@dataclass(frozen=True, slots=True)
class Item:
    """One text as the tokens of a step. `cut`: they are only its beginning."""

    index: int
    ids: list[int]
    cut: bool = False


@dataclass(frozen=True)
class Reader:
    """Makes tokens of texts. `limit` are the most of one text, `vocabulary` the ids there are."""

    tokenizer: Tokenizer
    settings: Settings
    limit: int
    vocabulary: int

    def read(self, index: int, text: object, prompt: str, truncate: bool, name: str) -> Item:
        """The tokens of a text behind its prompt, special tokens around both; ids as they are.

        Raises InvalidRequest naming the text, and ContextLengthExceeded beyond the limit if it is
        not to be cut. Special tokens behind a text stay when it is cut.
        """
        if isinstance(text, str):
            before, after = self.tokenizer.around
            ids, whole = self._plain(prompt + text)
        else:
            if prompt:
                raise InvalidRequest(f"{name} are token ids, and a prompt goes before a text")
            before, after, whole = [], [], True
            ids = self._ids(text, name)
        room = self.limit - len(before) - len(after)
        cut = len(ids) > room
        if cut:
            self._check(len(before) + len(ids) + len(after), whole, truncate, name)
        read = [*before, *ids[:room], *after]
        if self.settings.pad is not None:
            length, token = self.settings.pad
            read += [token] * (length - len(read))
        return Item(index, self._known(read), cut)

    def pair(self, index: int, query: Sequence[int], text: str, truncate: bool, name: str) -> Item:
        """The tokens of a query and a text for a cross-encoder; the text is what is cut."""
        frame = self.tokenizer.pair_frame
        room = self._room(len(query) + frame.size)
        ids, whole = self._plain(text)
        cut = len(ids) > room
        if cut:
            self._check(len(query) + frame.size + len(ids), whole, truncate, name)
        return Item(index, self._known(frame.join(query, ids[:room])), cut)

    def question(self, index: int, query: str, text: str, truncate: bool, name: str) -> Item:
        """The tokens of the question whether a text fits a query; the text is what is cut."""
        assert self.settings.score is not None
        before, between, after = self.settings.score.parts
        asked = [(before, True), (query, False), (between, True)]
        end = self.tokenizer.encode_prompt([(after, True)])

        def encode(text: str) -> list[int]:
            return self.tokenizer.encode_prompt([*asked, (text, False)])

        ids, whole = self._encode(clean_text(text), encode)
        cut = len(ids) + len(end) > self.limit
        if cut:
            self._room(len(encode("")) + len(end))
            self._check(len(ids) + len(end), whole, truncate, name)
            ids = ids[: self.limit - len(end)]
        return Item(index, self._known([*ids, *end]), cut)

    def query(self, query: str) -> list[int]:
        """The tokens of a query for `pair`."""
        return self._plain(query)[0]

    def _plain(self, text: str) -> tuple[list[int], bool]:
        """The tokens of a text alone; False: only its beginning, which is beyond the limit."""
        text = clean_text(text)
        if self.settings.strip:
            text = text.strip()
        if self.settings.lower_case:
            text = text.lower()
        return self._encode(text, self._tokens)

    def _tokens(self, text: str) -> list[int]:
        ids, skipped = self.tokenizer.encode(text), self.settings.skip_tokens
        return [id for id in ids if id not in skipped] if skipped else ids

    def _encode(self, text: str, encode: Callable[[str], list[int]]) -> tuple[list[int], bool]:
        enough = WORDY * self.limit
        if len(text) > enough:
            ids = encode(text[:enough])
            if len(ids) > 2 * self.limit:  # whatever comes behind, it changes none that are kept
                return ids, False
        return encode(text), True

    def _ids(self, value: object, name: str) -> list[int]:
        if not is_several(value):
            raise InvalidRequest(
                f"{name} must be a string or a list of token ids, got {type(value).__name__}"
            )
        return [integer(f"{name}[{n}]", id, 0, self.vocabulary - 1) for n, id in enumerate(value)]

    def _known(self, ids: list[int]) -> list[int]:
        if ids and max(ids) >= self.vocabulary:
            raise ModelFormatError(
                f"the tokenizer has token {max(ids)}, and the embeddings only {self.vocabulary} "
                "rows: the files belong to different models"
            )
        return ids

    def _check(self, tokens: int, whole: bool, truncate: bool, name: str) -> None:
        """Raises ContextLengthExceeded for so many tokens, or more, if they are not to be cut."""
        if not truncate:
            count = f"{'' if whole else 'at least '}{tokens}"
            raise ContextLengthExceeded(
                f"{name} has {count} tokens, {tokens - self.limit} more than the model takes "
                f"({self.limit}); cut it into parts, or give truncate=True to read its beginning",
                prompt_tokens=tokens,
                limit=self.limit,
            )

    def _room(self, taken: int) -> int:
        """The tokens that are left for a text beside a query."""
        if taken >= self.limit:
            raise ContextLengthExceeded(
                f"the query takes {taken} tokens, and the model takes {self.limit} of query and "
                "text together",
                prompt_tokens=taken,
                limit=self.limit,
            )
        return self.limit - taken
