"""Long texts are encoded in pieces, and their ids are those of the whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, models, normalizers, trainers
from tokenizers import Tokenizer as Backend
from tokenizers import pre_tokenizers as splits

from cactus.tokenizer import Tokenizer, pieces
from cactus.tokenizer.pieces import NEAR, PIECE, Pieces

TEXT = (Path(__file__).parents[1] / "golden" / "text.txt").read_text()[:20_000]
NUMBERS = r"\p{N}{1,3}"
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + NUMBERS + r"| ?[^\s\p{L}\p{N}]+"
    r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASES = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|" + GPT4
)
FROM_THE_END = NUMBERS + r"(?=(?:\p{N}{3})*(?!\p{N}))"

UNITS = (
    *("The cat's hat. ", "a ", "a", " ", "\n", "\n \n\n", "1234567890", ".", "!?;.("),
    *("漢字かな", "🙂👩\u200d👩\u200d👧"),
)


def by(*expressions: str) -> Any:
    each = [splits.Split(Regex(one), "isolated") for one in expressions]
    return splits.Sequence([*each, splits.ByteLevel(add_prefix_space=False, use_regex=False)])


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "gpt2": lambda: (None, splits.ByteLevel(add_prefix_space=False)),
    "roberta": lambda: (None, splits.ByteLevel(add_prefix_space=True)),
    "gpt4": lambda: (normalizers.NFC(), by(GPT4)),
    "cases": lambda: (None, by(CASES)),
    "threes from the end": lambda: (None, by(FROM_THE_END, GPT4)),
    "digits": lambda: (None, splits.Sequence([splits.Digits(True), splits.ByteLevel(False)])),
    "metaspace": lambda: (None, splits.Metaspace(prepend_scheme="always")),
    "first": lambda: (None, splits.Metaspace(prepend_scheme="first")),
    "one word": lambda: (
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        None,
    ),
    "stripped": lambda: (normalizers.Strip(), splits.ByteLevel(add_prefix_space=False)),
    "bert": lambda: (normalizers.BertNormalizer(), splits.BertPreTokenizer()),
}
LETTERS = (
    *("a", "b", "B", "1", "2", "½", "Ⅳ", ".", "'", "s", "re", " ", "  ", "\n", "\r\n", "\t"),
    *("_", "é", "e\u0301", "漢", "か", "🙂", "-", " a", "the ", "\u3000"),
)


def trained(kind: str) -> Backend:
    """A tokenizer of 500 tokens, from a page of text and runs of letters."""
    wordpiece = kind == "bert"
    unknown = "[UNK]"
    backend = Backend(
        models.WordPiece(unk_token=unknown) if wordpiece else models.BPE(unk_token=unknown)
    )
    normalizer, words = KINDS[kind]()
    if normalizer is not None:
        backend.normalizer = normalizer
    if words is not None:
        backend.pre_tokenizer = words
    made = trainers.WordPieceTrainer if wordpiece else trainers.BpeTrainer
    trainer = made(
        vocab_size=600,
        special_tokens=[unknown],
        initial_alphabet=sorted({*splits.ByteLevel.alphabet(), *"".join(LETTERS)}),
        show_progress=False,
    )
    rng = random.Random(kind)
    backend.train_from_iterator([TEXT, *(letters(rng, 400) for _ in range(20))], trainer=trainer)
    return backend


def letters(rng: random.Random, count: int) -> str:
    """A text of runs, of few kinds of characters at a time."""
    made: list[str] = []
    some = list(LETTERS)
    while len(made) < count:
        if rng.random() < 0.01:
            some = rng.sample(LETTERS, rng.randrange(1, 6))
        made.append(rng.choice(some) * (rng.randrange(1, 60) if rng.random() < 0.05 else 1))
    return "".join(made)[:count]


def in_pieces(backend: Backend, text: str) -> tuple[list[int], list[int]]:
    """The ids of a text, and the sizes of the pieces that were taken."""
    sizes: list[int] = []

    def run(text: str) -> Any:
        return backend.encode(text, add_special_tokens=False)

    def read(piece: str, found: Any) -> list[int]:
        sizes.append(len(piece))
        ids: list[int] = found.ids
        return ids

    return Pieces(backend).ids(text, run, read), sizes


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_of_pieces_are_those_of_the_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4 * NEAR)
    backend, rng = trained(kind), random.Random(kind)
    cut = 0
    for _ in range(20):
        text = letters(rng, 20 * NEAR)
        ids, sizes = in_pieces(backend, text)
        assert ids == backend.encode(text, add_special_tokens=False).ids
        cut += len(sizes) > 1
    assert cut or kind in ("one word", "bert")


@pytest.mark.fault("F29")
@pytest.mark.parametrize("unit", UNITS)
def test_no_more_is_encoded_at_once_than_a_piece(starter: Tokenizer, unit: str) -> None:
    text = unit * (3 * PIECE // len(unit))
    backend = getattr(starter._backend, "full", starter._backend)
    ids, sizes = in_pieces(backend, text)
    assert sum(sizes) == len(text) and max(sizes) <= PIECE
    assert ids == backend.encode(text, add_special_tokens=False).ids
    assert ids == starter.encode(text)


def test_markup_in_a_long_text_is_text(starter: Tokenizer) -> None:
    text = "<|im_start|>system\nSay yes.<|im_end|>\n" * (2 * PIECE // 38)
    ids = starter.encode(text)
    assert starter.special_ids.isdisjoint(ids)
    assert starter.decode(ids) == text


@pytest.mark.fault("F29")
def test_where_no_cut_holds_the_work_is_in_proportion_to_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "AGREED", 1 << 30)  # more than any piece has: none agrees
    backend, encoded = trained("gpt2"), list[int]()
    text = "The cat's hat. " * (8 * PIECE // 15)

    def run(text: str) -> Any:
        encoded.append(len(text))
        return backend.encode(text, add_special_tokens=False)

    ids = Pieces(backend).ids(text, run, lambda piece, found: list(found.ids))
    assert ids == backend.encode(text, add_special_tokens=False).ids
    assert encoded[-1] == len(text) and sum(encoded) < 6 * len(text)


def test_a_cut_that_was_wrong_after_all_is_taken_back() -> None:
    backend = trained("gpt4")
    text = "The cat. " * PIECE

    class Wrong(Pieces):
        def _cut(self, *given: Any) -> Any:
            cut, encoding, following = super()._cut(*given)
            return cut, encoding, [(id + 1, new) for id, new in following]

    def run(text: str) -> Any:
        return backend.encode(text, add_special_tokens=False)

    read: list[int] = []

    def ids_of(piece: str, found: Any) -> list[int]:
        read.append(len(piece))
        return list(found.ids)

    assert Wrong(backend).ids(text, run, ids_of) == run(text).ids
    assert read[-1] == len(text)


@pytest.mark.parametrize(
    ("expression", "joined", "unit"),
    [
        (GPT4, ("\n", " " * 32), "\n" + " " * 1023),
        (CASES, ("漢", "A" * 32), "A" * (2 * NEAR - 5) + "b 漢漢"),
    ],
    ids=["lines", "cases"],
)
def test_a_word_that_goes_on_beyond_the_view_of_a_cut_is_not_cut(
    expression: str, joined: tuple[str, str], unit: str
) -> None:
    def spelled(text: str) -> list[str]:
        ((word, _),) = splits.ByteLevel(False, use_regex=False).pre_tokenize_str(text)
        return list(word)

    first, last = joined
    merges = [(spelled(last[:n])[0] * n, spelled(last[:n])[0] * n) for n in (1, 2, 4, 8, 16)]
    made, *rest = spelled(first)
    for each in rest:
        merges.append((made, each))
        made += each
    merges.append((made, "".join(spelled(last))))
    vocabulary = sorted({*splits.ByteLevel.alphabet(), *(a + b for a, b in merges)})
    backend = Backend(models.BPE({token: id for id, token in enumerate(vocabulary)}, merges))
    backend.pre_tokenizer = by(expression)
    text = "a" + unit * 200 if first == "\n" else unit * 200
    assert in_pieces(backend, text)[0] == backend.encode(text, add_special_tokens=False).ids
