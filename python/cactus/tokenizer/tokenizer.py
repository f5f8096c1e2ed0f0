"""Text to token ids and back, on the ``tokenizers`` library.

Text is data: ``encode`` never yields the id of a special token, whatever the text contains. Special
tokens enter a prompt through ``encode_prompt`` alone, and only from the template's own characters.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.errors import CactusError, InsufficientMemory, TokenizerError
from cactus.inputs.checks import short
from cactus.inputs.text import clean_text
from cactus.machine import can_reserve, release_memory
from cactus.tokenizer.check import backend_of, bound_cache, check_patterns, is_panic, read_document
from cactus.tokenizer.config import FLAGS, TokenizerConfig
from cactus.tokenizer.ends import UNMISTAKABLE, find_ends
from cactus.tokenizer.pair import PairFrame
from cactus.tokenizer.pieces import PIECE, Pieces
from cactus.tokenizer.stream import StreamDecoder, TokenBytes, check_id
from cactus.tokenizer.table import TableBackend, key_of, read_table, write_table
from cactus.tokenizer.word_cache import WordCache

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

LONG = 1 << 15
"""Characters of a text whose encoding takes so much memory, up to 12 MB, that it is given back."""
_MARKUP = re.compile(r"<\|.*\|>", re.DOTALL)


class Tokenizer:
    """The tokenizer of one model. Immutable once loaded; any number of threads may use it.

    ``vocab_size``: number of tokens, added ones included. ``bos_id``, ``pad_id``: None if the model
    has none. ``eos_ids``: every id that ends an answer, ascending. ``special_ids``: ids that
    ``decode`` leaves out. ``add_bos``: whether raw text is meant to start with ``bos_id``; a chat
    template writes its own. ``special_tokens``: spellings by name ("bos_token"), as templates want
    them.
    """

    def __init__(self, backend: Backend | TableBackend, config: TokenizerConfig) -> None:
        self._backend: Any = backend
        self._table = backend if isinstance(backend, TableBackend) else None
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        if self.vocab_size == 0:
            raise TokenizerError("tokenizer.json: the vocabulary is empty")
        self._limit = max(self.vocab_size, config.rows)
        self.token_bytes = TokenBytes(backend.decoder)
        self.bos_token, self.eos_token, self.unk_token, self.pad_token = (
            config.tokens.get(name) for name in ("bos", "eos", "unk", "pad")
        )
        self.special_tokens = {f"{name}_token": text for name, text in config.tokens.items()}
        self.add_bos = config.add_bos
        eos = self.token_to_id(self.eos_token or "")
        if self.eos_token and eos is None:
            raise TokenizerError(
                f"tokenizer_config.json: eos_token {short(self.eos_token)} is not in the vocabulary"
            )
        ends = config.ids("eos_token_id", self._limit)
        # What ends the turns of the template ends an answer, whether a file says so or not.
        ends += find_ends(filter(config.template.__contains__, UNMISTAKABLE), self.token_to_id)
        self.eos_ids = tuple(sorted({*ends, *([] if eos is None else [eos])}))
        bos_ids = config.ids("bos_token_id", self._limit)
        self.bos_id = self.token_to_id(self.bos_token or "")
        if self.bos_id is None and bos_ids:
            self.bos_id = bos_ids[0]
        self.pad_id = self.token_to_id(self.pad_token or "")
        self._set_flags(config.added)
        self.special_ids = self._make_special({*config.tokens.values(), *config.others})
        self._markup = self._hide_markup(config.template)
        unknown = getattr(backend.model, "unk_token", self.unk_token)
        self._forbidden = {id for id, _ in self._markup.values()} - {
            self.token_to_id(unknown or "")
        }
        self._words = None if isinstance(backend, TableBackend) else WordCache.of(backend)

    @classmethod
    def load(cls, folder: Path, name: str | None = None, *, kept: bool = False) -> Tokenizer:
        """Load the tokenizer of a weights folder, or of a Hugging Face checkpoint folder.

        With ``kept`` its tables are taken from the folder, where they were written before, and
        written where they were not.

        Reads ``tokenizer.json`` and, where they exist, ``tokenizer_config.json``,
        ``generation_config.json``, ``config.json`` and ``chat_template.jinja``.
        Raises TokenizerError if a file is missing, damaged, contradicts another one, or is too
        slow to be used on text. Errors begin with ``name``, which is the folder if not given.
        """
        try:
            backend = _kept_backend(folder) if kept else None
            if backend is None:
                document = read_document(folder)
                full = backend_of(document)
                if kept:
                    write_table(folder, document, full)
                return cls(full, TokenizerConfig.read(folder))
            return cls(backend, TokenizerConfig.read(folder))
        except TokenizerError as error:
            raise TokenizerError(f"{folder if name is None else name}: {error}") from None

    @property
    def markup(self) -> list[str]:
        """The spellings that are special in a template and text in content."""
        return list(self._markup)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of plain text; markup in it ("<|im_end|>", "</s>") is spelled out as text.

        ``special`` adds what the model puts around raw text (BOS; CLS and SEP), nothing else.
        Lone surrogates become U+FFFD. Time is linear in the length of the text.
        """
        ids = self._plain(text, self._backend)
        before, after = self.around if special else ([], [])
        return [*before, *ids, *after]

    def encode_prompt(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        """Ids of a rendered template: ``(text, special)`` parts, as a chat template returns them.

        Special tokens are recognised only where every character comes from special parts. The
        text between two of them is encoded in one piece, so that ordinary content gives the ids
        that the whole prompt would give.
        """
        text, stretches = _join(parts)
        ids: list[int] = []
        done = 0
        for start, end, id in self._find_markup(text, stretches):
            if start > done:
                ids += self._plain(text[done:start], self._backend_at(done))
            ids.append(id)
            done = end
        if done < len(text):
            ids += self._plain(text[done:], self._backend_at(done))
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; special tokens are left out, bytes that are not UTF-8 become U+FFFD.

        Raises InvalidRequest for a number that cannot be an id. An id past the vocabulary, which a
        model with padded output rows may produce, has no text.
        """
        if self.token_bytes.exact:
            stream = StreamDecoder(self, skip_special)
            return "".join([*map(stream.push, ids), stream.flush()])
        kept = [check_id(id, self.vocab_size) for id in ids]
        if skip_special:
            kept = [id for id in kept if id not in self.special_ids]
        return str(self._backend.decode(kept, skip_special_tokens=False))

    def stream(self, skip_special: bool = True, shown: Collection[int] = ()) -> StreamDecoder:
        """A decoder for ids that arrive one by one; ``shown``: special tokens that it spells."""
        return StreamDecoder(self, skip_special, shown)

    def id_to_token(self, id: int) -> str | None:
        """The vocabulary's own spelling of an id; None if there is no such id.

        Raises InvalidRequest for anything that is not an integer in 0..2**32-1.
        """
        token: str | None = self._backend.id_to_token(check_id(id, self.vocab_size))
        return token

    def token_bytes_of(self, id: int) -> bytes:
        """The UTF-8 of one token, or a part of it; a special token is spelled out.

        Where a token's text depends on its neighbours, it is the text of the token alone.
        """
        token = self.id_to_token(id)
        if not token:
            return b""
        if self.token_bytes.exact:
            return self.token_bytes.of(token)
        return self.decode([id], skip_special=False).encode()

    def token_to_id(self, token: str) -> int | None:
        """The id of a token in the vocabulary's own spelling; None if there is no such token."""
        id: int | None = self._backend.token_to_id(token)
        return id

    def _set_flags(self, wanted: dict[int, dict[str, Any]]) -> None:
        """Give added tokens the flags that tokenizer_config.json gives them, as transformers does.

        A token that the vocabulary does not have, or under another id, stays as it is.
        """
        from tokenizers import AddedToken

        added = self._backend.get_added_tokens_decoder()
        changed: list[AddedToken] = []
        for id, token in wanted.items():
            if self.token_to_id(token["content"]) != id:
                continue
            old = {flag: getattr(added[id], flag) for flag in FLAGS} if id in added else {}
            if any(old.get(flag) != token[flag] for flag in FLAGS if flag in token):
                changed.append(AddedToken(**(old | token)))
        # All at once: each call makes the library's automaton anew.
        self._backend.add_special_tokens([token for token in changed if token.special])
        self._backend.add_tokens([token for token in changed if not token.special])

    def _make_special(self, named: set[str]) -> frozenset[int]:
        """Ids of all special tokens; those that only the configuration names are made special."""
        added = {t.content: t for t in self._backend.get_added_tokens_decoder().values()}
        self._add_special(
            added.get(text) or text
            for text in sorted(named)
            if self.token_to_id(text) is not None and not (text in added and added[text].special)
        )
        decoder = self._backend.get_added_tokens_decoder()
        return frozenset(id for id, token in decoder.items() if token.special)

    def _hide_markup(self, template: str) -> dict[str, tuple[int, AddedToken]]:
        """Make the library read all markup as text; returns what is markup, by its spelling.

        Markup are the special tokens, and of the other added tokens those that look like
        ``<|this|>`` or that the template uses (``<tool_call>``). Runs of spaces, which many
        vocabularies have as added tokens, stay what they are: text.
        """
        markup = {
            token.content: (id, token)
            for id, token in self._backend.get_added_tokens_decoder().items()
            if token.special
            or _MARKUP.fullmatch(token.content)
            or (token.content in template and not token.content.isspace())
        }
        self._add_special(token for _, token in markup.values() if not token.special)
        self._backend.encode_special_tokens = True
        return markup

    def _add_special(self, tokens: Iterable[AddedToken | str]) -> None:
        from tokenizers import AddedToken

        flags = [flag for flag in FLAGS if flag != "special"]
        special = [
            AddedToken(token, normalized=False, special=True)
            if isinstance(token, str)
            else AddedToken(
                token.content, special=True, **{flag: getattr(token, flag) for flag in flags}
            )
            for token in tokens
        ]
        if special:
            self._backend.add_special_tokens(special)

    def _run(
        self,
        backend: Backend,
        text: str,
        pair: str | None = None,
        *,
        add_special_tokens: bool = False,
    ) -> Any:
        try:
            return backend.encode(text, pair, add_special_tokens=add_special_tokens)
        except CactusError:  # the library's tokenizer could not be made
            raise
        except BaseException as error:
            if isinstance(error, Exception) or is_panic(error):
                raise TokenizerError(
                    f"tokenizer.json: the text cannot be encoded: {error}"
                ) from None
            raise

    def _plain(self, text: str, backend: Backend) -> list[int]:
        text = clean_text(text)
        if self._words is not None and backend is self._backend and len(text) <= PIECE:
            return self._words.ids(text, self._read_words)
        if self._table is not None:
            ids = self._table.ids(text)
            if ids is not None and self._is_plain(ids):
                return ids
        ids = self._encoded(text, backend)
        if len(text) > LONG:
            release_memory()
        return ids

    def _read_words(self, words: list[str]) -> list[list[int]]:
        """The ids of each word, for a tokenizer that reads each by itself."""
        encoding = self._run(self._backend, " ".join(words))
        ids: list[int] = encoding.ids
        if not self._is_plain(ids):
            return [self._encoded(word, self._backend) for word in words]
        starts = [start for start, _ in encoding.offsets]
        found: list[list[int]] = []
        at, end = 0, -1
        for word in words:
            end += len(word) + 1
            first, at = at, bisect_left(starts, end, at)
            found.append(ids[first:at])
        return found

    def _is_plain(self, ids: list[int]) -> bool:
        """Whether none of the ids is a special token's. Raises TokenizerError for one too large."""
        if ids and max(ids) >= self._limit:
            raise TokenizerError(
                f"tokenizer.json: token {self.id_to_token(max(ids))!r} has id {max(ids)}; "
                f"expected 0..{self._limit - 1}"
            )
        return self._forbidden.isdisjoint(ids)

    def _encoded(self, text: str, backend: Backend) -> list[int]:
        def run(text: str) -> Any:
            return self._run(backend, text)

        if len(text) <= PIECE:
            return self._taken(text, run(text), backend)
        pieces = Pieces(self._table.full if self._table is not None else backend)
        return pieces.ids(text, run, lambda piece, found: self._taken(piece, found, backend))

    def _taken(self, text: str, encoding: Any, backend: Backend) -> list[int]:
        """The ids of a text from the library's encoding of it, without those of markup."""
        ids: list[int] = encoding.ids
        if self._is_plain(ids):
            return ids
        # Merges of this vocabulary spell a special token: write that stretch letter by letter.
        safe: list[int] = []
        for id, (start, end) in zip(ids, encoding.offsets, strict=True):
            if id not in self._forbidden:
                safe.append(id)
                continue
            for letter in text[start:end]:
                letters = self._run(backend, letter).ids
                safe += [id for id in letters if id not in self._forbidden]
        return safe

    def offsets(self, text: str) -> list[int]:
        """Where the tokens of a plain text begin, in characters, in order.

        Several tokens that one character is made of begin at the same place.
        """
        return [start for start, _ in self._run(self._backend, clean_text(text)).offsets]

    @cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """The ids that the post-processor puts before and after a text."""
        if self._table is not None:
            return self._table.around
        encoding = self._run(self._backend, "x", add_special_tokens=True)
        own = encoding.special_tokens_mask
        text = [index for index, special in enumerate(own) if not special]
        if not text:
            return encoding.ids, []
        return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]

    @cached_property
    def pair_frame(self) -> PairFrame:
        """What the post-processor puts around two texts that are read together."""
        return PairFrame.of(self._run(self._backend, "x", "x", add_special_tokens=True))

    def _backend_at(self, offset: int) -> Backend:
        backend: Backend = self._backend if offset == 0 else self._continuation
        return backend

    @cached_property
    def _continuation(self) -> Backend:
        """The backend for text after a special token: no space is put before it.

        Only a Metaspace that marks the first word of a prompt tells the two apart.
        """
        from tokenizers import Tokenizer as Backend

        backend: Backend = self._backend
        state = backend.pre_tokenizer and backend.pre_tokenizer.__getstate__()
        if not state or json.loads(state).get("prepend_scheme") != "first":
            return backend
        document = json.loads(backend.to_str())
        document["pre_tokenizer"]["prepend_scheme"] = "never"
        backend = Backend.from_str(json.dumps(document))
        bound_cache(backend)
        backend.encode_special_tokens = True
        return backend

    def _find_markup(
        self, text: str, stretches: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int, int]]:
        """``(start, end, id)`` of every special token that lies wholly in a special stretch."""
        literal = "\0".join(text[start:end] for start, end in stretches)
        present = [content for content in self._markup if content in literal]
        if not present:
            return
        # the longest first: an alternation takes the first that fits
        pattern = re.compile("|".join(map(re.escape, sorted(present, key=len, reverse=True))))
        done = 0
        for first, last in stretches:
            for match in pattern.finditer(text, first, last):
                id, token = self._markup[match[0]]
                start, end = match.span()
                if start < done:
                    continue
                if token.single_word and (_is_word(text, start - 1) or _is_word(text, end)):
                    continue
                while token.lstrip and start > done and _is_space(text[start - 1]):
                    start -= 1
                while token.rstrip and end < len(text) and _is_space(text[end]):
                    end += 1
                yield start, end, id
                done = end


