"""Who gets how many rows of the next step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cactus.engine.costs import StepCosts
from cactus.generate.draft import Draft
from cactus.generate.lane import Lane
from cactus.generate.loop import Progress
from cactus.generate.speculation import may_pay, worthwhile
from cactus.generate.turn_taking import TurnTaking

LONGEST_GAP = 0.050
"""Seconds that a step may take which reads prompts while others write; but where a step that reads
nothing takes long itself, STEPS times as long as such a step."""

SHORT = 0.080
"""Seconds that a step may take which reads prompts of several requests while nobody writes, where
it cannot be broken: who leaves waits for its end."""

SHORT_STEPS = 40
"""So many steps are short after one that was broken, so that those who go on lose a tenth at most
by others that leave, however many these are."""

STEPS = 4

RUN = 0.030
"""Seconds that steps in a row may take without a look at what they gave: less than a reader sees,
and than whoever joins minds."""

FEW = 4
"""Of fewer answers at once it is looked before each step whether guesses pay: of more they seldom
do."""

WEIGHT = 0.3
"""Of a step in how many rows the next ones may have."""

FEWEST = 4
"""Rows of prompts in a step at least, however long it takes."""


class Part(NamedTuple):
    """A lane's part of a step: at most so many known tokens, and so many guesses."""

    lane: Lane
    most: int
    guesses: int = 0


class Schedule:
    """A row for each lane that writes; the rest of the step for those that read their prompts.

    While others are written, a step that reads may only take so long: how many rows that are is
    learned from the steps before. Where nobody writes, large steps read more in a second, and one
    is broken if somebody leaves meanwhile; what it has read is read again, in short steps. `most`
    lanes write in one step; if there are more, they take turns.
    """

    def __init__(self, chunk: int, most: int, costs: StepCosts) -> None:
        self._chunk, self._most, self._costs = chunk, most, costs
        self._beside, self._among = Portion(chunk), Portion(chunk)
        """What may be read beside writers, and among readers alone."""
        self._portion: Portion | None = None
        """Which of these the step keeps to that was made last."""
        self._short = 0  # steps that are to be short
        self._readers = TurnTaking()
        self._first = 0

    def parts(
        self,
        wanting: Sequence[Lane],
        bounds: Callable[[], Mapping[Lane, int]],
        *,
        guessing: bool,
        draft: Draft | None = None,
    ) -> list[Part]:
        """The next step of those that want one; nobody reads beyond its bound in this step.

        `draft` makes guesses for those that write, where nobody reads.
        """
        writers: list[Lane] = []
        readers: list[Lane] = []
        for lane in wanting:
            (readers if lane.progress.behind > 1 else writers).append(lane)
        most = min(self._most, self._chunk - bool(readers))
        if len(writers) > most:  # those that are left out begin the next step
            first = self._first % len(writers)
            self._first = first + most
            writers = [*writers[first:], *writers[:first]][:most]
        room = self._chunk - len(writers)
        if not readers:
            return self._only_writing(writers, room if guessing else 0, draft)
        self._portion = None
        if _others(writers, readers):
            if writers:
                self._portion = self._beside
            elif self._short:
                self._portion = self._among
                self._short -= 1
            if self._portion is not None:
                room = min(room, int(self._portion.rows))
        left, known = {}, bounds()
        for lane in readers:
            progress = lane.progress
            left[lane] = known.get(lane, len(progress.ids)) - progress.cached
        shares = self._readers.share(room, left)
        return [
            *(Part(lane, 1) for lane in writers),
            *(Part(lane, rows) for lane, rows in shares.items()),
        ]

    def _only_writing(self, writers: Sequence[Lane], room: int, draft: Draft | None) -> list[Part]:
        progresses = [lane.progress for lane in writers]
        spent = 0.0
        if draft is not None and room and writers:
            spent = draft.work([progress.speculation for progress in progresses], room)
        if not room or not any([progress.foresees for progress in progresses]):
            return [Part(lane, 1) for lane in writers]
        found: Sequence[Progress | None] = progresses
        if not may_pay(len(writers), room, self._costs, spent):
            found = [progress if progress.guided else None for progress in progresses]
        counts = worthwhile(found, room, self._costs, spent)
        return [Part(lane, 1, count) for lane, count in zip(writers, counts, strict=True)]

    def run(self, parts: Sequence[Part], longest: int) -> int:
        """How many steps in a row `parts` are to make before anybody looks at them."""
        step = self._costs.seconds(len(parts))
        if longest == 1 or step == 0:
            return 1
        eager = len(parts) < FEW
        for part in parts:
            if part.guesses or part.most > 1 or part.lane.progress.behind > 1:
                return 1
            longest = part.lane.run(longest, eager)
        return max(1, min(longest, int(RUN / step)))

    def breakable(self, parts: Sequence[Part]) -> bool:
        """Whether a step of `parts` is to end when somebody leaves: it may take long."""
        if self._portion is not None or any([part.most == 1 for part in parts]):
            return False
        return any([part.lane.call is not parts[0].lane.call for part in parts])

    def broken(self) -> None:
        """Somebody has left, and what the step would have given is lost: the next are short."""
        self._short = SHORT_STEPS

    def record(self, parts: Sequence[Part], rows: int, seconds: float) -> None:
        """A step of `parts`, `rows` in all, took `seconds`."""
        readers = [part for part in parts if part.most > 1]
        if not readers:
            self._costs.record(rows, seconds)
            return
        reading = sum(part.most for part in readers)
        writing = self._costs.seconds(max(1, len(parts) - len(readers)))
        for portion, gap in ((self._beside, LONGEST_GAP), (self._among, SHORT)):
            if self._portion in (None, portion):
                kept = self._portion is not None
                portion.record(reading, seconds, max(gap, STEPS * writing), kept=kept)


class Portion:
    """Rows of prompts that take as long as a step may: learned from the steps before."""

    def __init__(self, chunk: int) -> None:
        self.rows = 32.0
        self._chunk = chunk

    def record(self, reading: int, seconds: float, gap: float, *, kept: bool) -> None:
        """A step with `reading` rows of prompts took `seconds`, and may take `gap`.

        `kept`: it had no more rows than this allowed.
        """
        wanted = reading * gap / seconds
        if kept:
            if wanted > self.rows and reading < int(self.rows):
                return  # it does not say what more would take
            if seconds > 2 * gap:
                wanted = reading / 2
            else:  # steps take longer and shorter for no reason that lasts
                wanted = min(wanted, reading * 1.25)
                wanted = self.rows + (wanted - self.rows) * WEIGHT
        self.rows = min(max(wanted, FEWEST), self._chunk)


def _others(writers: Sequence[Lane], readers: Sequence[Lane]) -> bool:
    """Whether somebody waits for what is written besides those that wait for what is read."""
    if any([lane.streamed for lane in writers]):
        return True
    call = readers[0].call
    return any([lane.call is not call for lane in (*writers, *readers)])
