from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.generate.stop import StopMatcher


def run(stops: list[str], pieces: list[str], include: bool = False) -> tuple[list[str], str | None]:
    matcher = StopMatcher(stops, include=include)
    shown = [matcher.push(piece) for piece in pieces]
    shown.append(matcher.flush())
    return shown, matcher.stopped


def expected(stops: list[str], text: str, include: bool) -> tuple[str, str | None]:
    """The definition: the first prefix that ends in a stop string, cut before the longest one."""
    for end in range(1, len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            stop = max(hits, key=len)
            return text[: end if include else end - len(stop)], stop
    return text, None


letters = st.text("ab", max_size=30)
stop_lists = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


@pytest.mark.fault("F34")
@settings(derandomize=True, deadline=None)
@given(stop_lists, letters, st.lists(st.integers(0, 30), max_size=5), st.booleans())
def test_any_cut_of_the_text_gives_what_the_definition_says(
    stops: list[str], text: str, cuts: list[int], include: bool
) -> None:
    marks = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(marks)]
    shown, stopped = run(stops, pieces, include)
    assert ("".join(shown), stopped) == expected(stops, text, include)


@settings(derandomize=True, deadline=None)
@given(stop_lists, letters)
def test_text_is_held_back_only_while_it_can_become_a_stop_string(
    stops: list[str], text: str
) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    for end, letter in enumerate(text, 1):
        shown += matcher.push(letter)
        if matcher.stopped is not None:
            break
        held = text[len(shown) : end]
        assert not held or any(stop.startswith(held) for stop in stops)
        assert not any(
            stop.startswith(text[start:end]) for stop in stops for start in range(len(shown))
        )


@pytest.mark.fault("F34")
def test_a_stop_string_that_spans_pieces_is_never_shown_in_part() -> None:
    assert run(["<stop>"], ["Hello<s", "to", "p>ignored"]) == (["Hello", "", "", ""], "<stop>")


def test_held_text_that_turns_out_to_be_harmless_is_shown() -> None:
    assert run(["<stop>"], ["a<s", "top", "?"]) == (["a", "", "<stop?", ""], None)


def test_the_end_of_the_text_releases_what_is_held() -> None:
    assert run(["\n\n"], ["one\n"]) == (["one", "\n"], None)


def test_a_restart_inside_a_failed_match_is_seen() -> None:
    assert run(["aab"], ["aaab"]) == (["a", ""], "aab")


def test_include_keeps_the_stop_string_and_nothing_after_it() -> None:
    assert run(["b"], ["abc"], include=True) == (["ab", ""], "b")


def test_of_two_stops_that_end_together_the_longer_is_cut() -> None:
    assert run(["c", "abc"], ["xabc"]) == (["x", ""], "abc")


def test_without_stop_strings_everything_passes_at_once() -> None:
    assert run([], ["a", "b"]) == (["a", "b", ""], None)


@pytest.mark.fault("F34")
@pytest.mark.parametrize("stop", ["a" * 1024, "ab" * 512])
def test_sixteen_long_repetitive_stops_cost_little(stop: str) -> None:
    # The worst case for a matcher that compares suffixes: nearly every stop nearly matches.
    matcher = StopMatcher([stop[:-1] + chr(200 + i) for i in range(16)])
    text = stop[:-1] * 20
    shown = "".join(matcher.push(text[i : i + 3]) for i in range(0, len(text), 3))
    assert shown + matcher.flush() == text
