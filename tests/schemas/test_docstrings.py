"""Docstrings in the three forms that are written."""

from __future__ import annotations

import pytest

from cactus.schemas.docstrings import parse_docstring

GOOGLE = """Get the weather
    of a place.

    It may be wrong.

    Args:
        location (str): A city,
            e.g. Paris: the capital.
        *days: How many.

        unit: Of temperature.

    Returns:
        The weather as text.

    Raises:
        ValueError: never
    """

NUMPY = """Get the weather
    of a place.

    It may be wrong.

    Parameters
    ----------
    location : str
        A city,
        e.g. Paris: the capital.
    days, unit : int, optional
        How many.

    Returns
    -------
    str
        The weather as text.
    """

SPHINX = """Get the weather
    of a place.

    It may be wrong.

    :param location: A city,
        e.g. Paris: the capital.
    :type location: str
    :param int days: How many.
    :returns: The weather as text.
    :raises ValueError: never
    """

DESCRIPTION = "Get the weather of a place.\nIt may be wrong."
LOCATION = "A city, e.g. Paris: the capital."


@pytest.mark.parametrize(
    ("text", "others"),
    [
        (GOOGLE, {"days": "How many.", "unit": "Of temperature."}),
        (NUMPY, {"days": "How many.", "unit": "How many."}),
        (SPHINX, {"days": "How many."}),
        (SPHINX.replace(":param", "@param"), {"days": "How many."}),
    ],
)
def test_the_forms_say_the_same(text: str, others: dict[str, str]) -> None:
    found = parse_docstring(text)
    assert found.description == DESCRIPTION
    assert found.parameters == {"location": LOCATION, **others}


@pytest.mark.parametrize("text", [None, "", "   \n  "])
def test_there_may_be_none(text: str | None) -> None:
    assert parse_docstring(text).description == "" and parse_docstring(text).parameters == {}


@pytest.mark.parametrize(
    "text",
    [
        "Note: this is a sentence.",
        "Args: are described elsewhere.",
        "Convert a time: from 12:00 to noon.",
        "Returns the time.",
    ],
)
def test_a_sentence_is_not_a_section(text: str) -> None:
    found = parse_docstring(text)
    assert found.description == text and found.parameters == {}


def test_sections_may_be_last_and_empty() -> None:
    assert parse_docstring("Do it.\n\nArgs:").parameters == {}
    assert parse_docstring("Do it.\n\nParameters\n----------\n").description == "Do it."
