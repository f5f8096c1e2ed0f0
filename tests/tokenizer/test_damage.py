"""A damaged or hostile tokenizer is an error that says so, in bounded time."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus.errors import CactusError, TokenizerError
from cactus.tokenizer import Tokenizer
from tests.tokenizer.conftest import added_token, byte_level_document, write_files

SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is missing; .*Download or convert"):
        Tokenizer.load(tmp_path)


@pytest.mark.fault("F17")
def test_an_oversized_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TokenizerError, match="1099511627776 bytes, expected at most"):
        Tokenizer.load(tmp_path)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the field at a dotted path."""

    def apply(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            document = document[name]
        document[last] = value(document[last]) if callable(value) else value

    return apply


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "merge of an absent token": change("model.merges", lambda m: [*m, "a zz"]),
    "merge into an absent token": change("model.merges", lambda m: [*m, "b a"]),
    "merge without a blank": change("model.merges", ["ab"]),
    "merges are numbers": change("model.merges", [1, 2]),
    "empty vocabulary": change("model.vocab", {}),
    "negative id": change("model.vocab", lambda v: {**v, "a": -1}),
    "huge id": change("model.vocab", lambda v: {**v, "a": 2**40}),
    "fractional id": change("model.vocab", lambda v: {**v, "a": 1.5}),
    "id as text": change("model.vocab", lambda v: {**v, "a": "1"}),
    "vocabulary is a list": change("model.vocab", ["a"]),
    "no model": change("model", None),
    "unknown model": change("model.type", "Magic"),
    "unknown pre-tokenizer": change("pre_tokenizer", {"type": "Magic"}),
    "broken regex": change("pre_tokenizer", {**SPLIT, "pattern": {"Regex": "(a"}}),
    "deep regex": change("pre_tokenizer", {**SPLIT, "pattern": {"Regex": "(" * 9999 + ")" * 9999}}),
    "added token of a wrong type": change("added_tokens", [{"id": "x"}]),
    "deep JSON": change("normalizer", json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.fault("F17")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_an_error(damage: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    document = byte_level_document(("<|end|>",))
    damage(document)
    if damage is DAMAGES["empty vocabulary"]:
        document["model"]["merges"], document["added_tokens"] = [], []
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(write_files(tmp_path, document))


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", "\x00", "[" * 100_000, '{"version": "1.0"}', "{" * 9999]
)
def test_what_is_no_tokenizer_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TokenizerError, match="is damaged"):
        Tokenizer.load(tmp_path)


@pytest.mark.fault("F18")
def test_an_id_outside_the_vocabulary_is_an_error_once_it_is_met(tmp_path: Path) -> None:
    document = byte_level_document()
    document["model"]["vocab"]["a"] = 2**31
    document["model"]["merges"] = []
    tokenizer = Tokenizer.load(write_files(tmp_path, document))
    assert tokenizer.decode(tokenizer.encode("b")) == "b"
    with pytest.raises(TokenizerError, match=r"token 'a' has id 2147483648; expected 0\.\."):
        tokenizer.encode("a")


BOMBS = {
    "nested": "(a+)+$",
    "nested with a tail": "(?:a*)*b",
    "alternatives": "(a|aa)+$",
    "lookahead": "(?=(a+)+z)",
    "quadratic": r"\s+$",
    "quadratic in letters": "a+b",
    "cubic": "a*a*a*$",
    "back reference": r"(a*)\1b",
    "words": "(ab|ab)+z",
    "very long": "a|" * 6000 + "b",
}


@pytest.mark.fault("F17")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["pre_tokenizer", "normalizer"])
@pytest.mark.parametrize("pattern", BOMBS.values(), ids=BOMBS.keys())
def test_a_slow_regular_expression_is_refused(pattern: str, where: str, tmp_path: Path) -> None:
    document = byte_level_document()
    if where == "pre_tokenizer":
        inner = {**SPLIT, "pattern": {"Regex": pattern}}
        steps = [inner, {**document["pre_tokenizer"], "use_regex": False}]
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    else:
        document["normalizer"] = {
            "type": "Replace",
            "pattern": {"Regex": pattern},
            "content": "x",
        }
    with pytest.raises(
        TokenizerError, match=f"regular expression .*of its {where}|of its {where} has 12001"
    ):
        Tokenizer.load(write_files(tmp_path, document))


@pytest.mark.parametrize(
    "pattern",
    [
        r" {2,}",
        r"\p{Han}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
        r"\s*[\r\n]|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
)
def test_a_sound_regular_expression_is_accepted(pattern: str, tmp_path: Path) -> None:
    document = byte_level_document()
    steps = [{**SPLIT, "pattern": {"Regex": pattern}}, document["pre_tokenizer"]]
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    tokenizer = Tokenizer.load(write_files(tmp_path, document))
    assert tokenizer.decode(tokenizer.encode("ab  c1234 你好!!\n")) == "ab  c1234 你好!!\n"


@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            {"generation_config": {"eos_token_id": -1}},
            r"generation_config\.json: eos_token_id is -1",
        ),
        ({"generation_config": {"eos_token_id": [2, 2**31]}}, r"expected ids in 0\.\.\d+"),
        ({"config": {"bos_token_id": 2**31}}, r"config\.json: bos_token_id is 2147483648"),
        ({"config": {"eos_token_id": "2"}}, r"config\.json: eos_token_id is '2'"),
        ({"config": {"eos_token_id": True}}, r"config\.json: eos_token_id is True"),
        ({"config": []}, r"config\.json: expected a JSON object, got list"),
        ({"tokenizer_config": {"eos_token": 5}}, r"tokenizer_config\.json: eos_token is 5"),
        ({"tokenizer_config": {"eos_token": "gone"}}, r"eos_token 'gone' is not in the vocabulary"),
        ({"tokenizer_config": {"eos_token_id": 999}}, r"tokenizer_config\.json: eos_token_id"),
    ],
)
def test_special_ids_out_of_range(files: dict[str, Any], error: str, tmp_path: Path) -> None:
    write_files(tmp_path, byte_level_document(("<|end|>",)), **files)
    with pytest.raises(TokenizerError, match=error):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000, "null", '"x"'])