def _kept_backend(folder: Path) -> TableBackend | None:
    key = key_of(folder)
    table = None if key is None else read_table(folder, key)
    if table is None:
        return None

    def build() -> Any:
        if key_of(folder) != key:
            raise TokenizerError("tokenizer.json has changed since it was loaded; load it again")
        # Where an allocation fails the library ends the process.
        need = 8 * (folder / "tokenizer.json").stat().st_size
        if not can_reserve(need):
            raise InsufficientMemory(
                f"the tokenizer needs {need / 2**20:.0f} MiB for a text of this length"
            )
        return backend_of(read_document(folder))

    try:
        backend = TableBackend(table, build)
        check_patterns(backend.parts)
    except (KeyError, TypeError, ValueError):
        return None
    return backend


def _join(parts: Iterable[tuple[str, bool]]) -> tuple[str, list[tuple[int, int]]]:
    """The whole text, and the ranges of it that come from special parts, neighbours united."""
    texts: list[str] = []
    stretches: list[tuple[int, int]] = []
    offset = 0
    for text, special in parts:
        if not text:
            continue
        texts.append(text)
        end = offset + len(text)
        if special and stretches and stretches[-1][1] == offset:
            stretches[-1] = (stretches[-1][0], end)
        elif special:
            stretches.append((offset, end))
        offset = end
    return "".join(texts), stretches


def _is_space(letter: str) -> bool:
    """Whether a letter is white space to Unicode, which Python's separators of files are not."""
    return letter.isspace() and not "\x1c" <= letter <= "\x1f"


def _is_word(text: str, index: int) -> bool:
    return 0 <= index < len(text) and (text[index].isalnum() or text[index] == "_")
