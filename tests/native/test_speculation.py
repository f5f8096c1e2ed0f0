"""Speculation on native programs: the same tokens, logarithms and entropies, in fewer steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from cactus.engine.costs import StepCosts
from cactus.generate.loop import Progress
from cactus.generate.prefix import CachedSession
from cactus.generate.speculation import Speculation, worthwhile
from cactus.native import Output, Program, Row, Sampler
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.programs import DECODERS

COUNT = 200


class Free(StepCosts):
    """More rows cost nothing: whatever can be guessed is guessed."""

    def of(self, rows: int) -> float:
        return 1.0


class Recorder:
    """A program that counts how many guesses its steps had, and how many of them were right."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.chunk = program.chunk
        self.vocab_size = program.vocab_size
        self.outcomes: Counter[str] = Counter()
        self.steps = 0

    def step(self, rows: Sequence[Row]) -> list[Output]:
        outputs = self._program.step(rows)
        self.steps += 1
        (row,) = rows
        if row.outputs == "all":
            guesses = list(row.tokens[1:])
            said = [output.token for output in outputs]
            right = 0
            while right < len(guesses) and guesses[right] == said[right]:
                right += 1
            kind = "all" if right == len(guesses) else "none" if right == 0 else "some"
            self.outcomes[kind] += 1
        return outputs


@pytest.fixture(params=DECODERS, ids="-".join)
def program(request: pytest.FixtureRequest, packed: Packed) -> Iterator[Program]:
    name, dtype = request.param
    graph = programs.fused(golden.load(name).graph, dtype)
    with programs.load(graph, packed(name, dtype), threads=2) as program:
        yield program


def answer(
    program: Any,
    conversation: CachedSession[Any],
    prompt: list[int],
    guess: Speculation | None,
    **sampling: Any,
) -> list[tuple[int, float, float]]:
    """`COUNT` outputs after `prompt`."""
    conversation.rewind(prompt)
    with Sampler(**sampling) as sampler:
        progress = Progress(Row, prompt, sampler, guess)
        progress.conversation = conversation
        found: list[Output] = []
        while len(found) < COUNT:
            room = program.chunk - 1 if progress.behind == 1 else 0
            (guesses,) = worthwhile([guess], room, Free()) if guess else (0,)
            taken = progress.take(program.step([progress.row(program.chunk, guesses)]))
            found += [each.output for each in taken]
        return [(output.token, output.logprob, output.entropy) for output in found[:COUNT]]


def almost(tokens: list[int], vocabulary: int) -> list[int]:
    """Every 19th token is another one, and after every 50th one is missing."""
    changed = [(t + 1) % vocabulary if n % 19 == 18 else t for n, t in enumerate(tokens)]
    return [token for n, token in enumerate(changed) if n % 50 != 49]


@pytest.mark.parametrize("length", [3, 100, 250, 400])
def test_every_bit_is_that_of_the_plain_answer(program: Program, length: int) -> None:
    # A random model quotes nothing, so what it will say is what it is said to have seen.
    prompt = np.random.default_rng(length).integers(0, program.vocab_size, length).tolist()
    plain = answer(program, CachedSession(program.session()), prompt, None)
    said = [token for token, _, _ in plain]
    seen = [*prompt[-3:], *almost(said, program.vocab_size), *prompt]
    recorder = Recorder(program)
    conversation = CachedSession(program.session())
    assert answer(recorder, conversation, prompt, Speculation(seen, COUNT)) == plain
    assert recorder.steps < COUNT * 2 / 3
    assert min(recorder.outcomes[kind] for kind in ("all", "some", "none")) > 0
    # The cache is what it would be without: the next turn says the same.
    longer = [*prompt, *said[: COUNT // 2], *prompt[:7]]
    again = answer(program, conversation, longer, None)
    assert again == answer(program, CachedSession(program.session()), longer, None)


def test_what_is_drawn_at_a_temperature_is_the_same_with_guesses(program: Program) -> None:
    sampling: dict[str, Any] = {
        "temperature": 0.9,
        "top_p": 0.95,
        "logit_bias": {3: -2.0},
        "seed": 5,
    }
    prompt = np.random.default_rng(1).integers(0, program.vocab_size, 40).tolist()
    plain = answer(program, CachedSession(program.session()), prompt, None, **sampling)
    said = [token for token, _, _ in plain]
    seen = [*prompt[-3:], *almost(said, program.vocab_size), *prompt]
    recorder = Recorder(program)
    guess, conversation = Speculation(seen, COUNT), CachedSession(program.session())
    assert answer(recorder, conversation, prompt, guess, **sampling) == plain
    assert recorder.steps < COUNT * 2 / 3
    assert min(recorder.outcomes[kind] for kind in ("all", "some", "none")) > 0