def test_a_broken_configuration_is_named(text: str, tmp_path: Path) -> None:
    write_files(tmp_path, byte_level_document())
    (tmp_path / "tokenizer_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: (not valid|JSON|expected)"):
        Tokenizer.load(tmp_path)


def test_a_saved_truncation_or_padding_is_ignored(tmp_path: Path) -> None:
    document = byte_level_document()
    document["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    document["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    tokenizer = Tokenizer.load(write_files(tmp_path, document))
    assert tokenizer.decode(tokenizer.encode("hello world")) == "hello world"


@pytest.mark.fault("F17")
def test_overlapping_and_repeated_added_tokens_load(tmp_path: Path) -> None:
    document = byte_level_document()
    count = len(document["model"]["vocab"])
    document["added_tokens"] = [
        added_token(count, "<x>"),
        added_token(count + 1, "<x>y"),
        added_token(count, "<x>"),
        added_token(count + 2, ""),
    ]
    tokenizer = Tokenizer.load(write_files(tmp_path, document))
    assert tokenizer.encode_prompt([("<x>y", True), ("<x>y", False)])[0] == count + 1
    assert count not in tokenizer.encode("<x>y")


@pytest.mark.fault("F17")
def test_random_damage_never_does_worse_than_an_error(tmp_path: Path) -> None:
    """A few hundred mutations of the document; what loads must encode or refuse."""
    rng = random.Random(7)
    document = byte_level_document(("<|end|>", "<|x|>"))
    text = "Hello abcd <|end|> 你好 \n\n 123 " * 20
    loaded = refused = 0
    for _ in range(200):
        damaged = copy.deepcopy(document)
        for _ in range(rng.randint(1, 3)):
            mutate(damaged, rng)
        try:
            tokenizer = Tokenizer.load(write_files(tmp_path, damaged))
            ids = tokenizer.encode(text)
            tokenizer.decode(ids)
            tokenizer.encode_prompt([(text, True), (text, False)])
            assert tokenizer._forbidden.isdisjoint(ids)
            loaded += 1
        except CactusError:
            refused += 1
    assert loaded > 10
    assert refused > 10


def mutate(document: Any, rng: random.Random) -> None:
    """Replace, drop or copy a value at a random place."""
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        choice = rng.randrange(3)
        if choice == 0:
            place[key] = rng.choice([None, -1, 0, 2**31, 2**63, "", "a b", [], {}, True, 1.5])
        elif choice == 1:
            del place[key]
        else:
            place[key] = copy.deepcopy(place[rng.choice(keys)])
        return


@pytest.mark.fault("F17")
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize(
    "table", [b"", b"\0\0\0", bytes(8), b"\5\0\0\0" + bytes(4), b"\xff\xff\xff\x7f" + bytes(64)]
)
def test_a_table_of_letters_that_says_it_is_longer_is_refused(
    table: bytes, escaped: bool, tmp_path: Path
) -> None:
    """The library would take as much memory as the first four bytes say: up to 8 GB."""
    document = byte_level_document()
    letters = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, letters]}
    write_files(tmp_path, document)
    if escaped:
        path = tmp_path / "tokenizer.json"
        path.write_text(path.read_text().replace("precompiled_", r"\u0070recompiled\u005f"))
    with pytest.raises(TokenizerError, match=r"precompiled_charsmap has .* its index"):
        Tokenizer.load(tmp_path)
