"""A tokenizer in a form that is there at once: what a folder keeps beside its ``tokenizer.json``.

The library builds its tables anew in every process: a tenth of a second and 70 MB at 150,000
tokens. A prompt needs few of them. So the first load of a folder writes them as sorted arrays into
``tokenizer.bin``, which later ones read as they lie. Text is cut into words by the library's own
normalizer and pre-tokenizer, and merged here; what is long, or goes beyond that, builds the
library's tokenizer after all. Nothing depends on the file: without it the library does everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from cactus.errors import CactusError
from cactus.inputs.files import RegularFile, replace_file
from cactus.tokenizer.check import MAX_TOKENIZER_BYTES

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

NAME = "tokenizer.bin"

LEAST = 1 << 18
"""Bytes of a ``tokenizer.json`` that is worth it: a smaller one is read in some milliseconds."""

LONGEST_TEXT = 1 << 15
"""Characters of a text that is merged here; the library is quicker at longer ones."""

LONGEST_WORD = 64
"""Characters of a word that is: the time grows with their square."""

MOST_WORDS = 1 << 13
"""Words whose tokens are kept, and so many new ones are merged here before the library is asked."""

_LIMIT = 64 << 20
_MAGIC = b"CACTTOK1"
# Magic, key, SHA-256 of what follows; then bytes of the facts, numbers of ids, spellings, merges.
_HEAD = struct.Struct("<8s32s32s")
_SIZES = struct.Struct("<QQQQ")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_PROBE = (
    "Hello, world! It's 3 o'clock; you're late.\n\n\tdef f(x):\n        return x ** 2  # ok\n"
    " Ünïcödé é 漢字かな 🙂👩‍👩‍👧 \r\n1234567890 ___ <|im_end|> </s> http://a.b/c?d=e&f=%20"
)


_PIECE = 1 << 16


def key_of(folder: Path) -> bytes | None:
    """What a table of the ``tokenizer.json`` in `folder` is kept under; None where it is not read.

    In pieces: the whole of it would be the largest block of memory that a small model takes.
    """
    digest = hashlib.sha256(_MAGIC)
    try:
        file = RegularFile(folder / "tokenizer.json")
        try:
            if not LEAST <= file.size <= MAX_TOKENIZER_BYTES:
                return None
            for at in range(0, file.size, _PIECE):
                digest.update(file.read(at, min(_PIECE, file.size - at)))
        finally:
            file.close()
    except CactusError:  # whoever reads it says what is wrong with it
        return None
    return digest.digest()


class Table:
    """The tokens and merges of one vocabulary, as sorted arrays; `facts` are all else."""

    def __init__(self, body: bytes | memoryview) -> None:
        facts, n_ids, n_spelled, n_merges = _SIZES.unpack_from(body)
        view = memoryview(body)
        at = _SIZES.size

        def part(size: int) -> memoryview:
            nonlocal at
            at += size
            return view[at - size : at]

        self._merges = part(8 * n_merges).cast("Q")  # left << 32 | right
        self._ranks = part(8 * n_merges).cast("Q")  # rank << 32 | what they make
        self._spelled = part(8 * n_spelled).cast("Q")  # CRC-32 of a token << 32 | its id
        self._ends = part(4 * n_ids).cast("I")  # where the spelling of an id ends
        self.facts: dict[str, Any] = json.loads(bytes(part(facts)))
        self._spellings = view[at:]

    @staticmethod
    def pack(
        facts: dict[str, Any], ids: dict[str, int], merges: Iterable[tuple[int, ...]]
    ) -> bytes:
        """A table's bytes; `merges` are left, right, rank and what they make."""
        of_id = {id: token.encode() for token, id in ids.items()}
        spellings = [of_id.get(id, b"") for id in range(max(of_id) + 1)]
        ends, end = [], 0
        for spelling in spellings:
            end += len(spelling)
            ends.append(end)
        spelled = sorted(crc32(token) << 32 | id for id, token in of_id.items())
        ordered = sorted(
            (left << 32 | right, rank << 32 | made) for left, right, rank, made in merges
        )
        told = json.dumps(facts).encode()
        told += b" " * (-len(told) % 8)
        return b"".join(
            (
                _SIZES.pack(len(told), len(ends), len(spelled), len(ordered)),
                struct.pack(f"<{len(ordered)}Q", *(pair for pair, _ in ordered)),
                struct.pack(f"<{len(ordered)}Q", *(made for _, made in ordered)),
                struct.pack(f"<{len(spelled)}Q", *spelled),
                struct.pack(f"<{len(ends)}I", *ends),
                told,
                *spellings,
            )
        )

    def spelling(self, id: int) -> str | None:
        """The token of an id; None if there is none."""
        if id >= len(self._ends):
            return None
        start = self._ends[id - 1] if id else 0
        return str(self._spellings[start : self._ends[id]], "utf-8") or None

    def id(self, token: str) -> int | None:
        """The id of a token; None if there is none."""
        try:
            hashed = crc32(token.encode()) << 32
        except UnicodeEncodeError:  # lone surrogates
            return None
        place = bisect_left(self._spelled, hashed)
        while place < len(self._spelled) and self._spelled[place] >> 32 == hashed >> 32:
            id = self._spelled[place] & 0xFFFFFFFF
            if self.spelling(id) == token:
                return id
            place += 1
        return None

    def merged(self, left: int, right: int) -> int:
        """The rank of two tokens that are merged, << 32, and what they make; -1 if they are not."""
        pair = left << 32 | right
        place = bisect_left(self._merges, pair)
        if place < len(self._merges) and self._merges[place] == pair:
            return self._ranks[place]
        return -1

    def word(self, ids: list[int]) -> list[int]:
        """The tokens of a word, from those of its single characters.

        Of all neighbours the pair of the lowest rank is merged first, of equal ones the left one.
        """
        pairs = [self.merged(left, right) for left, right in pairwise(ids)]
        while True:
            best = min((pair for pair in pairs if pair >= 0), default=-1)
            if best < 0:
                return ids
            at = pairs.index(best)
            ids[at : at + 2] = [best & 0xFFFFFFFF]
            del pairs[at]
            if at:
                pairs[at - 1] = self.merged(ids[at - 1], ids[at])
            if at < len(pairs):
                pairs[at] = self.merged(ids[at], ids[at + 1])


