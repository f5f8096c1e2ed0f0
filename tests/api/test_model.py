from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelClosed,
    ModelFormatError,
    ModelNotFound,
    TemplateError,
    UnsupportedModel,
)
from cactus.model import Model
from cactus.types import StreamEvent
from tests.generate.scripted import WEATHER, ScriptedSampler, babbling, joined, saying

Make = Callable[..., Model]
HELLO = [{"role": "user", "content": "Hello"}]


def program_of(model: Model) -> Any:
    return model._engine.program


def test_chat_answers(scripted_model: Make) -> None:
    done = scripted_model(saying("Hi!")).chat(HELLO)
    assert (done.text, done.finish_reason) == ("Hi!", "stop")
    assert done.metrics.prefill_tokens == len("u:Hello\na:")


def test_messages_may_be_json(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    assert model.chat(json.dumps(HELLO), max_tokens=5).text == model.chat(HELLO, max_tokens=5).text


@pytest.mark.parametrize(
    "text", ["Hello", "[", "{", "[a] b", '{"a": 1}', '"quoted"', "[1, 2", " \n", "null"]
)
def test_any_other_string_is_one_user_message(scripted_model: Make, text: str) -> None:
    model = scripted_model(saying("Hi"))
    assert model.chat(text).text == "Hi"
    assert prompt_of(model).startswith(f"u:{text}\na:")


def test_a_final_message_of_the_assistant_is_continued(scripted_model: Make) -> None:
    turns = [*HELLO, {"role": "assistant", "content": "I am"}]
    for option, prompt in (
        (None, "u:Hello\na:I am"),
        (True, "u:Hello\na:I am"),
        (False, "u:Hello\na:I am\na:"),
    ):
        model = scripted_model(saying(" fine"))
        assert model.chat(turns, continue_final_message=option).text == " fine", "only what is new"
        assert prompt_of(model).startswith(prompt) and prompt_of(model)[len(prompt) :] in " fine"


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"role": "user", "content": "x"}, "the last message must be a text.*one of the user"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}]},
            "one with tool_calls",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused_when_asked(
    scripted_model: Make, last: Any, message: str
) -> None:
    model = scripted_model(saying("Hi"))
    with pytest.raises(InvalidRequest, match=message):
        model.chat([*HELLO, last], continue_final_message=True)
    assert model.chat([*HELLO, last]).text == "Hi", "by default a new turn begins"


def test_a_template_that_hides_the_last_message_cannot_continue_it(scripted_model: Make) -> None:
    template = "{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}a:"
    model = scripted_model(saying("Hi"), template=template)
    with pytest.raises(TemplateError, match="continue_final_message=False"):
        model.chat([*HELLO, {"role": "assistant", "content": "I am"}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_tools": True}, "a call is wanted .* and there are no tools"),
    ],
)
def test_an_option_without_an_effect_is_an_error(
    scripted_model: Make, options: dict[str, Any], message: str
) -> None:
    model = scripted_model(saying("Hi"), context=3000)
    two = [WEATHER, {**WEATHER, "name": "other"}]
    given = {k: two if v == "two" else v for k, v in options.items()}
    with pytest.raises(InvalidRequest, match=message):
        model.chat(HELLO, **given)
    for harmless in (
        {"force_tools": False},
        {"tool_rag_top_k": 5},
        {"tools": two, "tool_rag_top_k": 0},
        {"tools": two, "tool_rag_top_k": 2},
        {"tools": two, "tool_rag_top_k": 1},
        {"tools": two, "tool_rag_top_k": None},
    ):
        assert model.chat(HELLO, **harmless).text == "Hi"  # type: ignore[arg-type]


