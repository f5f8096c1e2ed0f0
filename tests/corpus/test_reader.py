"""Where passages stand in a conversation: in its turns, so that only what is new is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cactus.corpus.quote import SILENT
from cactus.corpus.reader import Reader
from cactus.errors import ContextLengthExceeded
from cactus.model import Model
from cactus.retrieval.types import Hit
from tests.corpus.library import FAR, Shelf, chunk
from tests.generate.scripted import saying

FACTS = [
    chunk("paris.md", "Paris is the capital of France. It has two million people.", line=1),
    chunk("rome.md", "Rome is the capital of Italy. It has three million people.", line=1),
    chunk("oslo.md", "Oslo is the capital of Norway. Winters are cold there.", line=4),
    chunk("tea.md", "Green tea is brewed at eighty degrees.", heading="Tea > Green"),
]
ANSWER = "Paris is the capital of France [1]."

MakeModel = Callable[..., Model]


@pytest.fixture
def ask(scripted_model: MakeModel) -> Callable[..., Model]:
    """A model that answers from chunks; its prompts are long, for a byte is a token."""

    def make(
        chunks: list[Hit] = FACTS,
        said: str = ANSWER,
        *,
        tokens: int | None = FAR,
        context: int = 20_000,
        **options: Any,
    ) -> Model:
        model = scripted_model(saying(said), context=context)
        model.documents = Reader(Shelf(chunks, tokens), **options)
        return model

    return make


def prompt(model: Model) -> str:
    """What the model has read so far, of all conversations."""
    return bytes(token for token in program(model).fed if token < 256).decode()


def program(model: Model) -> Any:
    return model._engine.program


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_an_answer_is_made_from_what_is_found(ask: MakeModel) -> None:
    model = ask(top_k=2)
    done = model.chat("What is the capital of France?")
    assert 'Passage 1, from "paris.md":' in prompt(model)
    assert "two million" in prompt(model)
    assert "Green tea" not in prompt(model)
    assert prompt(model).count("Question: What is the capital of France?\n") == 1
    (citation,) = done.citations
    assert (citation.place, citation.text) == ("paris.md:1", "Paris is the capital of France.")
    assert done.reading is not None
    assert str(done.reading) == "2 of 4 chunks"
    assert done.reading.found and not done.reading.whole


def test_every_form_of_a_chat_is_answered_from_the_documents(ask: MakeModel) -> None:
    model = ask()
    question = "What is the capital of France?"
    with model.stream(question) as stream:
        assert "".join(event.text for event in stream) == ANSWER
    assert [each.source for each in stream.completion.citations] == ["paris.md"]
    (many,) = model.chat_many([question])
    assert [each.source for each in many.citations] == ["paris.md"]
    conversation = model.conversation("Be brief.")
    assert conversation.chat(question).reading is not None
    assert conversation.messages[1] == user(question)  # the caller's messages stay what they were


def test_a_second_turn_reads_only_what_is_new(ask: MakeModel) -> None:
    model = ask(top_k=1)
    first = model.chat("What is the capital of France?")
    before = len(program(model).fed)
    turns = [user("What is the capital of France?"), first.message, user("How is green tea made?")]
    second = model.chat(turns)
    read = bytes(program(model).fed[before : before + second.metrics.prefill_tokens]).decode()
    assert second.metrics.cached_tokens >= before - 1  # the last token said was never fed
    assert "Green tea" in read
    assert "Paris is the capital of France. It has" not in read
    assert 'Passage 2, from "tea.md", "Tea > Green":' in read


def test_a_passage_of_an_earlier_turn_is_not_given_again(ask: MakeModel) -> None:
    model = ask(top_k=1)
    turns = [user("What is the capital of France?")]
    turns += [model.chat(turns).message, user("Which capital of France has millions of people?")]
    second = model.chat(turns)
    assert prompt(model).count("two million people") == 1
    assert "See passage [1] above." in prompt(model)
    assert [each.source for each in second.citations] == ["paris.md"]
    assert second.reading is not None
    assert len(second.reading.passages) == 1


def test_a_follow_up_is_searched_with_its_conversation(ask: MakeModel) -> None:
    model = ask(top_k=1)
    turns = [user("How cold are winters in Norway?")]
    turns += [model.chat(turns).message, user("And there?")]
    done = model.chat(turns)
    assert done.reading is not None
    assert [each.source for each in done.reading.passages] == ["oslo.md"]
    assert done.reading.query == "How cold are winters in Norway?\nAnd there?"


def test_a_new_subject_is_not_lost_in_the_conversation(ask: MakeModel) -> None:
    model = ask(top_k=1)
    turns = [user("How cold are winters in Norway?")]
    turns += [model.chat(turns).message, user("Green tea is brewed at what degrees?")]
    done = model.chat(turns)
    assert done.reading is not None
    assert [each.source for each in done.reading.passages] == ["tea.md"]


def test_documents_that_fit_are_given_whole_and_once(ask: MakeModel) -> None:
    model = ask(tokens=None)
    turns = [user("What is all this about?")]
    first = model.chat(turns)
    assert first.reading is not None
    assert first.reading.whole
    assert str(first.reading) == "4 of 4 chunks"
    second = model.chat([*turns, first.message, user("Tell me about bananas.")])
    assert second.reading is not None
    assert str(second.reading) == "4 of 4 chunks"
    assert prompt(model).count("Green tea") == 1


TEA = [
    chunk("tea.md", "Green tea is brewed at eighty degrees.", line=1),
    chunk("tea.md", "It comes from China.", start=40, line=3),
    chunk("tea.md", "Black tea needs boiling water.", start=70, line=5),
]


def test_a_document_that_fits_and_has_all_that_was_found_is_given_whole(ask: MakeModel) -> None:
    model = ask([FACTS[0], *TEA], top_k=1)
    turns = [user("What needs boiling water?")]
    first = model.chat(turns)
    assert first.reading is not None and first.reading.whole
    assert [each.line for each in first.reading.passages] == [1, 3, 5]
    assert str(first.reading) == "3 of 4 chunks"
    second = model.chat([*turns, first.message, user("What is green tea?")])
    assert second.reading is not None and second.reading.whole
    assert second.reading.passages == first.reading.passages
    assert prompt(model).count("It comes from China.") == 1


@pytest.mark.parametrize(
    ("question", "more", "context"),
    [
        ("What needs boiling water in France?", "", 20_000),  # in two documents
        ("What needs boiling water?", " and so on" * 1_000, 20_000),
        ("What needs boiling water?", " and so on" * 30, 700),
    ],
)
def test_else_what_was_found_is_given(
    ask: MakeModel, question: str, more: str, context: int
) -> None:
    long = chunk("tea.md", f"It comes from China.{more}", start=40, line=3)
    model = ask([FACTS[0], TEA[0], long, TEA[2]], top_k=2, context=context)
    done = model.chat(question, max_tokens=20)
    assert done.reading is not None and not done.reading.whole
    assert "boiling" in prompt(model) and "from China" not in prompt(model)


def test_overlapping_chunks_are_joined(ask: MakeModel) -> None:
    text = "Alpha one. Beta two. Gamma three."
    chunks = [
        chunk("a.md", text[:20], line=1),
        chunk("a.md", text[11:], start=11, line=1),
    ]
    model = ask(chunks)
    done = model.chat("Alpha Beta Gamma")
    assert done.reading is not None
    passages = sorted(done.reading.passages, key=lambda each: each.start)
    assert "".join(each.text for each in passages) == text
    assert all(text[each.start : each.end] == each.text for each in passages)


def test_where_nothing_is_found_the_model_is_told(ask: MakeModel) -> None:
    model = ask(said="The documents do not say.")
    done = model.chat("xyzzy")
    assert "nothing in them is about the following message" in prompt(model)
    assert done.reading is not None
    assert (done.reading.found, done.reading.passages, done.citations) == (False, (), ())


def test_a_strict_question_without_a_hit_asks_no_model(ask: MakeModel) -> None:
    model = ask(strict=True)
    with model.stream("xyzzy") as stream:
        assert [event.text for event in stream] == [SILENT]
    assert stream.completion.reading is not None
    assert not stream.completion.reading.found
    assert model.chat("xyzzy").text == SILENT
    assert program(model).fed == []


def test_a_short_context_lets_the_passages_of_old_turns_go(ask: MakeModel) -> None:
    chunks = [chunk(f"{n}.md", f"word{n} " + "padding " * 40) for n in range(6)]
    model = ask(chunks, top_k=1, context=2_400)
    turns: list[dict[str, Any]] = []
    for n in range(6):
        turns.append(user(f"What about word{n}?"))
        done = model.chat(turns, max_tokens=100)
        assert done.reading is not None
        assert [each.source for each in done.reading.passages] == [f"{n}.md"]
        turns.append(done.message)


def test_long_passages_do_not_make_a_long_context_let_old_turns_go(ask: MakeModel) -> None:
    chunks = [chunk(f"{n}.md", f"word{n} same " + "padding " * 100) for n in range(6)]
    model = ask(chunks, top_k=3)
    turns = [user("What is the same?")]
    turns += [model.chat(turns).message, user("What about word5, and the same?")]
    known = len(program(model).fed)
    second = model.chat(turns)
    assert second.metrics.cached_tokens >= known - 1
    assert second.reading is not None
    assert "5.md" in [each.source for each in second.reading.passages]


def test_messages_that_leave_no_room_for_a_passage_are_refused(ask: MakeModel) -> None:
    model = ask(context=500)
    with pytest.raises(ContextLengthExceeded, match="one passage of the documents"):
        model.chat("What is the capital of France?" + " please" * 20, max_tokens=20)


def test_the_same_question_again_is_searched_again(ask: MakeModel) -> None:
    model = ask(top_k=1)
    shelf: Any = model.documents.library  # type: ignore[union-attr]
    model.chat("What is the capital of France?")
    shelf._chunks = [chunk("paris.md", "Lyon is now the capital of France.")]
    done = model.chat("What is the capital of France?")
    assert done.reading is not None
    assert "Lyon" in done.reading.passages[0].text


def test_an_answer_is_assessed_with_what_it_was_made_from(ask: MakeModel) -> None:
    model = ask(top_k=1)
    question = "What is the capital of France?"
    done = model.chat(question, logprobs=True)
    before = len(program(model).fed)
    assessed = model.assess(question, done, samples=1)
    assert assessed.scores is not None and assessed.scores.agreement is not None
    # The prompt is the same one, which is in the cache, passages and all.
    assert len(program(model).fed) - before < 200
    assert assessed.citations == done.citations


def test_a_raw_prompt_has_nothing_to_do_with_documents(ask: MakeModel) -> None:
    model = ask()
    done = model.complete("What is the capital of France?")
    assert (done.reading, done.citations) == (None, ())


def test_a_tool_s_result_is_read_with_the_question_s_passages(ask: MakeModel) -> None:
    model = ask(top_k=1)
    asked = [user("What is the capital of France?")]
    call = {"id": "a1", "type": "function", "function": {"name": "now", "arguments": {}}}
    model.chat(asked)
    shelf: Any = model.documents.library  # type: ignore[union-attr]
    searched = len(shelf.queries)
    before = len(program(model).fed)
    done = model.chat(
        [
            *asked,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "noon", "tool_call_id": "a1"},
        ]
    )
    assert len(shelf.queries) == searched
    assert done.metrics.prefill_tokens < before
    assert [each.source for each in done.citations] == ["paris.md"]
