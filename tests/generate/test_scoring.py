"""How probable the tokens of a text are: by the logits themselves, and as the model writes."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus import Model
from cactus.cli.perplexity import log_softmax
from cactus.errors import Cancelled, ContextLengthExceeded, InvalidRequest
from cactus.generate import scoring
from cactus.native import Row

TEXT = "Once upon a time there was a cactus. " * 5


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model, threads=1) as model:
        yield model


def test_scores_are_those_of_the_logits(model: Model) -> None:
    ids = model.tokenize(TEXT)
    assert len(ids) > 2 * scoring.ROWS  # several steps, the last of which is not full
    found = model.score(ids, top_logprobs=3)
    assert [each.token_id for each in found] == ids
    assert b"".join(each.bytes for each in found).decode() == TEXT
    assert math.isnan(found[0].logprob) and found[0].top == ()
    program = model._engine.tokens
    with program.session() as session:
        outputs = program.step([Row(session, ids[:-1], "all")], want_logits=True)
    logits = log_softmax(np.stack([each.logits for each in outputs if each.logits is not None]))
    for here, expected in zip(found[1:], logits, strict=True):
        assert here.logprob == pytest.approx(float(expected[here.token_id]), abs=1e-5)
        likeliest = np.argsort(-expected, kind="stable")[:3]
        assert [each.token_id for each in here.top] == likeliest.tolist()


def test_what_the_model_writes_has_the_scores_that_it_was_written_with(model: Model) -> None:
    answer = model.complete(TEXT[:40], max_tokens=24, logprobs=True, top_logprobs=2)
    assert answer.token_logprobs is not None
    written = [each.token_id for each in answer.token_logprobs]
    found = model.score([*model.tokenize(TEXT[:40]), *written], top_logprobs=2)
    assert found[-len(written) :] == list(answer.token_logprobs)  # to the last bit
    for each in found[-len(written) :]:  # greedy: how lm-evaluation-harness sees that it is
        assert each.logprob == max(other.logprob for other in each.top)


def test_what_was_scored_need_not_be_read_again(model: Model) -> None:
    model.reset()
    alone = model.complete(TEXT, max_tokens=4)
    model.reset()
    model.score(TEXT)
    after = model.complete(TEXT, max_tokens=4)
    assert (alone.metrics.cached_tokens, after.metrics.prefill_tokens) == (0, 1)
    assert (after.text, after.logprobs) == (alone.text, alone.logprobs)


def test_one_token_has_nothing_before_it(model: Model) -> None:
    (only,) = model.score(model.tokenize("a"))
    assert only.text == "a" and math.isnan(only.logprob)


def test_what_cannot_be_scored_is_refused(model: Model) -> None:
    with pytest.raises(InvalidRequest, match="prompt is empty"):
        model.score("")
    with pytest.raises(InvalidRequest, match=r"prompt\[1\]"):
        model.score([1, 1 << 30])
    with pytest.raises(InvalidRequest, match="top_logprobs"):
        model.score("a", top_logprobs=21)
    with pytest.raises(ContextLengthExceeded, match="the prompt has"):
        model.score("a" * (model.context_length + 1))


def test_a_stop_ends_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on, step = threading.Event(), threading.Event(), scoring._step

    def slowly(*given: object) -> object:
        reached.set()
        assert go_on.wait(60)
        return step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "_step", slowly)

    async def cancelled() -> None:
        task = asyncio.ensure_future(model.ascore(TEXT))
        assert await asyncio.to_thread(reached.wait, 60)
        model.stop()
        go_on.set()
        with pytest.raises(Cancelled):
            await task

    asyncio.run(cancelled())
    monkeypatch.undo()
    assert len(model.score(TEXT)) == len(model.tokenize(TEXT))  # it is free for others
