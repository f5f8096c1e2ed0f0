"""Reading a ``tokenizer.json``, with the checks that the ``tokenizers`` library does not make.

Its pre-tokenizers, normalizers and decoders may carry regular expressions of the model's choosing,
which run on a backtracking engine: a hostile one makes a short text take hours. Every expression
that is not a known one is therefore timed on short repetitive texts of growing length.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.errors import ModelFormatError, TokenizerError
from cactus.inputs.checks import short
from cactus.inputs.files import find_bytes
from cactus.inputs.text import one_line
from cactus.tokenizer.gguf import CONTRACTIONS, PRE_TOKENIZERS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENIZER_BYTES = 128 << 20  # the largest in use (262k tokens) has 33 MB
MOST_CACHED = 1000
_MAX_PATTERN = 10_000
_LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
# A fast processor needs 0.6 ms for the longest probe if the expression is linear, 6 ms if it makes
# a piece of every character, and 80 ms and more if it is quadratic.
_PROBE_SECONDS = 0.02
_SECONDS_PER_CHARACTER = 5e-6
_PROBES = [*"aA1 \n\t!'_é你\u0301", "ab", "aA", "a ", "1a", " \n", "'s", "<|"]

# Where a document may have a table of letters; nobody writes ASCII letters as escapes but to hide.
_LETTERS = re.compile(rb"precompiled_charsmap|\\u00[5-7]")

# Every printable letter once, apart: an engine gives up early on a text without the letters that
# an expression cannot do without.
_TAIL = "\u2603".join(["", *map(chr, range(0x21, 0x7F)), ""])

_KNOWN = {pattern for pre in PRE_TOKENIZERS.values() for pattern in pre.patterns or ()}
# The same expressions as Hugging Face spells them.
_KNOWN |= {p.replace(CONTRACTIONS, "(?i:'s|'t|'re|'ve|'m|'ll|'d)") for p in _KNOWN}


def read_backend(folder: Path) -> Tokenizer:
    """The library's tokenizer of the ``tokenizer.json`` in ``folder``; nothing else loads one.

    Raises TokenizerError if the file is missing, damaged, or too slow to be used on text.
    """
    return backend_of(read_document(folder))


def read_document(folder: Path) -> bytes:
    """The bytes of the ``tokenizer.json`` in ``folder``. Raises TokenizerError."""
    path = folder / "tokenizer.json"
    try:
        data = find_bytes(path, MAX_TOKENIZER_BYTES)
    except ModelFormatError as error:
        raise TokenizerError(str(error).replace(str(path), path.name)) from None
    if data is None:
        raise TokenizerError(
            "tokenizer.json is missing; the model cannot read text without it. "
            "Download or convert the model again."
        )
    return data


def backend_of(document: bytes) -> Tokenizer:
    """The library's tokenizer of a ``tokenizer.json``. Raises TokenizerError."""
    from tokenizers import Tokenizer

    try:
        if _LETTERS.search(document):
            check_letters(json.loads(document))
        # Bytes, not a path: the library wants UTF-8 paths, whatever the locale says.
        backend = Tokenizer.from_buffer(document)
        # A tokenizer may be saved with these on; they would cut or lengthen prompts silently.
        backend.no_truncation()
        backend.no_padding()
        bound_cache(backend)
        check_patterns(backend)
    except TokenizerError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            raise TokenizerError(f"tokenizer.json is damaged: {one_line(str(error))}") from None
        raise
    return backend


def check_letters(part: Any) -> None:
    """Refuse a table of letters (SentencePiece's) that is shorter than it says.

    The library takes memory for what it says, and ends the process where there is not so much.
    Raises TokenizerError; `part` is a document or what is in one.
    """
    if isinstance(part, list):
        for each in part:
            check_letters(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "precompiled_charsmap" and isinstance(value, str):
                data = base64.b64decode(value, validate=True)
                size = int.from_bytes(data[:4], "little")
                if not 4 <= size <= len(data) - 4:
                    raise TokenizerError(
                        f"tokenizer.json: precompiled_charsmap has {len(data)} bytes, and says "
                        f"that {size} of them are its index"
                    )
            check_letters(value)


def bound_cache(tokenizer: Tokenizer) -> None:
    """Have the library remember fewer words than it would, and none where it never forgets them.

    What BPE has merged it keeps for each thread that encodes until that thread ends, not until the
    tokenizer does: half a megabyte for each time that a model is loaded. Without that a long text
    takes 3 to 8 % longer, some 0.2 microseconds a token.
    """
    from tokenizers.models import BPE

    resize = getattr(tokenizer.model, "_resize_cache", None)  # WordPiece keeps none
    if resize is not None:
        resize(0 if isinstance(tokenizer.model, BPE) else MOST_CACHED)


def check_patterns(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer whose regular expressions are too slow to be run on text.

    Raises TokenizerError naming the expression. Takes at most about a second for a hostile
    expression, some 10 ms for a sound one that is not known, and nothing for a known one.
    """
    for where in ("normalizer", "pre_tokenizer", "decoder"):
        component = getattr(tokenizer, where)
        if component is None:
            continue
        for pattern in _expressions(json.loads(component.__getstate__())):
            if pattern not in _KNOWN:
                _probe(where, pattern)


def _expressions(component: Any) -> Iterator[str]:
    """All regular expressions of a component, however deep in its JSON they lie."""
    if isinstance(component, dict):
        for key, value in component.items():
            if key == "Regex" and isinstance(value, str):
                yield value
            else:
                yield from _expressions(value)
    elif isinstance(component, list):
        for value in component:
            yield from _expressions(value)


def _probe(where: str, pattern: str) -> None:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    if len(pattern) > _MAX_PATTERN:
        raise TokenizerError(
            f"tokenizer.json: a regular expression of its {where} has {len(pattern)} characters; "
            f"at most {_MAX_PATTERN} are accepted"
        )
    split = Split(Regex(pattern), "isolated")
    for unit in _PROBES:
        for length in _LENGTHS:
            text = unit * (length // len(unit)) + _TAIL
            limit = max(_PROBE_SECONDS, length * _SECONDS_PER_CHARACTER)
            if _seconds(split, text) > limit and _seconds(split, text) > limit:
                raise TokenizerError(
                    f"tokenizer.json: the regular expression {short(pattern, 160)} of its {where} "
                    f"is too slow: over {limit:.2f} s for {length} characters"
                )


def _seconds(split: Any, text: str) -> float:
    """Processor time of one run; infinite if the engine gives up."""
    # Of this thread alone: on a busy machine a sound expression may have to wait for its turn.
    start = time.thread_time()
    try:
        split.pre_tokenize_str(text)
    except BaseException as error:
        if not is_panic(error):
            raise
        return float("inf")
    return time.thread_time() - start


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a panic of the Rust library, which is not an ``Exception``."""
    return type(error).__name__ == "PanicException"
