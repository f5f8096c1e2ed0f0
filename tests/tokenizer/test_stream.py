"""Streams give whole characters, and together exactly what decoding at once gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.tokenizer import Tokenizer

TEXTS = [
    "Hello world, how are you?",
    "naïve café Zürich Ελλάδα Привет",
    "你好，世界。日本語のテスト 한국어 العربية עברית हिन्दी",
    "😀👩‍👩‍👧‍👦🇫🇷👍🏽 emoji",
    "e\u0301\u0327 combining",
    " leading, trailing ",
    "def f():\n    return '\\n'\n",
    "\0\x01\u202e\u200b",
]


def streamed(tokenizer: Tokenizer, ids: list[int], skip_special: bool = True) -> list[str]:
    stream = tokenizer.stream(skip_special)
    return [*map(stream.push, ids), stream.flush()]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_text_are_whole_characters(
    starter: Tokenizer, sentencepiece: Tokenizer, text: str
) -> None:
    for tokenizer in (starter, sentencepiece):
        pieces = streamed(tokenizer, tokenizer.encode(text))
        assert "".join(pieces) == text
        assert pieces[-1] == ""  # nothing is held back longer than needed
        assert not any("\ufffd" in piece for piece in pieces)


def test_text_comes_as_soon_as_its_characters_are_whole(starter: Tokenizer) -> None:
    ids = starter.encode("a😀b")
    pieces = streamed(starter, ids)
    assert pieces[0] == "a"
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 49_160), max_size=40), st.booleans())
def test_any_ids_stream_as_they_decode(
    starter: Tokenizer, ids: list[int], skip_special: bool
) -> None:
    pieces = streamed(starter, ids, skip_special)
    assert "".join(pieces) == starter.decode(ids, skip_special)
    # the library's own decoder, which sees all ids at once
    assert "".join(pieces) == starter._backend.decode(ids, skip_special_tokens=skip_special)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 1500) | st.integers(3, 258), max_size=40), st.booleans())
def test_any_sentencepiece_ids_stream_as_they_decode(
    sentencepiece: Tokenizer, ids: list[int], skip_special: bool
) -> None:
    assert "".join(streamed(sentencepiece, ids, skip_special)) == sentencepiece.decode(
        ids, skip_special
    )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_sentencepiece_text_is_what_the_library_decodes(
    sentencepiece: Tokenizer, text: str
) -> None:
    ids = sentencepiece.encode(text)
    assert sentencepiece.decode(ids) == sentencepiece._backend.decode(ids)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10), max_size=12), st.booleans())
def test_word_pieces_come_at_the_end(words: Tokenizer, ids: list[int], skip_special: bool) -> None:
    pieces = streamed(words, ids, skip_special)
    assert "".join(pieces) == words.decode(ids, skip_special)
    assert not any(pieces[:-1])


def test_an_incomplete_character_is_flushed_as_one_replacement(starter: Tokenizer) -> None:
    ids = starter.encode("😀")[:-1]
    assert streamed(starter, ids)[-1] == "\ufffd"
    assert starter.decode(ids) == "\ufffd"


def test_a_stream_starts_afresh_after_flush(sentencepiece: Tokenizer) -> None:
    stream = sentencepiece.stream()
    ids = sentencepiece.encode("hello you")
    first = "".join([*map(stream.push, ids), stream.flush()])
    second = "".join([*map(stream.push, ids), stream.flush()])
    assert first == second == "hello you"


def test_special_tokens_are_left_out_unless_asked_for(starter: Tokenizer) -> None:
    ids = [1, 19556, 2]
    assert streamed(starter, ids) == ["", "Hello", "", ""]
    assert streamed(starter, ids, False) == ["<|im_start|>", "Hello", "<|im_end|>", ""]


def test_special_tokens_that_are_to_be_shown_are_spelled(starter: Tokenizer) -> None:
    start, end = (starter.token_to_id(token) for token in ("<|im_start|>", "<|im_end|>"))
    ids = [start, *starter.encode("a"), end, *starter.encode("😀"), start]
    stream = starter.stream(shown=[start])
    assert "".join([*map(stream.push, ids), stream.flush()]) == "<|im_start|>a😀<|im_start|>"
