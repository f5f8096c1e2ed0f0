"""A draft model guesses for the answers of a batch, where that is measured to pay.

Before a step that only writes, the draft may write a few tokens on for some of the answers. How
many is decided token by token: by the measured time of both models' steps, and by how likely what
was drafted so far is right. Nothing depends on it but time: a draft that fails drafts no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cactus.engine.costs import MOST
from cactus.errors import CactusError, Cancelled, InsufficientMemory, ModelClosed
from cactus.generate.conversations import Conversations
from cactus.generate.drafting import Drafting, Trust

if TYPE_CHECKING:
    from cactus.calls.turns import Call
    from cactus.engine.contract import Sampling
    from cactus.engine.loaded import Loaded

FEWEST = 16
"""Tokens of a prompt that are read at once, at least, however long that takes."""

LONGEST_GAP = 0.030
"""Seconds that reading may take while others write."""

DEEPEST = 8
"""For so many tokens in a row at most it is computed beforehand whether they pay."""

MOST_ANSWERS = 16
"""Of more answers in a step none is drafted for: their rows cost as much as the guesses win."""

LIKELY = 0.6
"""Where what was looked up is right more often, nothing is tried out."""

GAIN = 1.04
"""How much faster steps with drafted guesses must promise to be."""

LITTLE = 8
"""So many tokens are read together with the next that is drafted; more of them before, if what they
cost will come back."""

AHEAD = 64
"""An answer is taken to go on for as many tokens as it has, and for these at least."""

RATIO = 0.3
"""A step of the draft, in steps of the model, where neither was measured nor says what it reads."""

ROW = 0.15
"""A further row of the draft's prompt, in its steps, before it has been measured."""

PLAIN_EVERY = 32
"""One of so many steps is without drafts: the time of that is what others are compared with. Four
times as many are, until two of so many have been made."""


class Guesses(Protocol):
    """The guesses for one answer, drafted ones and others."""

    drafting: Drafting | None

    def looked_up(self, room: int, /) -> list[float]:
        """Of each token that could be looked up, how likely it and those before it are right."""
        ...


class Plan(NamedTuple):
    """For how many answers tokens are drafted, and the tokens in a plain step's time that gives."""

    answers: int
    rate: float