def test_detokenize_is_the_inverse_of_tokenize(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    assert model.detokenize(model.tokenize("Grüße 🎉")) == "Grüße 🎉"
    assert model.detokenize([]) == ""
    assert model.detokenize([72, 256, 105]) == "Hi"
    assert model.detokenize((72, 256, 105), skip_special=False) == "H<end>i"
    for ids, message in (
        ([1, -1], r"ids\[1\] must be an integer from 0 to 299"),
        ([300], r"ids\[0\]"),
        (["1"], r"ids\[0\]"),
        ("12", "ids must be a list of token ids, got str"),
        (None, "ids must be a list of token ids, got NoneType"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            model.detokenize(ids)  # type: ignore[arg-type]


def test_count_tokens_is_what_a_prompt_has(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"), context=30)
    assert model.count_tokens("Grüße") == len("Grüße".encode())
    assert model.count_tokens(HELLO) == len("u:Hello\na:")
    assert model.chat(HELLO).metrics.prefill_tokens == model.count_tokens(HELLO)
    turns = [*HELLO, {"role": "assistant", "content": "I am"}]
    assert model.count_tokens(turns) == len("u:Hello\na:I am")
    assert model.count_tokens(HELLO, tools=[WEATHER]) > 300, "longer than the context"
    with pytest.raises(InvalidRequest, match="messages"):
        model.count_tokens([])
    assert program_of(model).steps, "only the chat computed something"


def test_content_parts_are_text(scripted_model: Make) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    model = scripted_model(babbling)
    assert model.chat(parts, max_tokens=5).text == model.chat(HELLO, max_tokens=5).text


def test_stream_yields_events_and_then_has_the_completion(scripted_model: Make) -> None:
    with scripted_model(saying("Hi")).stream(HELLO) as stream:
        with pytest.raises(InvalidRequest, match="not been read to its end"):
            _ = stream.completion
        assert list(stream) == [StreamEvent("H", ord("H")), StreamEvent("i", ord("i"))]
        assert stream.completion.text == "Hi"
    assert list(stream) == []


def test_stream_and_chat_give_the_same_completion(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    done = model.chat(HELLO, max_tokens=9)
    model.reset()
    with model.stream(HELLO, max_tokens=9) as stream:
        assert joined(stream) == done.text
        assert (stream.completion.tokens, stream.completion.confidence) == (
            done.tokens,
            done.confidence,
        )


def test_a_stream_does_nothing_before_it_is_read(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    stream = model.stream(HELLO)
    assert program_of(model).steps == []
    assert model.chat(HELLO).text == "Hi", "nor does it keep others waiting"
    assert joined(stream) == "Hi"


def test_a_stream_may_be_closed_early(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with model.stream(HELLO) as stream:
        first = next(stream)
    stream.close()
    assert stream.completion.text == first.text
    assert stream.completion.finish_reason == "cancelled"
    assert len(model.chat(HELLO, max_tokens=3).tokens) == 3


def test_a_stream_that_is_thrown_away_lets_others_go_on(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    before = ScriptedSampler.open_samplers
    stream = model.stream(HELLO)
    next(stream)
    assert ScriptedSampler.open_samplers == before + 1
    del stream
    gc.collect()
    assert len(model.chat(HELLO, max_tokens=3).tokens) == 3
    assert ScriptedSampler.open_samplers == before


@pytest.mark.fault("F51")
def test_stream_stop_ends_after_the_current_token(scripted_model: Make) -> None:
    with scripted_model(babbling).stream(HELLO) as stream:
        next(stream)
        stream.stop()
        assert list(stream) == []
        assert stream.completion.finish_reason == "cancelled"


def test_an_exception_in_the_reader_frees_the_model(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    with pytest.raises(ZeroDivisionError), model.stream(HELLO) as stream:
        for _ in stream:
            raise ZeroDivisionError
    assert model.chat(HELLO, max_tokens=1).text


@pytest.mark.fault("F58")
def test_an_interrupt_inside_a_step_leaves_a_model_that_works(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    expected = model.chat(HELLO, max_tokens=4).text
    calls = 0

    def interrupt(_tokens: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    program_of(model).during = interrupt
    with pytest.raises(KeyboardInterrupt):
        model.chat(HELLO, max_tokens=4)
    program_of(model).during = lambda _tokens: None
    assert model.chat(HELLO, max_tokens=4).text == expected


def test_a_second_turn_reads_only_what_is_new(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    first = model.chat(HELLO)
    turn = [{"role": "assistant", "content": first.text}, {"role": "user", "content": "More"}]
    second = model.chat([*HELLO, *turn])
    assert second.metrics.prefill_tokens == len("\nu:More\na:")
    assert first.metrics.cached_tokens == 0


def test_reset_forgets_the_conversation(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    model.chat(HELLO)
    model.reset()
    model.reset()
    assert model.chat(HELLO).metrics.cached_tokens == 0


@pytest.mark.fault("F53")
def test_reset_before_the_first_call_is_fine(scripted_model: Make) -> None:
    scripted_model(saying("Hi")).reset()


def test_no_state_is_shared_between_models(scripted_model: Make) -> None:
    one, two = scripted_model(babbling), scripted_model(babbling)
    first = one.chat(HELLO, max_tokens=5)
    assert two.chat(HELLO, max_tokens=5).metrics.cached_tokens == 0
    assert one.chat(HELLO, max_tokens=5).text == first.text


def test_tokenize_adds_nothing(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    assert model.tokenize("<end>é") == list("<end>é".encode())
    assert model.tokenize("") == []
    with pytest.raises(InvalidRequest, match="text must be a string, got bytes"):
        model.tokenize(b"x")  # type: ignore[arg-type]


@pytest.mark.fault("F30")
@pytest.mark.parametrize("excess", [1, 1000])
def test_a_prompt_past_the_context_is_refused_before_anything_is_read(
    scripted_model: Make, excess: int
) -> None:
    model = scripted_model(babbling, context=100)
    room = 100 - len("u:\na:")
    with pytest.raises(ContextLengthExceeded) as caught:
        model.chat([{"role": "user", "content": "x" * (room + excess)}])
    assert (caught.value.prompt_tokens, caught.value.limit) == (100 + excess, 100)
    assert str(100 + excess) in str(caught.value) and "100" in str(caught.value)
    assert program_of(model).steps == []


@pytest.mark.fault("F30")
def test_a_stream_refuses_a_long_prompt_when_it_is_made(scripted_model: Make) -> None:
    with pytest.raises(ContextLengthExceeded):
        scripted_model(babbling, context=10).stream([{"role": "user", "content": "x" * 10}])


@pytest.mark.fault("F31")
def test_a_prompt_that_fills_the_context_leaves_no_room(scripted_model: Make) -> None:
    model = scripted_model(babbling, context=100)
    full = [{"role": "user", "content": "x" * (100 - len("u:\na:"))}]
    with pytest.raises(ContextLengthExceeded, match="no room is left for an answer"):
        model.chat(full, max_tokens=1)
    assert model.chat(full, max_tokens=0).metrics.prefill_tokens == 100
    almost = [{"role": "user", "content": "x" * (99 - len("u:\na:"))}]
    done = model.chat(almost, max_tokens=2**31)
    assert (len(done.tokens), done.finish_reason) == (1, "length")


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages: expected a list"),
        ("", "messages: expected a text or a list of messages, got an empty string"),
        ('[{"role": "user"', "messages: expected valid JSON"),
        ("[5]", r"messages\[0\]: expected an object"),
        ('{"role": "user", "content": "x"}', "messages: expected a list.*put it in a list"),
        ([], "messages: expected at least one message"),
        ("[]", "messages: expected at least one message"),
        ([{}], r"messages\[0\].role"),
        ([None], r"messages\[0\]"),
        ([{"role": 123, "content": "x"}], r"messages\[0\].role"),
        ([{"role": "robot", "content": "x"}], r"messages\[0\].role"),
        ([{"role": "user"}], r"messages\[0\].content"),
        ([{"role": "user", "content": None}], r"messages\[0\].content"),
        ([{"role": "user", "content": 123}], r"messages\[0\].content"),
        ([*HELLO, {"role": "user", "content": [{"type": "sound"}]}], r"messages\[1\].content\[0\]"),
    ],
)
def test_bad_messages_are_named(scripted_model: Make, messages: Any, message: str) -> None:
    model = scripted_model(saying("Hi"))
    with pytest.raises(InvalidRequest, match=message):
        model.chat(messages)
    assert model.chat(HELLO).text == "Hi"


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}],
        [{"role": "system", "content": "Be brief."}],
        [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "user", "content": "\x00\u200b\u202e"}],
        [{"role": "user", "content": "\ud800"}],
    ],
)
def test_odd_messages_are_answered(scripted_model: Make, messages: Any) -> None:
    assert scripted_model(saying("Hi")).chat(messages).text == "Hi"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Look", "images": ["a.png"]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
    ],
)
def test_a_text_model_says_that_it_cannot_see(scripted_model: Make, message: Any) -> None:
    with pytest.raises(UnsupportedModel, match=r"messages\[1\] has images.* cannot look at images"):
        scripted_model(babbling).chat([*HELLO, message])


def prompt_of(model: Model) -> str:
    return bytes(program_of(model).fed).decode()


def test_a_template_that_knows_tools_renders_them_itself(scripted_model: Make) -> None:
    template = "{% for t in tools %}[{{ t.function.name }}]{% endfor %}{{ messages[0].content }}"
    model = scripted_model(saying("Hi"), template=template)
    model.chat(HELLO, tools=[WEATHER])
    assert prompt_of(model).startswith("[get_weather]Hello")


def test_else_they_are_described_in_the_system_message(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"), context=2000)
    system = [{"role": "system", "content": "Be brief."}]
    done = model.chat([*system, *HELLO], tools=[WEATHER])
    assert done.text == "Hi" and done.function_calls == ()
    prompt = prompt_of(model)
    assert prompt.startswith("s:Be brief.\n\nYou can call functions.")
    assert json.dumps(WEATHER) in prompt and "<tool_call>" in prompt
    assert "u:Hello\na:" in prompt


def test_without_a_system_message_they_get_one(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"), context=2000)
    model.chat(HELLO, tools=json.dumps([WEATHER]))
    assert prompt_of(model).startswith("s:You can call functions.")


def test_earlier_calls_and_results_are_kept(scripted_model: Make) -> None:
    model = scripted_model(saying("Sunny"), context=2000)
    call = {"name": "get_weather", "arguments": '{"location": "Köln"}'}
    history = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "25 degrees"},
    ]
    assert model.chat(history, tools=[WEATHER]).text == "Sunny"
    expected = '{"name": "get_weather", "arguments": {"location": "Köln"}}'
    assert f"a:<tool_call>{expected}</tool_call>\nt:25 degrees\na:" in prompt_of(model)


@pytest.mark.fault("F35")
@pytest.mark.parametrize("tools", [5, [{}], [{"name": "a b"}], [WEATHER, WEATHER], "{"])
def test_bad_tools_are_named(scripted_model: Make, tools: Any) -> None:
    with pytest.raises(InvalidRequest, match="tools"):
        scripted_model(babbling).chat(HELLO, tools=tools)


def test_no_tools_are_no_tools(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    model.chat(HELLO, tools=[])
    assert prompt_of(model).startswith("u:Hello\na:")


@pytest.mark.parametrize("name", ["top_p", "tools", "seed"])
def test_bad_options_are_named_before_anything_is_read(scripted_model: Make, name: str) -> None:
    model = scripted_model(babbling)
    with pytest.raises(InvalidRequest, match=f"^{name}"):
        model.chat(HELLO, **{name: -1})  # type: ignore[arg-type]
    assert program_of(model).steps == []


@pytest.mark.fault("F24")
def test_a_template_that_refuses_says_why(scripted_model: Make) -> None:
    model = scripted_model(babbling, template="{{ raise_exception('only one message') }}")
    with pytest.raises(TemplateError, match="only one message"):
        model.chat(HELLO)


@pytest.mark.fault("F24")
def test_a_template_that_prints_nothing_makes_no_prompt(scripted_model: Make) -> None:
    with pytest.raises(InvalidRequest, match="empty prompt"):
        scripted_model(babbling, template="").chat(HELLO)


def test_a_prompt_of_tokens_that_the_model_has_not(scripted_model: Make) -> None:
    template = "{{ messages[0].content }}"
    model = scripted_model(babbling, template=template)
    program_of(model).vocab_size = 100
    with pytest.raises(ModelFormatError, match="has token 122, and its embeddings only 100 rows"):
        model.chat([{"role": "user", "content": "xyz"}])


def test_a_special_token_as_stop_string(scripted_model: Make) -> None:
    def script(_history: list[int], answered: int) -> int:
        return [ord("a"), 257, ord("b")][answered]

    model = scripted_model(script)
    assert model.chat(HELLO, stop="<turn>").text == "a"
    assert model.chat(HELLO, stop=["<turn>"], include_stop_sequences=True).text == "a<turn>"


@pytest.mark.fault("F52")
def test_after_close_everything_but_close_and_stop_is_an_error(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    open_stream = model.stream(HELLO)
    assert "closed" not in repr(model)
    with model:
        pass
    model.close()
    model.stop()
    assert model.closed and "closed" in repr(model)
    assert program_of(model).closed
    for use in (
        lambda: model.chat(HELLO),
        lambda: model.stream(HELLO),
        lambda: model.tokenize("x"),
        model.reset,
        lambda: next(open_stream),
    ):
        with pytest.raises(ModelClosed, match="destroyed"):
            use()


def test_the_facts_of_a_model(scripted_model: Make) -> None:
    model = scripted_model(babbling, context=123)
    assert (model.name, model.architecture, model.context_length) == ("scripted", "script", 123)
    assert repr(model) == "<Model scripted (script, 123 tokens)>"


@pytest.mark.parametrize("name", [None, 5, b"x", ["a"]])
def test_a_model_is_named_by_a_string_or_a_path(name: Any) -> None:
    with pytest.raises(InvalidRequest, match="a model is named by a string or a path"):
        Model(name)


@pytest.mark.parametrize("name", ["", "no-such-model", "a\x00b", "x" * 5000, "../../etc"])
def test_a_model_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelNotFound):
        Model(name)


@pytest.mark.parametrize(
    "options",
    [{"context": 0}, {"context": 10**9}, {"context": "8"}, {"threads": "2"}, {"isa": 5}],
)
def test_bad_loading_options_are_named(tiny_model: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(options))):
        Model(tiny_model, **options)
