"""Words whose tokens are kept: the same ids as without, for any text, in bounded memory."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cactus.inputs.text import clean_text
from cactus.tokenizer import Tokenizer, word_cache

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "zz"]
LETTERS = "abcdefghéåσς世界กำ한🌵!#[]'-ǅ" + "".join(map(chr, range(0x300, 0x308)))
ODD = "ÉÅΣİẞAZ \t\n\r\0\x01\x0b\x0c\x1c\x1f\x7f\x85\xa0\u2003\u2028\u200b\u200d\ufeff\ufffd"


def tokenizer(folder: Path, *added: Any, lowercase: bool = True) -> Tokenizer:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers, pre_tokenizers

    single = [*dict.fromkeys(LETTERS.lower() + "ez")]
    tokens = [*PIECES, *single, *(f"##{letter}" for letter in single), "abc", "##de"]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(PIECES[:4])
    for token in added:
        backend.add_tokens([token])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    kinds = ("abcd ", LETTERS, LETTERS + 5 * " ", LETTERS + ODD, ODD + "ab[]CLSUNK", "zab ")
    made = ["".join(draw.choices(draw.choice(kinds), k=draw.randrange(40))) for _ in range(count)]
    wide = [[draw.randrange(0x3000) for _ in range(30)] for _ in range(count // 4)]
    return ["", " ", "\ud800", "a\udc00b", "x" * 150, *made, *("".join(map(chr, w)) for w in wide)]


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_ids_are_those_of_the_whole_text(lowercase: bool, tmp_path: Path) -> None:
    with_cache = tokenizer(tmp_path, lowercase=lowercase)
    assert with_cache._words is not None
    for text in texts(1, 2000):
        want = with_cache._encoded(clean_text(text), with_cache._backend)
        assert with_cache.encode(text) == want, repr(text)
        assert with_cache.encode(text) == want, repr(text)


def test_known_words_are_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tokenizer(tmp_path)
    seen: list[str] = []
    run = words._run

    def counted(backend: Any, text: str, *rest: Any, **options: Any) -> Any:
        seen.append(text)
        return run(backend, text, *rest, **options)

    monkeypatch.setattr(words, "_run", counted)
    first = words.encode("abc, de abc\nab")
    assert words.encode("ab de  abc, abc") and words.encode("abc, de abc\nab") == first
    assert seen == ["abc, de abc ab"]
    long = "a" * (word_cache.LONGEST + 1)
    assert words.encode(f"ab {long}") == words.encode(f"ab {long}")
    assert seen[1:] == [long, long]


def test_it_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MOST", 50)
    words = tokenizer(tmp_path)
    assert words._words is not None
    for text in texts(2, 300):
        assert words.encode(text) == words._encoded(clean_text(text), words._backend)
        assert len(words._words._known) <= 50
    many = " ".join("a" * n for n in range(1, 60))
    assert words.encode(many) == words._encoded(many, words._backend)
    assert len(words._words._known) == 50


@pytest.mark.fault("F25")
def test_a_word_cannot_spell_a_special_token(tmp_path: Path) -> None:
    from tokenizers import AddedToken

    words = tokenizer(tmp_path, AddedToken("zz", special=True))
    assert words._words is not None
    zz, z, after = (words.token_to_id(token) for token in ("zz", "z", "##z"))
    assert zz in words.special_ids
    ids = words.encode("abc zz abc zz")
    assert zz not in ids and ids == words.encode("abc zz abc zz")
    assert ids == words._encoded("abc zz abc zz", words._backend)
    assert z in ids or after in ids


def test_tokens_across_words_are_found(tmp_path: Path) -> None:
    words = tokenizer(tmp_path, "ab cd")
    assert words._words is None
    assert words.token_to_id("ab cd") in words.encode("x ab cd x")


def test_only_tokenizers_of_words_have_it(tmp_path: Path) -> None:
    tokenizer(tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    document["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    assert Tokenizer.load(tmp_path)._words is None


def test_threads_may_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MOST", 40)
    words = tokenizer(tmp_path)
    given = texts(3, 200)
    expected = [words._encoded(clean_text(text), words._backend) for text in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(words.encode, given)) == expected
