"""A tokenizer that is read from the tables in its folder does what the library's does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.errors import InsufficientMemory, TokenizerError
from cactus.tokenizer import Tokenizer, table

from .conftest import byte_level_document

TEXTS = [
    "",
    "Hello, world! It's 3 o'clock.",
    "  two  spaces\t\ttabs\r\n\n\nlines   ",
    "def f(x):\n        return x ** 2  # ok\n",
    "Ünïcödé é e\u0301 漢字かな \u00a0 🙂👩\u200d👩\u200d👧",
    "a\x00b\x7f\ufffd",
    "x" * 300,
    "<|im_start|>system\n<|im_end|></s><|endoftext|>",
    "1234567890 0.5e-7 ___ http://a.b/c?d=e&f=%20",
]


@pytest.fixture(scope="module")
def kept(starter_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter's files, and its tables beside them."""
    folder = tmp_path_factory.mktemp("kept") / "starter"
    shutil.copytree(starter_files, folder)
    Tokenizer.load(folder, kept=True)
    assert (folder / table.NAME).exists()
    return folder


def is_light(tokenizer: Tokenizer) -> bool:
    """Whether it works without the library's tables."""
    return "full" not in vars(tokenizer._backend)


@pytest.fixture(scope="module")
def light(kept: Path) -> Tokenizer:
    return Tokenizer.load(kept, kept=True)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_have_the_same_tokens(light: Tokenizer, starter: Tokenizer, text: str) -> None:
    for special in (False, True):
        assert light.encode(text, special) == starter.encode(text, special)
    parts = [("<|im_start|>user\n", True), (text, False), ("<|im_end|>\n", True)]
    assert light.encode_prompt(parts) == starter.encode_prompt(parts)
    ids = starter.encode(text)
    assert light.decode(ids) == starter.decode(ids)


@given(text=st.text(max_size=60))
def test_any_text_has_the_same_tokens(light: Tokenizer, starter: Tokenizer, text: str) -> None:
    assert light.encode(text) == starter.encode(text)


def test_all_else_is_the_same(light: Tokenizer, starter: Tokenizer) -> None:
    names = ("vocab_size", "bos_id", "eos_ids", "pad_id", "special_ids", "special_tokens", "around")
    for name in names:
        assert getattr(light, name) == getattr(starter, name)
    assert light.markup == starter.markup
    for id in range(0, starter.vocab_size + 5, 7):
        assert light.id_to_token(id) == starter.id_to_token(id)
        assert light.token_bytes_of(id) == starter.token_bytes_of(id)
    for token in ("Ġthe", "<|im_end|>", "no such token", ""):
        assert light.token_to_id(token) == starter.token_to_id(token)


def test_ordinary_prompts_do_not_build_the_library_s_tables(kept: Path) -> None:
    tokenizer = Tokenizer.load(kept, kept=True)
    tokenizer.encode_prompt([("<|im_start|>user\n", True), ("What is this?" * 50, False)])
    tokenizer.encode("Hi", special=True)
    tokenizer.decode([1, 2, 300])
    assert is_light(tokenizer)


def test_a_long_text_does(kept: Path, starter: Tokenizer) -> None:
    tokenizer = Tokenizer.load(kept, kept=True)
    text = "<|im_end|> lorem ipsum " * 2000
    assert tokenizer.encode(text) == starter.encode(text)
    assert not is_light(tokenizer)
    assert tokenizer.encode(TEXTS[1]) == starter.encode(TEXTS[1])  # which it has from now on
    assert tokenizer.offsets(TEXTS[1]) == starter.offsets(TEXTS[1])


def test_a_damaged_table_is_made_again(kept: Path, starter: Tokenizer) -> None:
    path = kept / table.NAME
    whole = path.read_bytes()
    for damaged in (b"", whole[:1000], whole[:5000] + b"\x55" + whole[5001:]):
        path.write_bytes(damaged)
        assert Tokenizer.load(kept, kept=True).encode(TEXTS[1]) == starter.encode(TEXTS[1])
        assert path.read_bytes() == whole


def small(folder: Path, document: dict[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    """A tokenizer of the library and one of its tables, if it has any."""
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return Tokenizer.load(folder, kept=True), Tokenizer.load(folder, kept=True)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LEAST", 0)


@pytest.mark.usefixtures("any_size")
def test_another_document_does_not_have_the_old_one_s_tables(tmp_path: Path) -> None:
    small(tmp_path, byte_level_document())
    document = byte_level_document(merges=("b c", "a bc"))
    library, tables = small(tmp_path, document)
    assert (
        tables.encode("abcabc d")
        == library.encode("abcabc d")
        == Tokenizer.load(tmp_path).encode("abcabc d")
    )


@pytest.mark.usefixtures("any_size")
def test_a_document_that_changes_while_its_tables_are_used_is_an_error(tmp_path: Path) -> None:
    _, tables = small(tmp_path, byte_level_document())
    (tmp_path / "tokenizer.json").write_text(json.dumps(byte_level_document(merges=("b c",))))
    assert tables.encode("abc")
    with pytest.raises(TokenizerError, match="has changed"):
        tables.offsets("abc")


@pytest.mark.usefixtures("any_size")
def test_a_long_text_without_memory_for_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tables = small(tmp_path, byte_level_document())
    monkeypatch.setattr("cactus.tokenizer.tokenizer.can_reserve", lambda size: False)
    with pytest.raises(InsufficientMemory, match="the tokenizer needs"):
        tables.encode("ab " * 20_000)
    assert tables.encode("ab ab")


@pytest.mark.usefixtures("any_size")
def test_a_folder_that_cannot_be_written_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    small(tmp_path, byte_level_document())
    assert not (tmp_path / table.NAME).exists()


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("whole", [False, True])
def test_words_that_are_tokens_are_merged_as_the_library_does(tmp_path: Path, whole: bool) -> None:
    document = byte_level_document(merges=("a b", "c d", "ab cd", "b c", "a a", "aa a"))
    document["model"]["ignore_merges"] = whole
    document["model"]["vocab"]["dcba"] = len(document["model"]["vocab"])
    document["normalizer"] = {"type": "NFC"}
    library, tables = small(tmp_path, document)
    for text in ("abcd abcd", "dcba dcb", "aaaaaaa aaaa", "bcbcab", "e\u0301 é"):
        assert tables.encode(text) == library.encode(text)
    assert is_light(tables) is True


@pytest.mark.usefixtures("any_size")
def test_added_tokens_in_a_text_are_found(tmp_path: Path) -> None:
    document = byte_level_document(extra=("   ", "[NAME]"))
    for token in document["added_tokens"]:
        token["special"] = False
    library, tables = small(tmp_path, document)
    for text in ("ab   cd", "ab cd", "my [NAME] ab"):
        assert tables.encode(text) == library.encode(text)


@pytest.mark.usefixtures("any_size")
def test_what_tables_cannot_do_has_none(tmp_path: Path) -> None:
    document = byte_level_document()
    document["model"]["byte_fallback"] = True
    small(tmp_path, document)
    assert not (tmp_path / table.NAME).exists()
