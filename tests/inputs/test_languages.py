"""Languages as people write them."""

from __future__ import annotations

import pytest

from cactus.errors import InvalidRequest
from cactus.inputs.languages import (
    _OTHER_NAMES,
    _OWN_NAMES,
    _TABLE,
    NAMES,
    _key,
    _pairs,
    code_of,
    unknown,
)
from cactus.speech.options import parse


def test_there_are_a_hundred() -> None:
    assert len(NAMES) == 100 and NAMES["ht"] == "Haitian Creole"
    assert all(len(code) in (2, 3) and name[0].isupper() for code, name in NAMES.items())


def test_a_name_or_a_code_in_any_case() -> None:
    given = ["de", "DE", " German ", "haitian creole", "yue", "klingon"]
    assert [code_of(each) for each in given] == ["de", "de", "de", "ht", "yue", "klingon"]
    assert parse({"language": "Welsh"}).language == "cy"
    assert parse({"language": "auto"}).language is None
    with pytest.raises(InvalidRequest, match="language"):
        parse({"language": 3})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("germn", "did you mean de (German)?"),
        ("en-us", "did you mean en (English)?"),
        ("zh_cn", "did you mean zh (Chinese)?"),
        ("eng", "did you mean en (English)"),
        ("klingon", "expected one of: af, am, ar"),
        ("", "expected one of: af"),
        (None, "language is None, expected one of"),
    ],
)
def test_a_wrong_one_names_what_is_near(wrong: str | None, message: str) -> None:
    assert message in str(unknown(wrong, NAMES))


def test_only_what_a_model_knows_is_offered() -> None:
    assert str(unknown("germn", ["en", "fr"])) == "language is 'germn', expected one of: en, fr"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("de", "de"), (" DE ", "de"), ("German", "de"), ("Deutsch", "de"), ("DEUTSCH", "de"),
        ("español", "es"), ("Espanol", "es"), ("Castilian", "es"), ("français", "fr"),
        ("Français", "fr"), ("日本語", "ja"), ("한국어", "ko"), ("русский", "ru"), ("中文", "zh"),
        ("Mandarin", "zh"), ("Türkçe", "tr"), ("turkce", "tr"), ("Tiếng Việt", "vi"),
        ("Nederlands", "nl"), ("Flemish", "nl"), ("हिन्दी", "hi"), ("العربية", "ar"),
        ("o'zbekcha", "uz"), ("jv", "jw"), ("klingon", "klingon"), ("en-US", "en-us"),
    ],
)  # fmt: skip
def test_a_language_may_be_named_as_its_speakers_do(given: str, code: str) -> None:
    assert code_of(given) == code


def test_every_language_has_its_own_name_and_no_name_has_two_languages() -> None:
    own = _pairs(_OWN_NAMES)
    assert {code for code, _ in own} == set(NAMES)
    codes: dict[str, set[str]] = {}
    for code, name in [*own, *_pairs(_OTHER_NAMES), *_pairs(_TABLE)]:
        assert code in NAMES and name == name.strip() != ""
        codes.setdefault(_key(name), set()).add(code)
        assert code_of(name) == code
    assert [name for name, of in codes.items() if len(of) > 1] == []
