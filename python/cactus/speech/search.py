"""The text of one window of 30 seconds: greedy, by sampling, or by beam search.

Several candidates are rows of one step, each with a session of its own that shares what it can. A
search yields what it wants to feed, so that whoever drives it may make one step of several.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cactus.calls.stop_flag import StopFlag
from cactus.calls.stopwatch import Stopwatch
from cactus.errors import InvalidRequest
from cactus.graph.step import Row
from cactus.native import Program, Session
from cactus.speech.rules import Logits, Rules
from cactus.speech.vocabulary import Vocabulary

T = TypeVar("T")
Fed = list[tuple[Session, list[int]]]
"""Tokens that sessions go on with; of each the logits behind its last one are wanted."""
Work = Generator[Fed, list[Logits], T]
"""What asks for the logits of what it yields, until it returns."""

GROUP = 64
"""Logits that are compared as one while the largest are looked for."""


@dataclass(frozen=True)
class Answer:
    """What one search found: ids without the end of text, and the sum of their log-probabilities.

    ``total`` includes that of the end of text, ``logprobs`` are those of ``tokens`` alone, 0 of
    those that were given; ``no_speech`` is the probability that nobody speaks.
    """

    tokens: list[int]
    total: float
    no_speech: float
    temperature: float
    logprobs: list[float] = field(default_factory=list)

    @property
    def average(self) -> float:
        """Log-probability a token, the end of text counted."""
        return self.total / (len(self.tokens) + 1)


class _Found(NamedTuple):
    tokens: list[int]
    total: float
    logprobs: list[float]


@dataclass
class _Candidate:
    session: Session
    tokens: list[int]
    total: float
    logprobs: list[float]

    @property
    def found(self) -> _Found:
        return _Found(self.tokens, self.total, self.logprobs)


class Search:
    """Searches on one decoder program; Cancelled once ``stop`` is set.

    ``first_token_after``: seconds on the watch when the first choice of all could be made.
    """

    def __init__(
        self,
        program: Program,
        vocabulary: Vocabulary,
        stop: StopFlag | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self.program, self.vocabulary, self.stop = (
            program,
            vocabulary,
            StopFlag() if stop is None else stop,
        )
        self.first_token_after: float | None = None
        self._watch = watch or Stopwatch()

    def step(self, fed: Fed) -> list[Logits]:
        """What may follow what is fed, in one step: logits f32 [vocab_size] of each session."""
        outputs = self.program.step([Row(*each) for each in fed], want_logits=True, stop=self.stop)
        return [output.logits for output in outputs if output.logits is not None]

    def alone(self, work: Work[T]) -> T:
        """The result of work that shares its steps with no other."""
        try:
            fed = next(work)
            while True:
                fed = work.send(self.step(fed))
        except StopIteration as end:
            result: T = end.value
            return result

    def detect_language(self, session: Session) -> Work[dict[str, float]]:
        """The probability of each language of what the session's memory holds."""
        session.truncate(0)
        (logits,) = yield [(session, [self.vocabulary.start])]
        codes = list(self.vocabulary.languages)
        chances = softmax(logits[[self.vocabulary.languages[code] for code in codes]])
        return dict(zip(codes, map(float, chances), strict=True))

    def run(
        self,
        session: Session,
        prompt: Sequence[int],
        rules: Rules,
        *,
        beams: int = 1,
        temperature: float = 0.0,
        best_of: int = 1,
        patience: float = 1.0,
        length_penalty: float = 1.0,
        max_tokens: int | None = None,
        seed: int = 0,
        begins_with: Sequence[int] = (),
    ) -> Work[Answer]:
        """The best answer to ``prompt`` for the memory of ``session``, whose tokens are forgotten.

        With a temperature ``best_of`` samples are drawn, each by a generator of its own, else
        ``beams`` are searched. Answers are compared by their log-probability over their length to
        the ``length_penalty``. ``begins_with``: the first tokens of every
        answer, which count as certain.
        """
        room = self.program.context_length - len(prompt)
        if room <= len(begins_with):
            raise InvalidRequest(
                f"the prompt has {len(prompt)} tokens, the decoder takes "
                f"{self.program.context_length}; shorten it"
            )
        # Half of the context at most, as the models were trained: the rest is for the past.
        most = min(room, max_tokens or self.program.context_length // 2)
        session.truncate(0)
        at = prompt.index(self.vocabulary.start) + 1
        (first,) = yield [(session, list(prompt[:at]))]
        no_speech = self.vocabulary.no_speech
        silence = 0.0 if no_speech is None else float(softmax(first)[no_speech])
        rest = [*prompt[at:], *begins_with]
        if rest:
            (first,) = yield [(session, rest)]
        if self.first_token_after is None:
            self.first_token_after = self._watch.seconds
        given = (rules, most, begins_with)
        if temperature > 0:
            choices = [_Draw(temperature, [seed, number]) for number in range(best_of)]
            found = yield from self._samples(session, first, choices, *given)
        elif beams > 1:
            found = yield from self._beams(session, first, beams, patience, *given)
        else:
            found = yield from self._samples(session, first, [_likeliest], *given)
        best = max(found, key=lambda each: _score(each, length_penalty, len(begins_with)))
        return Answer(best.tokens, best.total, silence, temperature, best.logprobs)

    def _samples(
        self,
        session: Session,
        first: Logits,
        choices: Sequence[Callable[[Logits], int]],
        rules: Rules,
        most: int,
        begins_with: Sequence[int],
    ) -> Work[list[_Found]]:
        """An answer by each of ``choices``, a token of all of them at a time."""
        sessions = [session, *(session.fork() for _ in choices[1:])]
        made = [_begin(each, begins_with) for each in sessions]
        live = list(zip(made, choices, strict=True))
        logits: Sequence[Logits] = [first.copy() for _ in live]
        while live:
            going = []
            for (candidate, choose), row in zip(live, logits, strict=True):
                rules.apply(row, candidate.tokens)
                token = choose(row)
                logprob = float(row[token]) - log_sum(row)
                candidate.total += logprob
                if token == self.vocabulary.end:
                    continue
                candidate.tokens.append(token)
                candidate.logprobs.append(logprob)
                if len(candidate.tokens) < most:
                    going.append((candidate, choose))
            live = going
            if live:
                logits = yield [(each.session, each.tokens[-1:]) for each, _ in live]
        return [each.found for each in made]

    def _beams(
        self,
        session: Session,
        first: Logits,
        beams: int,
        patience: float,
        rules: Rules,
        most: int,
        begins_with: Sequence[int],
    ) -> Work[list[_Found]]:
        end = self.vocabulary.end
        finished: list[_Found] = []
        enough = max(1, round(beams * patience))
        live = [_begin(session, begins_with)]
        logits: Sequence[Logits] = [first]
        for _ in range(most - len(begins_with)):
            ranked: list[_Choice] = []
            for index, (candidate, row) in enumerate(zip(live, logits, strict=True)):
                rules.apply(row, candidate.tokens)
                norm = log_sum(row)
                for token in largest(row, beams + 1):
                    if row[token] > -np.inf:
                        total = candidate.total + float(row[token]) - norm
                        ranked.append((total, index, token, float(row[token]) - norm))
            ranked.sort(key=lambda each: -each[0])
            chosen: list[_Choice] = []
            for total, index, token, logprob in ranked:
                if token == end:
                    if len(finished) < enough:
                        finished.append(live[index].found._replace(total=total))
                    continue
                chosen.append((total, index, token, logprob))
                if len(chosen) == beams:
                    break
            if len(finished) >= enough or not chosen:
                break
            live = _descend(live, chosen)
            logits = yield [(each.session, each.tokens[-1:]) for each in live]
        if len(finished) < enough:
            finished += [each.found for each in live]
        return finished


def _begin(session: Session, given: Sequence[int]) -> _Candidate:
    return _Candidate(session, list(given), 0.0, [0.0] * len(given))


_Choice = tuple[float, int, int, float]
"""A total, the place of the candidate that it goes on from, a token, and its log-probability."""


def _descend(live: list[_Candidate], chosen: list[_Choice]) -> list[_Candidate]:
    """The next generation: the first child of a candidate takes its session, others a copy."""
    taken: set[int] = set()
    children = []
    for total, index, token, logprob in chosen:
        parent = live[index]
        session = parent.session.fork() if index in taken else parent.session
        taken.add(index)
        said = [*parent.logprobs, logprob]
        children.append(_Candidate(session, [*parent.tokens, token], total, said))
    return children


class _Draw:
    """Choices at random, by the probabilities at a temperature."""

    def __init__(self, temperature: float, seed: Sequence[int]) -> None:
        self._temperature = np.float32(temperature)
        self._random = np.random.default_rng(seed)

    def __call__(self, logits: Logits) -> int:
        powers = np.exp((logits - logits.max()) / self._temperature)
        sums = np.cumsum(powers, dtype=np.float64)
        return int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))


