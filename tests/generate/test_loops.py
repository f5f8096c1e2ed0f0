"""When an answer counts as a loop, and what never does."""

from __future__ import annotations

import random

import pytest

from cactus.generate.loops import MOST_TOKENS, LoopGuard
from tests.generate.scripted import Harness, saying

PROSE = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz ", k=600))


def noticed(text: str) -> int | None:
    """After how many characters, each a token, `text` counts as a loop."""
    guard = LoopGuard()
    for count, byte in enumerate(text.encode(), 1):
        if guard.add(byte):
            return count
    return None


@pytest.mark.parametrize("period", ["x", "ab", "They survive. ", PROSE[:97], PROSE])
@pytest.mark.parametrize("before", ["", "Cacti are plants. "])
def test_a_period_that_repeats_is_noticed(period: str, before: str) -> None:
    found = noticed(before + period * (200 // len(period) + 6))
    assert found is not None
    assert found <= len(before) + MOST_TOKENS + 4 * len(period) + 8
    assert found > len(before) + MOST_TOKENS


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"{n}. Item number {n} of the list" for n in range(1, 200)),
        ", ".join(map(str, range(1000))),
        "| name | age |\n|------|-----|\n" + "".join(f"| p{n} | {n} |\n" for n in range(99)),
        "".join(f"    x[{n}] = values[{n}];\n" for n in range(99)),
        "-" * 60 + "\n" + "=" * 60,
        "    " * 15 + "return 0;",
        (PROSE[:60] + "\n") * 3 + PROSE[60:],
        "haha" * 15,
    ],
    ids=["list", "counting", "table", "code", "rules", "blanks", "refrain", "laughter"],
)
def test_lists_tables_counting_and_code_are_not_loops(text: str) -> None:
    assert noticed(text) is None


def test_a_refrain_between_verses_is_not_a_loop() -> None:
    assert noticed("".join(PROSE[n : n + 50] + "And the wind blows. " for n in range(60))) is None


@pytest.mark.fault("F12")
def test_an_answer_that_loops_ends_with_what_was_said() -> None:
    rig = Harness(saying("Well. " + "Again! " * 100), context=2000)
    assert rig.answer(max_tokens=800).finish_reason == "stop"
    done = rig.answer(max_tokens=800, stop_loops=True)
    assert done.finish_reason == "repetition"
    assert done.text.startswith("Well. Again! Again!") and 64 < len(done.text) < 100
    assert done.result().success
    assert rig.answer(max_tokens=50, stop_loops=True).finish_reason == "length"
