"""Token ids to text, one by one, in whole characters."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from cactus.errors import InvalidRequest


class TokenBytes:
    """How the tokens of one vocabulary become bytes of UTF-8.

    ``exact``: every token stands for its own bytes (byte-level or SentencePiece decoders); else its
    text depends on its neighbours (word pieces) and only the library can join them.
    ``drops_space``: a space at the very start of the text is not part of it. ``whole``: the texts
    of tokens that were met and are whole characters.
    """

    def __init__(self, decoder: Any) -> None:
        steps = [] if decoder is None else _flatten(json.loads(decoder.__getstate__()))
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        pieces: list[dict[str, Any]] = [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        byte_level = [step.get("type") for step in steps] == ["ByteLevel"]
        self.drops_space = steps == [*pieces, strip]
        self.exact = byte_level or self.drops_space or steps == pieces
        self.of: Callable[[str], bytes] = _byte_level if byte_level else _sentencepiece
        self.whole: dict[int, str] = {}


class Vocabulary(Protocol):
    """What decoding needs of a tokenizer."""

    token_bytes: TokenBytes
    special_ids: frozenset[int]

    def id_to_token(self, id: int) -> str | None: ...
    def decode(self, ids: Sequence[int], skip_special: bool) -> str: ...


class StreamDecoder:
    """Ids in, text out, as soon as its characters are whole.

    The outputs of ``push`` and ``flush``, joined, equal ``Tokenizer.decode`` of all the ids, with
    the spellings of those special tokens that are to be ``shown``. Where
    tokens have no bytes of their own (see ``TokenBytes.exact``) all text comes from ``flush``.
    """

    def __init__(
        self, tokenizer: Vocabulary, skip_special: bool = True, shown: Collection[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._bytes = tokenizer.token_bytes
        self._skip = tokenizer.special_ids.difference(shown) if skip_special else frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = self._bytes.drops_space
        self._between = not self._at_start  # the text so far is whole characters
        self._ids: list[int] = []

    def push(self, id: int) -> str:
        """The text that this id completes; "" while a character is still incomplete.

        Raises InvalidRequest for a number that cannot be an id.
        """
        if self._between and type(id) is int and id not in self._skip:
            text = self._bytes.whole.get(id)
            if text is not None:
                return text
        token = self._tokenizer.id_to_token(id)
        if id in self._skip or not token:
            return ""
        if not self._bytes.exact:
            self._ids.append(id)
            return ""
        began = self._between
        data = self._bytes.of(token)
        text = self._emit(data, final=False)
        self._between = not (self._at_start or self._utf8.getstate()[0])
        if began and self._between and "\ufffd" not in text:
            self._bytes.whole[int(id)] = text
        return text

    def flush(self) -> str:
        """What is left: an incomplete character becomes U+FFFD. The decoder starts afresh."""
        if self._bytes.exact:
            text = self._emit(b"", final=True)
        else:
            text = self._tokenizer.decode(self._ids, skip_special=False)
        self._utf8.reset()
        self._at_start = self._bytes.drops_space
        self._between = not self._at_start
        self._ids = []
        return text

    def _emit(self, data: bytes, final: bool) -> str:
        text = self._utf8.decode(data, final)
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix(" ")
        return text


def check_id(id: Any, vocab_size: int) -> int:
    """An id as int; InvalidRequest for anything that cannot be one."""
    if isinstance(id, bool) or not hasattr(id, "__index__"):
        raise InvalidRequest(f"token id: expected an integer, got {id!r}")
    index = int(id)
    if not 0 <= index < 1 << 32:
        raise InvalidRequest(f"token id: expected 0..{vocab_size - 1}, got {index}")
    return index


def _flatten(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder.get("type") == "Sequence":
        return [step for inner in decoder["decoders"] for step in _flatten(inner)]
    return [decoder]


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's character of every byte: itself where it is printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(others)
    }


_BYTE_OF = _byte_alphabet()


def _byte_level(token: str) -> bytes:
    try:
        return bytes(map(_BYTE_OF.__getitem__, token))
    except KeyError:  # an added token, which is spelled in plain text
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes((int(token[3:5], 16),))
        except ValueError:
            return token.encode()
    return token.replace("▁", " ").encode()