def _likeliest(logits: Logits) -> int:
    return int(logits.argmax())


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x) / sum(exp(x)) along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def log_sum(logits: NDArray[np.float32]) -> float:
    """log(sum(exp(x))) of a vector."""
    most = float(logits.max())
    return most + float(np.log(np.exp(logits - np.float32(most)).sum()))


def compression_ratio(text: str) -> float:
    """Bytes of a text over those of its zlib form: large where it repeats itself.

    Blanks at its ends do not count, as in the published implementation.
    """
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def largest(row: Logits, count: int) -> list[int]:
    """The ids of the largest logits, the largest first, the lower id on ties.

    None of them is in a group whose maximum ``count`` others exceed: only the others are sorted.
    """
    groups = len(row) // GROUP
    if count >= groups:
        ids = np.arange(len(row))
    else:
        tops = row[: GROUP * groups].reshape(GROUP, groups).max(axis=0)
        high = np.flatnonzero(tops >= np.partition(tops, -count)[-count])
        grouped = (np.arange(GROUP)[:, None] * groups + high).ravel()
        ids = np.concatenate((grouped, np.arange(GROUP * groups, len(row))))
    best = ids[np.lexsort((ids, -row[ids]))]
    return [int(id) for id in best[:count]]


def _score(found: _Found, length_penalty: float, given: int) -> float:
    tokens, total, _ = found
    # What all begin with is left out: counted, it would favour the one that ends first.
    return float(total / max(1, len(tokens) - given) ** length_penalty)
