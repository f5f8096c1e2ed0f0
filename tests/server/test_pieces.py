"""Which tokens belong to which text, where some of it is held back or never comes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cactus.server.pieces import Piece, Reader
from cactus.types import StreamEvent, TokenLogprob, ToolCallDelta

Said = tuple[bytes, str]
"""A token, and the text that can be shown by then."""


def token(data: bytes) -> TokenLogprob:
    return TokenLogprob(len(data), data.decode("utf-8", "replace"), data, -0.5)


def event(data: bytes, text: str) -> StreamEvent:
    return StreamEvent(text, len(data), logprob=token(data))


def told(reader: Reader, said: Sequence[Said]) -> list[list[bytes]]:
    """The tokens of each piece, and those that come at the end."""
    found = [piece.tokens for each in said for piece in reader.read(event(*each))]
    return [[each.bytes for each in tokens] for tokens in [*found, reader.rest()]]


@pytest.mark.parametrize(
    ("said", "want"),
    [
        # Each with its text.
        ([(b"a", "a"), (b" b", " b")], [[b"a"], [b" b"], []]),
        # What could begin a stop string, and proves to be none.
        ([(b"a", "a"), (b"E", ""), (b"x", "Ex")], [[b"a"], [b"E", b"x"], []]),
        # A stop string, token by token.
        ([(b"a", "a"), (b"E", ""), (b"N", ""), (b"D", "")], [[b"a"], []]),
        # It begins and ends within tokens.
        ([(b"a", "a"), (b"b.E", "b."), (b"ND.", "")], [[b"a"], [], [b"b."]]),
        # It comes at once.
        ([(b"a END b", "a ")], [[], [b"a "]]),
        # The token before it could have begun it, and has been shown since.
        ([(b"E", ""), (b"E", "E"), (b"ND", "")], [[b"E"], []]),
        # Half a character is held back, too.
        ([(b"\xe2\x82", ""), (b"\xac", "€")], [[b"\xe2\x82", b"\xac"], []]),
        ([(b"\xe2\x82", ""), (b"\xacEN", "€"), (b"D", "")], [[b"\xe2\x82"], [b"\xac"]]),
        # Bytes that are no text, and a blank that is shown with nothing before it.
        ([(b"\xff", "�"), (b"a", "a")], [[b"\xff"], [b"a"], []]),
        ([(b"\xef", ""), (b"aE", "�a"), (b"ND", "")], [[b"\xef"], [b"a"]]),
        ([(b" a", "a"), (b"b", "b")], [[b" a"], [b"b"], []]),
        # A token that is never shown.
        ([(b"a", "a"), (b"<s>", ""), (b"b", "b")], [[b"a"], [b"<s>", b"b"], []]),
    ],
)
def test_tokens_are_told_when_their_text_is_shown(
    said: Sequence[Said], want: list[list[bytes]]
) -> None:
    assert told(Reader(0, live=False), said) == want


def test_the_part_that_is_shown_keeps_what_is_known_of_its_token() -> None:
    reader = Reader(0, live=False)
    list(reader.read(event(b"b.END", "b.")))
    (part,) = reader.rest()
    assert (part.text, part.bytes, part.logprob) == ("b.", b"b.", -0.5)
    assert part.token_id == token(b"b.END").token_id and reader.rest() == ()


def test_reasoning_and_its_end_are_no_content() -> None:
    reader = Reader(0, live=False)
    list(reader.read(StreamEvent("Hm", 1, "reasoning", logprob=token(b"Hm"))))
    assert told(reader, [(b"</think>", ""), (b"\n\n", ""), (b"E", ""), (b"x", "Ex")]) == [
        [b"E", b"x"],
        [],
    ]


@pytest.mark.parametrize("live", [False, True])
def test_a_call_ends_the_content(live: bool) -> None:
    reader = Reader(0, live=live)
    pieces: list[Piece] = list(reader.read(event(b".<", ".")))
    pieces += reader.read(event(b"tool>", ""))
    for text, call in (("{", None), ("}", {"name": "f", "arguments": {}})):
        delta = ToolCallDelta(0, "id", "f", text, call)
        pieces += reader.read(StreamEvent("", 3, "tool_call", token(b"x"), delta))
    kinds = ["text", "call", *["arguments"] * (1 + live)]
    assert [piece.kind for piece in pieces] == kinds
    assert [[each.bytes for each in piece.tokens] for piece in pieces[:2]] == [[], [b"."]]
    assert not any(piece.tokens for piece in pieces[2:]) and reader.rest() == ()
