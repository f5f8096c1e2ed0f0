"""The `<think>` block at the beginning of an answer: told from the text, and never lost."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cactus.chat.reasoning import CLOSE, OPEN, Reasoning, Splitter
from cactus.errors import InvalidRequest
from cactus.model import Model
from cactus.types import StreamEvent
from tests.generate.scripted import (
    ANSWER,
    END,
    TEMPLATE,
    THINK,
    VOCABULARY,
    Harness,
    joined,
    read,
    saying,
    scripted_engine,
    uttering,
)

THINKING = (
    TEMPLATE
    + "{{ '' if enable_thinking is not defined or enable_thinking else '<think></think>' }}"
)
OPENED = TEMPLATE + "<think>\n"
PIECES = [OPEN, CLOSE, "<thi", "nk>", "</", "think>", "<", ">", " ", "\n", "a", "bc\n\n", "é"]

spoken = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
markups: Any = st.sampled_from(["possible", "begun"])


def expected(answer: str, reasoning: Reasoning) -> tuple[str, str]:
    """What the rule says of a whole answer."""
    if answer.lstrip().startswith(OPEN):
        answer = answer.lstrip().removeprefix(OPEN)
    elif reasoning == "possible":
        return "", answer
    thought, _, text = answer.partition(CLOSE)
    return thought.strip(), text.lstrip()


def split(pieces: list[str], reasoning: Reasoning) -> tuple[str, str]:
    splitter = Splitter(reasoning)
    shown = [*(splitter.push(piece) for piece in pieces), splitter.flush()]
    return "".join(thought for thought, _ in shown), "".join(text for _, text in shown)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(spoken, markups, st.lists(st.integers(0, 60), max_size=6))
@example(f" \n{OPEN}\n a \n{CLOSE}\n\n b {OPEN}", "possible", [3, 5, 14, 15])
@example(f"{OPEN}{CLOSE}", "begun", [])
@example(f"a</thin{CLOSE}b", "begun", [2, 9])
def test_any_chunking_gives_the_same_split(
    answer: str, reasoning: Reasoning, cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    pieces = [answer[first:last] for first, last in itertools.pairwise(bounds)]
    assert split(pieces, reasoning) == expected(answer, reasoning)


TAG = "|".join(re.escape(tag[:size]) for tag in (OPEN, CLOSE) for size in range(len(tag)))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(spoken, markups)
def test_no_more_is_held_back_than_blanks_and_the_beginning_of_a_tag(
    answer: str, reasoning: Reasoning
) -> None:
    splitter = Splitter(reasoning)
    thought = text = ""
    for size, letter in enumerate(answer, 1):
        more_thought, more_text = splitter.push(letter)
        thought, text = thought + more_thought, text + more_text
        # Had it ended here: what is missing from what was shown.
        ended = "".join(expected(answer[:size], reasoning))
        assert ended.startswith(thought + text)
        assert re.fullmatch(rf"\s*(?:{TAG})", ended.removeprefix(thought + text))


def test_without_the_markup_nothing_is_reasoning() -> None:
    assert split([f"{OPEN}a{CLOSE}b"], "never") == ("", f"{OPEN}a{CLOSE}b")


BLOCK = "<think>\nTwo and two.\n</think>\n\nIt is 4."


def answered(script: Any, **options: Any) -> Any:
    return Harness(script).start(**{"reasoning": "possible", **options})


def kinds(events: list[StreamEvent], kind: str) -> str:
    return joined(event for event in events if event.kind == kind)


def test_reasoning_and_text_are_told_apart() -> None:
    events, done = read(answered(saying(BLOCK)))
    assert (done.reasoning, done.text) == ("Two and two.", "It is 4.")
    assert (kinds(events, "reasoning"), kinds(events, "text")) == (done.reasoning, done.text)
    assert done.tokens == tuple(BLOCK.encode())
    assert done.metrics.decode_tokens == len(done.logprobs) == len(BLOCK)
    assert len(events) == len(BLOCK)


def test_a_token_may_end_the_one_and_begin_the_other() -> None:
    splitter = Splitter("possible")
    assert splitter.push(BLOCK) == ("Two and two.", "It is 4.")


def test_events_say_what_is_going_on_before_they_have_text() -> None:
    events, _ = read(answered(saying("<think> a</think> b")))
    inside = len("<think> a</think")
    assert [event.kind for event in events[len("<think>") : inside]] == ["reasoning"] * 9
    assert {event.kind for event in events[inside:]} == {"text"}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("A <think> tag</think>", "A <think> tag</think>"),
        ("\n <thin", "\n <thin"),
        ("</think>x", "</think>x"),
        ("<thinking>x</thinking>", "<thinking>x</thinking>"),
        ("", ""),
    ],
)
def test_an_answer_without_a_block_is_all_text(said: str, text: str) -> None:
    done = answered(saying(said)).run()
    assert (done.text, done.reasoning) == (text, None)


@pytest.mark.parametrize("block", ["<think></think>", "<think>\n\n</think>\n\n"])
def test_an_empty_block_is_no_reasoning(block: str) -> None:
    done = answered(saying(block + "4")).run()
    assert (done.text, done.reasoning) == ("4", None)


def test_a_later_block_is_text() -> None:
    done = answered(saying("<think>a</think>b<think>c</think>")).run()
    assert (done.text, done.reasoning) == ("b<think>c</think>", "a")


@pytest.mark.parametrize("size", range(1, len(BLOCK) + 1))
def test_max_tokens_counts_both_and_an_open_block_is_all_reasoning(size: int) -> None:
    events, done = read(answered(saying(BLOCK), max_tokens=size))
    thought, text = expected(BLOCK[:size], "possible")
    assert (done.reasoning or "", done.text) == (thought, text)
    assert (kinds(events, "reasoning"), kinds(events, "text")) == (thought, text)
    assert len(done.tokens) == size and done.finish_reason == "length"


def test_a_model_that_stops_inside_its_block_has_said_nothing() -> None:
    done = answered(saying("<think>\nI wonder \n")).run()
    assert (done.text, done.reasoning, done.finish_reason) == ("", "I wonder", "stop")


def test_an_answer_begins_inside_a_block_that_the_prompt_opened() -> None:
    for said in ("\nhm\n</think>\n\n4", "<think>\nhm</think>4"):  # some write the tag once more
        done = answered(saying(said), reasoning="begun").run()
        assert (done.text, done.reasoning) == ("4", "hm")
    done = answered(saying("hm"), reasoning="begun").run()
    assert (done.text, done.reasoning) == ("", "hm")


def test_stop_strings_end_the_text_and_not_the_reasoning() -> None:
    done = answered(saying("<think>a\n\nSTOP b</think>c STOP d"), stop=["STOP", "\n\n"]).run()
    assert (done.text, done.reasoning, done.finish_reason) == ("c ", "a\n\nSTOP b", "stop")
    done = answered(saying("<think>ST</think>OP"), stop=["STOP"]).run()
    assert (done.text, done.reasoning) == ("OP", "ST")


def test_stop_tokens_end_the_text_and_not_the_reasoning() -> None:
    said = [*b"<think>a", END + 1, *b"b</think>c", END + 1, *b"d", END]
    stops = {END + 1: "<turn>"}
    for include, text in ((False, "c"), (True, "c<turn>")):
        done = answered(uttering(said), stop_tokens=stops, include_stop_sequences=include).run()
        assert (done.text, done.reasoning, done.finish_reason) == (text, "ab", "stop")


def test_confidence_and_the_handoff_look_at_all_tokens() -> None:
    unsure = math.log(VOCABULARY)
    entropies = [0.0] * 12 + [unsure] * 30
    done = answered(saying(BLOCK, entropies=entropies), confidence_threshold=0.5).run()
    assert done.finish_reason == "handoff"
    assert (done.text, done.reasoning) == ("", BLOCK[8 : 8 + len(done.reasoning)])


def test_a_stop_from_outside_keeps_what_there_is() -> None:
    rig = Harness(saying("<think>a b </thi" + "x" * 50))
    generation = rig.start(reasoning="possible")
    shown = []
    for event in generation.events():
        shown.append(event)
        if len(shown) == len("<think>a b </thi"):
            rig.call.stop()
    assert generation.result is not None
    assert generation.result.finish_reason == "cancelled"
    assert generation.result.reasoning == kinds(shown, "reasoning") == "a b </thi"


# -- which models think


def model(script: Any, **options: Any) -> Model:
    return Model.from_engine(scripted_engine(script, **options))


ASK = [{"role": "user", "content": "2+2?"}]


def test_a_model_without_the_markup_may_write_about_it() -> None:
    with model(saying(BLOCK)) as plain:
        done = plain.chat(ASK)
        assert (done.text, done.reasoning) == (BLOCK, None)


@pytest.mark.parametrize("options", [{"template": THINKING}, {"tags": True}])
def test_the_template_or_the_vocabulary_has_it(options: Any) -> None:
    with model(saying(BLOCK), **options) as thinker:
        done = thinker.chat(ASK)
        assert (done.text, done.reasoning) == ("It is 4.", "Two and two.")


def test_tags_that_are_special_tokens() -> None:
    said = [THINK, *b"\nhm\n", ANSWER, *b"\n\n4", END]
    with model(uttering(said), tags=True) as thinker:
        done = thinker.chat(ASK)
        assert (done.text, done.reasoning, done.tokens) == ("4", "hm", tuple(said[:-1]))


def test_a_template_that_opens_the_block() -> None:
    with model(saying("hm</think>4"), template=OPENED) as thinker:
        done = thinker.chat(ASK)
        assert (done.text, done.reasoning) == ("4", "hm")
        # In a message it is text, wherever it stands.
        last = thinker.chat([{"role": "user", "content": "<think>"}])
        assert (last.text, last.reasoning) == ("4", "hm")
    bare = "{% for m in messages %}{{ m.content }}{% endfor %}{# <think> #}"
    with model(saying("hm"), template=bare) as quoted:
        done = quoted.chat([{"role": "user", "content": "Write <think>"}])
        assert (done.text, done.reasoning) == ("hm", None)


# -- the switch


def reads_prompt(history: list[int], answered: int) -> int:
    """Thinks, unless its prompt ends in an empty block."""
    prompt = bytes(history[: len(history) - answered]).decode()
    says = "4" if prompt.endswith("</think>") else "<think>hm</think>4"
    return [*says.encode(), END][answered]


def test_thinking_can_be_switched() -> None:
    with model(reads_prompt, template=THINKING) as thinker:
        for thinking, reasoning in ((None, "hm"), (True, "hm"), (False, None)):
            done = thinker.chat(ASK, thinking=thinking)
            assert (done.text, done.reasoning) == ("4", reasoning)
            assert thinker.chat_many([ASK], thinking=thinking)[0].reasoning == reasoning


def test_the_switch_may_be_called_thinking() -> None:
    template = TEMPLATE + "{% if not thinking %}<think></think>{% endif %}"
    with model(reads_prompt, template=template) as thinker:
        assert thinker.chat(ASK, thinking=True).reasoning == "hm"
        assert thinker.chat(ASK, thinking=False).reasoning is None


def test_a_model_without_a_switch() -> None:
    with model(saying("4")) as plain:
        assert plain.chat(ASK, thinking=False).text == "4"
        with pytest.raises(InvalidRequest, match="scripted does not think before it answers"):
            plain.chat(ASK, thinking=True)
    with model(saying("hm</think>4"), template=OPENED) as always:
        assert always.chat(ASK, thinking=True).reasoning == "hm"
        with pytest.raises(
            InvalidRequest, match=r"no switch for it \(enable_thinking or thinking\)"
        ):
            always.chat(ASK, thinking=False)
    with (
        model(saying("4"), template=THINKING) as thinker,
        pytest.raises(InvalidRequest, match="thinking must be True or False, got 'no'"),
    ):
        thinker.chat(ASK, thinking="no")  # type: ignore[arg-type]


# -- with everything else


def same(left: Any, right: Any) -> bool:
    names = ("text", "reasoning", "finish_reason", "tokens", "logprobs", "confidence")
    return all(getattr(left, name) == getattr(right, name) for name in names)


def test_many_conversations_and_guesses_give_the_same() -> None:
    said = "<think>" + "tic tac toe " * 8 + "</think>\n\ntic tac toe tic tac toe"
    with (
        model(saying(said), template=THINKING, chunk=20) as alone,
        model(saying(said), template=THINKING, chunk=20, slope=0) as guessing,
    ):
        done = alone.chat(ASK)
        assert done.text == "tic tac toe tic tac toe" and done.reasoning.startswith("tic tac")
        assert all(same(done, other) for other in alone.chat_many([ASK] * 3))
        assert same(done, guessing.chat(ASK))
        assert same(done, guessing.chat(ASK, speculation=False))


def test_old_reasoning_that_the_template_drops_is_read_again_without_it() -> None:
    def script(history: list[int], answered: int) -> int:
        """The last letter says whether the history is what a cold session would have."""
        said = f"<think>hm</think>{sum(history[: len(history) - answered])}"
        return [*said.encode(), END][answered]

    asked = [{"role": "user", "content": "How much is 2+2?"}]
    with model(script, template=THINKING) as warm, model(script, template=THINKING) as cold:
        first = warm.chat(asked)
        said = {"role": "assistant", "content": first.text, "reasoning_content": first.reasoning}
        following = [*asked, said, {"role": "user", "content": "and 3+3?"}]
        again, fresh = warm.chat(following), cold.chat(following)
        assert again.metrics.cached_tokens > len("u:How much is 2+2?")
        assert fresh.metrics.cached_tokens == 0
        assert same(again, fresh)


def test_the_flat_functions_give_the_answer_only() -> None:
    from cactus import api

    with model(saying(BLOCK), template=THINKING) as thinker:
        handle = api._models.add(thinker)
        heard: list[tuple[str, int]] = []
        result = json.loads(
            api.cactus_complete(handle, ASK, callback=lambda *call: heard.append(call[:2]))
        )
        assert len(result) == 14
        assert result["response"] == "".join(text for text, _ in heard) == "It is 4."
        assert [token for _, token in heard] == list(BLOCK.encode())
        assert result["decode_tokens"] == len(BLOCK)
