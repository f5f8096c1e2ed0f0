"""Many conversations in the native core: every answer has the bits that it has alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.calls.turns import Call, Turns
from cactus.engine.loaded import Loaded
from cactus.errors import TemplateError
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.conversations import Conversations
from cactus.generate.generation import Generation
from cactus.generate.many import ManyRun
from cactus.generate.options import parse_options
from cactus.native import Row, Sampler
from cactus.types import Completion
from tests.generate.scripted import ByteTokenizer
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.programs import DECODERS


@pytest.fixture(params=DECODERS, ids="-".join)
def engine(request: pytest.FixtureRequest, packed: Packed) -> Iterator[Loaded]:
    name, dtype = request.param
    graph = programs.fused(golden.load(name).graph, dtype)
    tokenizer: Any = ByteTokenizer()
    with programs.load(graph, packed(name, dtype), threads=2, chunk=128) as program:
        only: Any = program
        yield Loaded(
            folder=Path("tiny"),
            name="tiny",
            architecture=name,
            abilities=("chat", "complete"),
            context_length=program.context_length,
            program=program,
            programs=only,
            tokenizer=tokenizer,
            template=TemplateError("none"),
            row=Row,
            make_sampler=Sampler,
        )


def prompts(vocabulary: int, shared: int) -> list[list[int]]:
    """From one token to over two pages, after a common beginning."""
    random = np.random.default_rng(1)
    beginning = random.integers(0, vocabulary, shared).tolist()
    lengths = [1, 300, 7, 2, 40, 31, 32, 33, 600, 5, 90]
    return [[*beginning, *random.integers(0, vocabulary, n).tolist()] for n in lengths]


def batch(engine: Loaded) -> Batch:
    """One that remembers nothing."""
    return Batch(engine, Turns(lambda: None), Conversations(engine, 0))


def alone(engine: Loaded, request: Request) -> Completion:
    return Generation(batch(engine), Call(), request).run()


OPTIONS = {
    "greedy": {"max_tokens": 40},
    "sampled": {"max_tokens": 12, "temperature": 1.5, "seed": 7, "presence_penalty": 1},
    "penalty": {"max_tokens": 12, "repetition_penalty": 1.7, "repetition_window": 300},
    "logprobs": {
        **{"max_tokens": 12, "repetition_penalty": 1.7},
        **{"logprobs": True, "top_logprobs": 3},
    },
}
# How a token is chosen does not depend on the type of the matrices.
CHOICES = [("llama", "q4"), ("lfm2", "q8"), ("gemma3_text", "q8")]
CASES = [
    (kind, name) for kind in DECODERS for name in OPTIONS if name == "greedy" or kind in CHOICES
]


@pytest.mark.parametrize("shared", [0, 20, 270])
@pytest.mark.parametrize(
    ("engine", "options"),
    [(kind, OPTIONS[name]) for kind, name in CASES],
    ids=["-".join((*kind, name)) for kind, name in CASES],
    indirect=["engine"],
)
def test_every_answer_has_the_bits_it_has_alone(
    engine: Loaded, shared: int, options: dict[str, Any]
) -> None:
    vocabulary = engine.program.vocab_size
    checked = parse_options(options, vocab_size=vocabulary)
    requests = [Request(prompt, checked) for prompt in prompts(vocabulary, shared)]
    results = ManyRun(batch(engine), Call(), requests, return_exceptions=False).run()
    for request, done in zip(requests, results, strict=True):
        expected = alone(engine, request)
        assert isinstance(done, Completion)
        assert (done.tokens, done.logprobs) == (expected.tokens, expected.logprobs)
        assert done.confidence == expected.confidence
        assert done.token_logprobs == expected.token_logprobs
        assert (done.text, done.finish_reason) == (expected.text, expected.finish_reason)


def test_conversations_that_alternate_keep_the_bits_and_what_was_read(engine: Loaded) -> None:
    vocabulary = engine.program.vocab_size
    options = parse_options({"max_tokens": 9}, vocab_size=vocabulary)
    random = np.random.default_rng(2)
    shared = random.integers(0, vocabulary, 300).tolist()
    talks = [[*shared, *random.integers(0, vocabulary, n).tolist()] for n in (40, 270)]
    together = Batch(engine, Turns(lambda: None), Conversations(engine, 1 << 30))
    for turn in range(4):
        for talk in talks:
            request = Request(list(talk), options)
            done = Generation(together, Call(), request).run()
            expected = alone(engine, request)
            assert (done.tokens, done.logprobs) == (expected.tokens, expected.logprobs)
            if turn:  # what was said last was never fed, and the question is new
                assert done.metrics.prefill_tokens == 1 + 5
            talk += [*done.tokens, *random.integers(0, vocabulary, 5).tolist()]