class Draft:
    """The draft of a model, and its sessions in step with the model's."""

    def __init__(self, engine: Loaded, draft: Loaded) -> None:
        self._engine, self._draft = engine, draft
        self.conversations = Conversations(draft, draft.cache_bytes)
        self._trust = {greedy: Trust() for greedy in (False, True)}
        own, other = _weight_bytes(draft), _weight_bytes(engine)
        self._ratio = own / other if own and other else RATIO
        self._ends = engine.end_tokens
        self._row = ROW
        self._steps = 0
        self._closed = False
        self._open: list[Drafting] = []  # those that have a session

    def open(self, ids: list[int], limit: int, sampling: Sampling, call: Call) -> Drafting:
        """What belongs to one answer of at most `limit` tokens, which `close` must end."""
        trust = self._trust[sampling.temperature == 0]
        limit = min(limit, self._draft.context_length - len(ids))
        return Drafting(ids, limit, sampling, call.flag, trust, call.tenant.memory)

    def close(self, drafting: Drafting, end: int, *, kept: bool) -> None:
        """An answer has ended, its text at `end`: its session is remembered, or closed."""
        drafting.off, drafting.chain = True, []
        conversation, drafting.conversation = drafting.conversation, None
        sampler, drafting.sampler = drafting.sampler, None
        if sampler is not None:
            sampler.close()
        with suppress(ValueError):
            self._open.remove(drafting)
        if conversation is None:
            return
        if kept:
            with suppress(CactusError):
                conversation.rewind(drafting.ids[:end])
                self.conversations.keep(conversation)
                return
        self.conversations.drop(conversation)

    def give_up(self) -> bool:
        """Free some memory: of what is remembered, else of an answer, which goes on without."""
        if self.conversations.give_up():
            return True
        for drafting in self._open:
            if drafting.conversation is not None:
                self.close(drafting, 0, kept=False)
                return True
        return False

    def free(self) -> None:
        """Close everything."""
        for drafting in list(self._open):
            self.close(drafting, 0, kept=False)
        self.conversations.free()

    # -- before a step

    def work(self, answers: Sequence[Guesses | None], room: int) -> float:
        """Draft for those of `answers`, all of which go on in the next step, where that pays.

        At most `room` guesses fit into the step. Returns what it took, in steps of the model.
        """
        if self._closed or len(answers) > MOST_ANSWERS:
            return 0.0
        self._steps += 1
        every = PLAIN_EVERY // 4 if self._steps < 2 * PLAIN_EVERY else PLAIN_EVERY
        if self._steps % every == 0:
            for answer in answers:
                if answer is not None and answer.drafting is not None:
                    answer.drafting.chain = []
            return 0.0
        count, costs = len(answers), self._engine.costs
        unit = self._unit
        row = (costs.of(count + 4) - costs.of(count)) / 4
        share = costs.of(count) / count
        found: list[Drafting] = []
        unsure: list[Drafting] = []  # of the next token, though some can be looked up
        for answer in answers:
            drafting = None if answer is None else answer.drafting
            if drafting is None or drafting.off or drafting.ended or drafting.most < 1:
                continue
            if drafting.known is None:
                drafting.known = self.conversations.known(drafting.ids, (), drafting.memory)
            looked = [] if answer is None else answer.looked_up(MOST)
            if not (looked and _is_better(looked, drafting.trust.mean, share, row, unit)):
                found.append(drafting)
            elif looked[0] < LIKELY:
                unsure.append(drafting)
        plain = count / costs.of(count)
        found.sort(key=lambda drafting: -drafting.trust.mean)
        plan = self._plan(count, found, room, unit) if found else Plan(0, 0.0)
        if plan.rate > GAIN * plain:
            saved = share * (1 - plain / plan.rate)
            chosen = self._read_up(found[: plan.answers], saved, unit, alone=count == 1)
        else:
            plan = Plan(1, plain)
            chosen = self._probed([*found, *unsure], unit + row, unit)
        return self._write(chosen, plan.rate, row, room, unit) if chosen else 0.0

    @property
    def _unit(self) -> float:
        """A step of the draft, in steps of the model."""
        own, other = self._draft.costs, self._engine.costs
        return own.one / other.one if own.settled and other.settled else self._ratio

    def _plan(self, count: int, found: Sequence[Drafting], room: int, unit: float) -> Plan:
        """What gives a step of `count` answers the most tokens in a given time."""
        own, costs = self._draft.costs, self._engine.costs
        held = [drafting.chances() for drafting in found]
        best = Plan(0, 0.0)
        size = 1
        while True:
            step = unit * own.of(size)
            powers = [chances[-1] if chances else 1.0 for chances in held[:size]]
            tokens = count + sum(map(sum, held[:size]))
            guesses = sum(map(len, held[:size]))
            for depth in range(1, DEEPEST + 1):
                guesses += size
                if guesses > room:
                    break
                powers = [p * one.trust.mean for p, one in zip(powers, found, strict=False)]
                tokens += sum(powers)
                rate = tokens / (depth * step + costs.of(count + guesses))
                if rate > best.rate:
                    best = Plan(size, rate)
            if size == len(found):
                return best
            size = min(2 * size, len(found))

    def _probed(self, found: Sequence[Drafting], once: float, unit: float) -> list[Drafting]:
        """One answer that may lose a little to find out whether drafts pay by now."""
        for drafting in found:
            cost = once + drafting.behind * unit * self._row
            if drafting.credit >= cost and not drafting.chain:
                drafting.credit -= cost
                while drafting.behind > LITTLE and self._reads(drafting, self._draft.program.chunk):
                    pass
                return [] if drafting.behind > LITTLE else [drafting]
        return []

    def _read_up(
        self, found: Sequence[Drafting], saved: float, unit: float, *, alone: bool
    ) -> list[Drafting]:
        """Those whose text the draft has read. It reads some of another's, if that will come back:
        `saved` is what a token of the answer takes less then."""
        ready = [drafting for drafting in found if drafting.behind <= LITTLE]
        for drafting in found:
            if drafting.behind <= LITTLE:
                continue
            ahead = min(drafting.left, max(AHEAD, drafting.answered))
            if saved * ahead < drafting.behind * unit * self._row:
                continue
            most = self._draft.program.chunk
            if not alone:
                one = self._draft.costs.one * self._row
                most = min(most, max(FEWEST, int(LONGEST_GAP / one))) if one else FEWEST
            if self._reads(drafting, most) and drafting.behind <= LITTLE:
                ready.append(drafting)
            break
        return ready

    def _reads(self, drafting: Drafting, most: int) -> bool:
        """Let the draft read at most `most` tokens of a text; whether it did."""
        if not self._begun(drafting):
            return False
        conversation = drafting.conversation
        assert conversation is not None
        piece = drafting.unread()[:-1][:most]
        began = time.perf_counter()
        if self._run([drafting], [piece], "none") is None:
            return False
        one = self._draft.costs.one
        if one and len(piece) >= FEWEST:
            row = (time.perf_counter() - began) / len(piece) / one
            self._row += (row - self._row) * 0.3
        return True

    def _write(
        self, chosen: list[Drafting], rate: float, row: float, room: int, unit: float
    ) -> float:
        """Draft until the next token is not worth its time; `rate` is what time is worth."""
        spent = 0.0
        room -= sum(len(drafting.chain) for drafting in self._open)
        active = [drafting for drafting in chosen if self._begun(drafting)]
        while active and room >= len(active):
            fed = [drafting.unread() for drafting in active]
            rows = sum(map(len, fed))
            began = time.perf_counter()
            outputs = self._run(active, fed, "last")
            if outputs is None:
                break
            self._draft.costs.record(rows, time.perf_counter() - began)
            step = unit * self._draft.costs.of(rows)
            spent += step
            room -= len(active)
            cost = step / len(active) + row
            going = []
            for drafting, output in zip(active, outputs, strict=True):
                if not math.isfinite(output.entropy):
                    self.close(drafting, 0, kept=False)
                elif output.token in self._ends:
                    drafting.ended = True
                elif output.token < self._engine.program.vocab_size:
                    drafting.add(output.token, math.exp(output.logprob))
                    chance = drafting.chances()[-1] * drafting.trust.mean
                    if chance > rate * cost and len(drafting.chain) < drafting.most:
                        going.append(drafting)
            active = going
        return spent

    def _begun(self, drafting: Drafting) -> bool:
        """See to it that the draft has a session of this text and of no other."""
        try:
            if drafting.conversation is None:
                running = [each.conversation for each in self._open if each.conversation]
                drafting.conversation = self.conversations.open(
                    drafting.ids, running, drafting.memory
                )
                self._open.append(drafting)
                drafting.sampler = self._draft.sampler(drafting.sampling, ())
            drafting.align()
        except CactusError as error:
            self._failed([drafting], error)
            return False
        return True

    def _run(
        self, answers: Sequence[Drafting], fed: Sequence[list[int]], outputs: str
    ) -> Sequence[Any] | None:
        """A step of the draft; None where it has failed, which is no error of the answers."""
        draft, rows = self._draft, []
        try:
            for drafting, tokens in zip(answers, fed, strict=True):
                conversation, sampler = drafting.conversation, drafting.sampler
                assert conversation is not None and sampler is not None
                if drafting.sampling.temperature > 0:
                    sampler.rewind(drafting.answered + len(drafting.chain))
                session, last = conversation.session, sampler if outputs == "last" else None
                rows.append(draft.row(session, tokens, outputs, last, stop=drafting.flag))
                # On record before it is there: where the step is interrupted, `align` finds out.
                conversation.fed(len(conversation.tokens), tokens)
            pending = draft.program.prepare(rows)
            pending.run()
            return pending.outputs()
        except CactusError as error:
            self._failed(answers, error)
            return None

    def _failed(self, answers: Sequence[Drafting], error: CactusError) -> None:
        if isinstance(error, Cancelled):
            return
        if isinstance(error, InsufficientMemory) and self.conversations.give_up():
            return
        self._closed = isinstance(error, ModelClosed)
        for drafting in answers:
            self.close(drafting, 0, kept=False)


def _is_better(looked: Sequence[float], mean: float, share: float, row: float, unit: float) -> bool:
    """Whether guesses of these chances, which cost no step of the draft, win more than drafted
    ones of which each is right with the chance `mean`."""
    best = drafted = 0.0
    tokens = 1.0
    for n, chance in enumerate(looked, 1):
        tokens += chance
        best = max(best, tokens / (share + n * row))
    tokens = chance = 1.0
    for n in range(1, DEEPEST + 1):
        chance *= mean
        tokens += chance
        drafted = max(drafted, tokens / (share + n * (row + unit)))
    return best >= drafted


def _weight_bytes(engine: Loaded) -> int:
    """The bytes of weights that a step reads, by which it is judged before it is measured."""
    if not engine.plan:
        return 0
    work = engine.work()
    return work.rows.weight_bytes + work.outputs.weight_bytes