class TableBackend:
    """What `Tokenizer` asks of the library's tokenizer, answered from a table.

    `build` makes the library's own, for what a table cannot do: `full`, which has had all changes
    that were made here.
    """

    def __init__(self, table: Table, build: Callable[[], Backend]) -> None:
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Backend

        self._table, self._build = table, build
        facts = table.facts
        empty = {"type": "BPE", "vocab": {}, "merges": []}
        given: dict[str, Any] = {
            "version": "1.0",
            "added_tokens": [],
            "post_processor": None,
            "model": empty,
        }
        # What the library has beside a vocabulary: the normalizer, pre-tokenizer and decoder.
        self.parts: Backend = Backend.from_str(json.dumps(given | facts["parts"]))
        self._added = {
            id: AddedToken(content, **dict(zip(_FLAGS, flags, strict=True)))
            for id, content, *flags in facts["added"]
        }
        self._changes: list[Callable[[Backend], object]] = []
        self._lock = threading.Lock()
        self._encode_special_tokens = False
        self._alphabet: dict[str, int] = facts["alphabet"]
        self._words: dict[str, list[int]] = {}
        self._merged = 0
        self._loose: list[str] | None = None
        self.around: tuple[list[int], list[int]] = (facts["before"], facts["after"])
        self.model = SimpleNamespace(unk_token=facts["unknown"])

    @cached_property
    def full(self) -> Backend:
        """The library's tokenizer."""
        with self._lock:
            found: Backend | None = self.__dict__.get("full")
            if found is None:
                found = self._build()
                for change in self._changes:
                    change(found)
            return found

    # -- as the library has it

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        size: int = self._table.facts["size" if with_added_tokens else "own_size"]
        return size

    def token_to_id(self, token: str) -> int | None:
        return self._table.id(token)

    def id_to_token(self, id: int) -> str | None:
        return self._table.spelling(id)

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        return dict(self._added)

    def add_tokens(self, tokens: list[AddedToken]) -> None:
        self._add(tokens)
        self._changes.append(lambda full: full.add_tokens(tokens))

    def add_special_tokens(self, tokens: list[AddedToken]) -> None:
        self._add(tokens)
        self._changes.append(lambda full: full.add_special_tokens(tokens))

    def _add(self, tokens: list[AddedToken]) -> None:
        for token in tokens:
            id = self.token_to_id(token.content)
            assert id is not None, "only flags of tokens that there are can be changed"
            self._added[id] = token
        self._loose = None

    @property
    def encode_special_tokens(self) -> bool:
        return self._encode_special_tokens

    @encode_special_tokens.setter
    def encode_special_tokens(self, value: bool) -> None:
        self._encode_special_tokens = value
        self._changes.append(lambda full: setattr(full, "encode_special_tokens", value))

    @property
    def normalizer(self) -> Any:
        return self.parts.normalizer

    @property
    def pre_tokenizer(self) -> Any:
        return self.parts.pre_tokenizer

    @property
    def decoder(self) -> Any:
        return self.parts.decoder

    def encode(self, text: str, pair: str | None = None, *, add_special_tokens: bool = True) -> Any:
        return self.full.encode(text, pair, add_special_tokens=add_special_tokens)

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return self.full.decode(ids, skip_special_tokens=skip_special_tokens)

    def to_str(self) -> str:
        return self.full.to_str()

    # -- what it is for

    def ids(self, text: str) -> list[int] | None:
        """The ids of a plain text; None where the library is to be asked."""
        if "full" in self.__dict__ or len(text) > LONGEST_TEXT or not self._encode_special_tokens:
            return None
        if self._loose is None:
            self._loose = [token.content for token in self._added.values() if not token.special]
        normalizer = self.parts.normalizer
        normal = text if normalizer is None else normalizer.normalize_str(text)
        if any(loose in text or loose in normal for loose in self._loose):
            return None
        found: list[int] = []
        words = self._words
        for word, _ in self.parts.pre_tokenizer.pre_tokenize_str(normal):
            ids = words.get(word)
            if ids is None:
                ids = self._read(word)
                if ids is None:
                    return None
                self._merged += 1
                if self._merged > MOST_WORDS:
                    return None
                words[word] = ids
            found += ids
        return found

    def _read(self, word: str) -> list[int] | None:
        if self._table.facts["whole_words"]:
            id = self._table.id(word)
            if id is not None and id not in self._added:
                return [id]
        if len(word) > LONGEST_WORD:
            return None
        try:
            return self._table.word([self._alphabet[letter] for letter in word])
        except KeyError:
            return None


