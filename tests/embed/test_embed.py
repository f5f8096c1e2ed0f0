"""Vectors of texts: what they are, in what company, and what may be asked for."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.embed import steps
from cactus.errors import (
    Cancelled,
    ContextLengthExceeded,
    InvalidRequest,
    ModelClosed,
    UnsupportedModel,
)
from cactus.native import Row
from cactus.weights.format.folder import WeightsFolder

Make = Callable[..., Model]

TEXTS = [
    "Hello world",
    "",
    "x",
    " \n\t ",
    "a b c " * 60,  # more than one step takes
    "Grüße, 世界 🌵",
    "lone \ud800 surrogate",
    "NUL \0 and \x1b[31m",
    "<|im_start|>user",
    *("word " * n for n in range(1, 40, 3)),
]


@pytest.mark.parametrize("text", ["A cactus is a plant.", "a b c " * 60 + "x" * 90])
def test_it_is_the_mean_of_the_states_after_the_last_norm(tiny: Model, text: str) -> None:
    # Logits are linear in the states: the mean of those is the head of the mean of these.
    ids = tiny.tokenize(text)
    engine = tiny._engine
    with engine.tokens.session() as session:
        pieces = [ids[n : n + 200] for n in range(0, len(ids), 200)]
        steps = [
            engine.tokens.step([Row(session, piece, "all")], want_logits=True) for piece in pieces
        ]
    found = [output.logits for step in steps for output in step if output.logits is not None]
    logits = np.mean(found, axis=0)
    with WeightsFolder.open(engine.folder) as weights:
        head = weights.dequantize("model.embed_tokens.weight")
    vector = tiny.embed(text)
    assert vector.dtype == np.float32 and vector.shape == (64,)
    assert np.allclose(head @ vector, logits, atol=0.05 * np.abs(logits).max())


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max", "mean_sqrt_len"])
def test_a_text_has_the_same_bits_in_any_company(embedder: Make, pooling: str) -> None:
    model = embedder(pooling=pooling, max_tokens=512)
    together = model.embed(TEXTS)
    assert together.shape == (len(TEXTS), 64) and np.isfinite(together).all()
    for index, text in enumerate(TEXTS):
        assert model.embed(text).tobytes() == together[index].tobytes(), text
    assert model.embed(TEXTS, batch_size=1).tobytes() == together.tobytes()
    assert model.embed(reversed(TEXTS))[::-1].tobytes() == together.tobytes()


def test_the_number_of_threads_changes_no_bit(tiny: Model, tiny_model: Path) -> None:
    with Model(tiny_model, threads=1) as alone:
        assert alone.embed(TEXTS).tobytes() == tiny.embed(TEXTS).tobytes()


def test_many_texts_share_a_step_and_none_is_padded(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    step = steps.Steps._step

    def counting(self: Any, texts: Any, stop: Any) -> None:
        seen.append([self._piece(each) for each in texts])
        step(self, texts, stop)

    monkeypatch.setattr(steps.Steps, "_step", counting)
    texts = ["a" * n for n in (120, 120, 120, 10, 1)]
    tiny.embed(texts)
    assert seen == [[120, 120], [120, 10, 1]]
    seen.clear()
    tiny.embed(texts, batch_size=1)
    assert seen == [[120], [120], [120], [10], [1]]


def test_the_poolings_are_what_they_are_called(embedder: Make) -> None:
    text = "abcdefg"
    mean, cls, last, most, root = (
        embedder(pooling=kind).embed(text)
        for kind in ("mean", "cls", "last", "max", "mean_sqrt_len")
    )
    assert cls.tobytes() == embedder(pooling="last").embed("a").tobytes()
    assert np.allclose(root, mean * np.sqrt(7), rtol=1e-6)
    assert (most >= mean).all() and (most >= last).all() and (most >= cls).all()
    assert not np.array_equal(last, cls)


def test_logits_are_not_summed(tiny: Model) -> None:
    program = tiny._engine.tokens
    with program.session() as session, pytest.raises(InvalidRequest, match=r"rows\[0\].*a sum"):
        program.step([Row(session, [1, 2], "sum")])


@pytest.mark.fault("F39")
def test_one_text_gives_one_vector_and_a_list_as_many_as_it_has(tiny: Model) -> None:
    ids = tiny.tokenize("Hello")
    assert tiny.embed("Hello").shape == tiny.embed(ids).shape == (64,)
    assert tiny.embed(np.array(ids)).tobytes() == tiny.embed("Hello").tobytes()
    assert tiny.embed(["Hello"]).shape == tiny.embed([ids]).shape == (1, 64)
    assert tiny.embed([]).shape == tiny.embed(iter([])).shape == (0, 64)
    assert tiny.embed(("Hello", ids)).tokens == (5, 5)


@pytest.mark.fault("F39")
def test_what_has_no_token_is_the_zero_vector(tiny: Model) -> None:
    made = tiny.embed(["", [], "a"], normalize=True)
    assert made.tokens == (0, 0, 1)
    assert not made[:2].any() and np.isclose(np.linalg.norm(made[2]), 1)


@pytest.mark.fault("F29")
def test_half_a_character_is_read_as_the_replacement_character(tiny: Model) -> None:
    assert tiny.embed("a\udc80").tobytes() == tiny.embed("a\ufffd").tobytes()


def test_vectors_say_what_they_were_made_of(embedder: Make) -> None:
    made = embedder().embed(["a" * 50, "ab", "c" * 40], truncate=True)
    assert (made.tokens, made.truncated) == ((40, 2, 40), (0,))
    again = pickle.loads(pickle.dumps(made))
    assert (again.tokens, again.truncated) == (made.tokens, made.truncated)
    assert again.tobytes() == made.tobytes()
    assert made[0].tokens == (made + 1).tokens == ()
    assert embedder().embed("a" * 50, truncate=True).truncated == (0,)


@pytest.mark.fault("F39")
def test_a_text_over_the_limit_is_an_error_that_names_it(embedder: Make) -> None:
    model = embedder()
    assert model.embedding_max_tokens == 40
    with pytest.raises(ContextLengthExceeded, match=r"texts\[2\] has 41 tokens, 1 more") as caught:
        model.embed(["a" * 40, "b", "c" * 41])
    assert (caught.value.prompt_tokens, caught.value.limit) == (41, 40)
    assert "truncate=True" in str(caught.value)
    with pytest.raises(ContextLengthExceeded, match=r"text has 41 tokens"):
        model.embed("a" * 41)
    cut = model.embed("ab" * 500, truncate=True)
    assert cut.tobytes() == model.embed("ab" * 20).tobytes()


@pytest.mark.fault("F39")
def test_a_text_of_megabytes_is_refused_or_cut_like_any_other(tiny: Model) -> None:
    long = "a " * (3 << 20)
    with pytest.raises(ContextLengthExceeded, match="text has at least "):
        tiny.embed(long)
    made = tiny.embed([long], truncate=True)
    assert made.truncated == (0,) and made.tobytes() == tiny.embed("a " * 256).tobytes()


def test_a_text_that_is_long_only_in_characters_is_read_whole(embedder: Make) -> None:
    space = embedder().tokenize(" ")
    model = embedder(skip_tokens=space)
    assert model.embed("a" + " " * 50_000 + "b").tobytes() == model.embed("ab").tobytes()


@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be a string, a list of strings"),
        (5, "got int"),
        (b"bytes", "got bytes"),
        ({"a": 1}, "got dict"),
        (["a", None], r"texts\[1\] must be a string or a list of token ids, got NoneType"),
        (["a", 5], r"texts\[1\] must be a string or a list of token ids, got int"),
        (["a", b"b"], r"texts\[1\] .* got bytes"),
        ([[300]], r"texts\[0\]\[0\] must be an integer from 0 to 299, got 300"),
        ([["a"]], r"texts\[0\]\[0\] must be an integer"),
        ([[-1]], "got -1"),
        ([1, 2, 3.5], r"text\[2\] must be an integer"),
        (np.array(5), "got ndarray"),
        (["a", np.array(5)], r"texts\[1\] must be a string or a list of token ids, got ndarray"),
    ],
)
def test_what_is_no_text_is_named(tiny: Model, texts: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        tiny.embed(texts)


OPTIONS: dict[str, tuple[dict[str, Any], Any]] = {
    # Settings that it needs, and a value that changes the vectors of "ab".
    "prompt": ({"prompts": {"query": "search: "}}, "query"),
    "dimensions": ({"matryoshka": [16, 64]}, 16),
    "normalize": ({}, True),
}
"""`batch_size`, `truncate` and `progress` change no vector; they have tests of their own."""


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_the_vectors(embedder: Make, name: str) -> None:
    settings, value = OPTIONS[name]
    model = embedder(**settings)
    assert not np.array_equal(model.embed("ab"), model.embed("ab", **{name: value}))


def test_every_option_has_an_effect() -> None:
    from cactus.embed.options import EmbedOptions

    assert {*OPTIONS, "batch_size", "truncate"} == set(EmbedOptions.__annotations__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer from 1"),
        ({"batch_size": True}, "batch_size"),
        ({"prompt": "nothing"}, "prompt must be one of 'query', 'document', got 'nothing'"),
        ({"prompt": 3}, "prompt must be a name"),
        ({"dimensions": 32}, "dimensions must be 64, got 32: .* not trained"),
        ({"normalize": 1}, "normalize must be True or False"),
        ({"truncate": None}, "truncate must be True or False"),
        ({"normalise": True}, "unknown option 'normalise': did you mean normalize?"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    tiny: Model, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        tiny.embed("a", **options)


def test_prompts_come_before_the_text(embedder: Make) -> None:
    model = embedder(prompts={"query": "q: ", "passage": "p: "}, default_prompt="passage")
    raw = {text: model.embed(text, prompt="").tobytes() for text in ("a", "q: a", "p: a")}
    assert model.embed("a", prompt="query").tobytes() == raw["q: a"]
    assert model.embed("a", prompt="document").tobytes() == raw["p: a"], "as some call it"
    assert model.embed("a").tobytes() == raw["p: a"], "the default"
    assert model.embed(model.tokenize("a")).tobytes() == raw["a"], "ids are taken as they are"
    with pytest.raises(InvalidRequest, match=r"texts\[0\] are token ids"):
        model.embed([[5]], prompt="query")


def test_models_that_know_no_prompts_take_both_kinds(tiny: Model) -> None:
    assert tiny.embed("a", prompt="query").tobytes() == tiny.embed("a").tobytes()
    assert tiny.embed("a", prompt="document").tobytes() == tiny.embed("a").tobytes()


def test_vectors_are_cut_and_then_normalised(embedder: Make) -> None:
    model = embedder(matryoshka=[64, 16, 32], normalize=True)
    whole, cut = model.embed("ab", normalize=False), model.embed("ab", dimensions=20)
    assert cut.shape == (20,)
    assert np.allclose(cut, whole[:20] / np.linalg.norm(whole[:20]), rtol=1e-6)
    for wrong in (15, 65, "16", 16.0):
        with pytest.raises(InvalidRequest, match="dimensions must be an integer from 16 to 64"):
            model.embed("ab", dimensions=wrong)  # type: ignore[arg-type]


def test_case_and_white_space_as_the_checkpoint_has_them(embedder: Make, tiny: Model) -> None:
    assert embedder(lower_case=True).embed(" AB\n").tobytes() == tiny.embed("ab").tobytes()
    assert embedder(strip=False).embed(" AB\n").tobytes() == tiny.embed(" AB\n").tobytes()
    skipping = embedder(skip_tokens=tiny.tokenize("b"))
    assert skipping.embed("abba").tobytes() == tiny.embed("aa").tobytes()


def test_any_iterator_of_texts_is_read_as_it_comes(tiny: Model) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for read in range(1, 3001):
            yield "ab" * (read % 7)

    done: list[tuple[int, int, int]] = []

    def progress(label: str, count: int, total: int) -> None:
        done.append((count, read, total))

    made = tiny.embed(texts(), progress=progress)
    assert made.shape == (3000, 64) and len(made.tokens) == 3000
    assert done[-1] == (3000, 3000, 0)
    assert max(ahead - count for count, ahead, _ in done) <= steps.AHEAD
    assert made[:7].tobytes() == made[7:14].tobytes()


def test_progress_is_told_how_many_of_how_many(tiny: Model) -> None:
    told: list[tuple[str, int, int]] = []
    tiny.embed(["a" * 200] * 5, progress=lambda *step: told.append(step))
    assert told == [("embedding", n, 5) for n in range(1, 6)]


def test_what_the_callers_iterator_raises_arrives_as_it_was(tiny: Model) -> None:
    def texts() -> Iterator[str]:
        yield from ["a" * 200] * 20
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        tiny.embed(texts())
    assert tiny.embed(["a"] * 3).shape == (3, 64)


def test_what_progress_raises_ends_the_call(tiny: Model) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny.embed(["a"] * 5, progress=fail)
    assert tiny.embed("a").shape == (64,)


def test_a_call_that_is_stopped_ends_with_cancelled(tiny: Model) -> None:
    with pytest.raises(Cancelled):
        tiny.embed(["a" * 200] * 50, progress=lambda *_: tiny.stop())
    assert tiny.embed("a").shape == (64,)


def test_a_model_that_is_closed_meanwhile_cancels(tiny_model: Path) -> None:
    model, began = Model(tiny_model, threads=1), threading.Event()
    seen: list[BaseException] = []

    def work() -> None:
        try:
            model.embed(("a" * 200 for _ in range(10**9)), progress=lambda *_: began.set())
        except BaseException as error:
            seen.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert began.wait(30)
    model.close()
    thread.join(30)
    assert [type(error) for error in seen] == [Cancelled]
    with pytest.raises(ModelClosed):
        model.embed("a")


def test_async_is_the_same_and_can_be_cancelled(tiny: Model) -> None:
    async def go() -> None:
        assert (await tiny.aembed("ab")).tobytes() == tiny.embed("ab").tobytes()
        began = asyncio.Event()
        endless = ("a" * 200 for _ in range(10**9))
        work = tiny.aembed(endless, progress=lambda *_: began.set())
        task = asyncio.create_task(work)
        await asyncio.wait_for(began.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await tiny.aembed("a")).shape == (64,)

    asyncio.run(go())


def test_threads_get_the_vectors_that_they_would_get_alone(tiny: Model) -> None:
    alone = tiny.embed(TEXTS).tobytes()
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(tiny.embed(TEXTS).tobytes()), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [alone] * 4


def test_a_speech_model_says_which_models_embed_text(speech_folder: Path) -> None:
    with Model(speech_folder, threads=1) as model:
        with pytest.raises(UnsupportedModel, match=r"cannot embed text.*; models that embed text:"):
            model.embed("a")
        with pytest.raises(UnsupportedModel):
            _ = model.embedding_dimensions


HELLO = [{"role": "user", "content": "Hello there, how are you?"}]


def test_embedding_in_the_middle_of_a_conversation_changes_nothing_in_it(tiny_model: Path) -> None:
    def talk(between: Callable[[Model], object]) -> list[Any]:
        with Model(tiny_model, threads=1) as model:
            first = model.chat(HELLO, max_tokens=20)
            between(model)
            turns = [*HELLO, first.message, {"role": "user", "content": "And now?"}]
            second = model.chat(turns, max_tokens=20)
            read = (second.metrics.prefill_tokens, second.metrics.cached_tokens)
            return [read, first.tokens, second.tokens, second.logprobs]

    quiet = talk(lambda model: None)
    assert quiet[0][1] > 40, "the first turn is remembered"
    assert talk(lambda model: model.embed(["Hello there", "x" * 300])) == quiet


def test_embedding_while_a_stream_is_open_changes_nothing_in_it(tiny_model: Path) -> None:
    with Model(tiny_model, threads=1) as model:
        alone = model.chat(HELLO, max_tokens=30).tokens
        vector = model.embed("Hello there").tobytes()
        model.reset()
        with model.stream(HELLO, max_tokens=30) as stream:
            for number, _ in enumerate(stream):
                if number % 5 == 0:
                    assert model.embed("Hello there").tobytes() == vector
        assert stream.completion.tokens == alone


def test_a_chat_has_its_turn_while_many_texts_are_embedded(tiny: Model) -> None:
    answers: list[str] = []

    def ask(label: str, done: int, total: int) -> None:
        if done == 2:  # from within the call: the engine is free between two steps
            answers.append(str(tiny.chat(HELLO, max_tokens=3)))

    made = tiny.embed(["a" * 200] * 4, progress=ask)
    assert len(answers) == 1 and made.tobytes() == tiny.embed(["a" * 200] * 4).tobytes()
