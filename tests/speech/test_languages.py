"""Languages as people write them."""

from __future__ import annotations

import pytest

from cactus.errors import InvalidRequest
from cactus.speech.languages import NAMES, code_of, unknown
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