def read_table(folder: Path, key: bytes) -> Table | None:
    """The table that `folder` keeps under `key`; None where there is none, or it is damaged."""
    try:
        file = RegularFile(folder / NAME)
        try:
            data = file.read(0, min(file.size, _LIMIT))
        finally:
            file.close()
    except CactusError:
        return None
    if len(data) < _HEAD.size + _SIZES.size:
        return None
    magic, under, digest = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size :]
    if (magic, under, digest) != (_MAGIC, key, hashlib.sha256(body).digest()):
        return None
    try:
        return Table(body)
    except (struct.error, ValueError, TypeError):
        return None


def write_table(folder: Path, document: bytes, backend: Backend) -> None:
    """Keep a table of the tokenizer that was made from `document`, and not changed since.

    Nothing is written where a table could not do the same, nor in a folder that cannot be written.
    """
    if len(document) < LEAST or not os.access(folder, os.W_OK) or not _fits(backend):
        return
    body = _make(document, backend)
    if body is None:
        return
    key = hashlib.sha256(_MAGIC + document).digest()
    head = _HEAD.pack(_MAGIC, key, hashlib.sha256(body).digest())
    with suppress(OSError):
        replace_file(folder / NAME, head + body)


def _fits(backend: Backend) -> bool:
    """Whether it is plain BPE over bytes. This is cheap: others are asked at each load."""
    from tokenizers import models

    model, before = backend.model, backend.pre_tokenizer
    if not isinstance(model, models.BPE) or before is None:
        return False
    odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if any(getattr(model, name) for name in odd):
        return False
    steps = json.loads(before.__getstate__())
    kinds = [step["type"] for step in steps.get("pretokenizers", [steps])]
    return kinds.count("ByteLevel") == 1 and kinds[-1] == "ByteLevel"


def _make(document: bytes, backend: Backend) -> bytes | None:
    """The bytes of a table; None where anything in the vocabulary is unusual."""
    from tokenizers import pre_tokenizers

    told = json.loads(document)
    written = told["model"]
    own = backend.get_vocab(with_added_tokens=False)
    ids = backend.get_vocab(with_added_tokens=True)
    added = backend.get_added_tokens_decoder()
    if "" in ids or len(set(ids.values())) != len(ids):
        return None
    if any(ids[token] != id for token, id in own.items()):
        return None
    alphabet = {
        letter: own[letter]
        for letter in sorted(pre_tokenizers.ByteLevel.alphabet())
        if letter in own
    }
    pairs = [
        tuple(each.split(" ")) if isinstance(each, str) else each for each in written["merges"]
    ]
    merges = {
        (own[left], own[right]): (rank, own[left + right])
        for rank, (left, right) in enumerate(pairs)
    }
    encoding = backend.encode("x", add_special_tokens=True)
    text = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    if not text:
        return None
    facts = {
        "size": backend.get_vocab_size(with_added_tokens=True),
        "own_size": len(own),
        "added": [
            [id, token.content, *(getattr(token, flag) for flag in _FLAGS)]
            for id, token in added.items()
        ],
        "unknown": written.get("unk_token"),
        "whole_words": bool(written.get("ignore_merges")),
        "alphabet": alphabet,
        "parts": {name: told[name] for name in ("normalizer", "pre_tokenizer", "decoder")},
        "before": encoding.ids[: text[0]],
        "after": encoding.ids[text[-1] + 1 :],
    }
    body = Table.pack(facts, ids, ((*pair, *made) for pair, made in merges.items()))
    return body if _agrees(body, backend, ids) else None


def _agrees(body: bytes, backend: Backend, ids: dict[str, int]) -> bool:
    """Whether a table gives what the library does, of a text of many kinds and of tokens."""
    table = Table(body)
    made = TableBackend(table, lambda: backend)
    special = backend.encode_special_tokens
    backend.encode_special_tokens = made.encode_special_tokens = True
    try:
        own = made.ids(_PROBE)
        if own is not None and own != backend.encode(_PROBE, add_special_tokens=False).ids:
            return False
    finally:
        backend.encode_special_tokens = special
    some = list(ids.items())[:: max(1, len(ids) // 1000)]
    return all(table.id(token) == id and table.spelling(id) == token for token, id in some)
