"""The tokens of words that were read before, for tokenizers that read each word by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from cactus.compat import Self

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

MOST = 1 << 14
"""Words that are kept, 4 MB: as many as make up nearly all texts of a language."""

LONGEST = 64
"""Characters of a word that is kept."""

_WORD = re.compile(r"[^ \t\n\r]+")


class WordCache:
    """The ids of words, which are what stands between spaces and line ends, punctuation included.

    A text of known words takes a look at each, a tenth of the time that encoding takes; of other
    texts the unknown words are encoded, all at once. Any number of threads may use it.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[int]] = {}

    @classmethod
    def of(cls, backend: Backend) -> Self | None:
        """None where the ids of a word depend on the text around it.

        They do not in BERT's way: the normalizer looks at one character at a time, the
        pre-tokenizer splits at white space at least, and WordPiece reads what was split off. Only
        an added token, if it is no special one, could reach from one word into the next.
        """
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        added = backend.get_added_tokens_decoder().values()
        apart = (
            isinstance(backend.normalizer, BertNormalizer)
            and isinstance(backend.pre_tokenizer, BertPreTokenizer)
            and isinstance(backend.model, WordPiece)
            and backend.encode_special_tokens
            and all(token.special for token in added)
        )
        return cls() if apart else None

    def ids(self, text: str, read: Callable[[list[str]], list[list[int]]]) -> list[int]:
        """The ids of a text without lone surrogates; `read` gives those of each of some words."""
        words, known = _WORD.findall(text), self._known
        try:
            return [id for word in words for id in known[word]]
        except KeyError:
            pass
        missing = [word for word in dict.fromkeys(words) if word not in known]
        found: dict[str, list[int]] = dict(zip(missing, read(missing), strict=True))
        kept = {word: ids for word, ids in found.items() if len(word) <= LONGEST}
        if len(known) + len(kept) > MOST:
            self._known = {}  # what is in use is soon back
        self._known.update(islice(kept.items(), MOST))
        return [id for word in words for id in found.get(word) or known.get(word, [])]
