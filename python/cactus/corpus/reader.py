"""What a model is given to read for a question, and what it was given for those before.

The passages stand with the newest question, in its turn, and stay in that turn for as long as the
conversation goes on: so a prompt begins like the one before, and only what is new is read. What
stands in which turn is remembered here, by the messages up to it; a caller's messages never have
it. A passage that stands in the conversation is not given again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from cactus.corpus.cite import cite
from cactus.corpus.quote import SILENT, quoted
from cactus.errors import ContextLengthExceeded
from cactus.generate.documents import Room
from cactus.passages import Passage, Reading
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.chat.messages import Message
    from cactus.retrieval.types import Hit

BUDGET = 2_048
"""Tokens of passages that a question is given at most: reading more takes a small model longer than
it helps."""
SHORT = 2_048
"""Documents of so many tokens together are given whole, where they fit into that; so is one in
which all is that was found."""
TOP_K = 5
MOST_TURNS = 1_024
"""Turns whose passages are remembered, of all conversations together."""


class Library(Protocol):
    """Documents that can be searched: `chunks` and `tokens` are how much they are."""

    @property
    def chunks(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    def search(self, query: str, top_k: int) -> list[Hit]:
        """The chunks that fit `query` best, the best first; none where nothing is similar."""

    def all(self) -> list[Hit]:
        """All chunks, in the order of the documents."""

    def document(self, source: str, tokens: int) -> list[Hit]:
        """All chunks of a document, in order; none where they have more than so many tokens."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands before one question: as `text`, and the `passages` in it."""

    text: str
    passages: tuple[Passage, ...]
    reading: Reading


class Turns:
    """The turns of conversations that documents were consulted for, the last ones used."""

    def __init__(self) -> None:
        self._turns: OrderedDict[bytes, Turn] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Turn | None:
        """The turn of a key; it counts as used."""
        with self._lock:
            found = self._turns.get(key)
            if found is not None:
                self._turns.move_to_end(key)
            return found

    def put(self, key: bytes, turn: Turn) -> None:
        """Remember a turn, and forget the one that was not used for longest."""
        with self._lock:
            self._turns[key] = turn
            self._turns.move_to_end(key)
            while len(self._turns) > MOST_TURNS:
                self._turns.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Consultation:
    """What documents have to say to one request; `passages` stand in its prompt."""

    messages: Sequence[Message]
    question: str
    passages: tuple[Passage, ...]
    reading: Reading | None
    answer: str | None = None

    def cited(self, completion: Completion) -> Completion:
        """The answer with its citations, and with what it was made from."""
        if self.reading is None:
            return completion
        citations, notes = cite(completion.text, self.passages, self.question)
        reading = replace(self.reading, notes=notes)
        return replace(completion, citations=citations, reading=reading)


@dataclass(frozen=True)
class Reader:
    """Consults a `library` for a model. `strict`: no model is asked where nothing is found."""

    library: Library
    turns: Turns = field(default_factory=Turns)
    top_k: int = TOP_K
    strict: bool = False

    def consult(self, messages: Sequence[Message], room: Room) -> Consultation:
        """The messages with what was found for the last question, and for those before.

        Raises ContextLengthExceeded where not a single passage finds room.
        """
        asked = [index for index, message in enumerate(messages) if message.role == "user"]
        if not asked:
            return Consultation(messages, "", (), None)
        keys = _keys(messages)
        last = asked[-1]
        before = {n: turn for n in asked[:-1] if (turn := self.turns.get(keys[n])) is not None}
        # Behind results of tools, or an answer that is to be continued, the turn is the same one.
        turn = self.turns.get(keys[last]) if last < len(messages) - 1 else None
        if turn is None:
            questions = [messages[n].content for n in asked]
            hits, query = self._search(questions)
            if self.strict and not hits and not self._is_short:
                reading = Reading(query, (), self.library.chunks, found=False)
                return Consultation(messages, questions[-1], (), reading, SILENT)
            found = self._turn(messages, before, hits, query, room)
            if found is None:
                for n, old in before.items():  # all at once: each time, all is read again
                    self.turns.put(keys[n], replace(old, text="", passages=()))
                before = {}
                found = self._turn(messages, before, hits, query, room)
            assert found is not None
            turn = found
            self.turns.put(keys[last], turn)
        turns = {**before, last: turn}
        passages = tuple(passage for each in turns.values() for passage in each.passages)
        shown = _with_turns(messages, turns)
        return Consultation(shown, messages[last].content, passages, turn.reading)

    def _search(self, questions: Sequence[str]) -> tuple[list[Hit], str]:
        """What is found for the last question, alone and behind the one before; and the query.

        "And in 2024?" says nothing alone; a question about something else says enough.
        """
        query = questions[-1]
        hits = self.library.search(query, self.top_k)
        if len(questions) > 1:
            query = f"{questions[-2]}\n{query}"
            hits = hits + self.library.search(query, self.top_k)
        best: dict[tuple[str, int, int], Hit] = {}
        for hit in hits:
            place = (hit.source, hit.start, hit.end)
            if place not in best or hit.score > best[place].score:
                best[place] = hit
        ranked = sorted(best.values(), key=lambda hit: -hit.score)  # stable: ties as found
        return ranked[: self.top_k], query

    @property
    def _is_short(self) -> bool:
        """Whether all documents together may be given to the model."""
        return self.library.tokens <= SHORT

    def _offers(
        self, hits: Sequence[Hit], scores: Mapping[tuple[str, int], float]
    ) -> Iterator[tuple[list[Passage], bool]]:
        """What may be given, the most first, and whether it is whole documents."""
        if self._is_short:
            yield _passages(self.library.all(), scores), True
        sources = {hit.source for hit in hits}
        if len(sources) == 1 and (chunks := self.library.document(sources.pop(), SHORT)):
            yield _passages(chunks, scores), True
        yield _passages(hits, scores), False

    def _turn(
        self,
        messages: Sequence[Message],
        before: Mapping[int, Turn],
        hits: Sequence[Hit],
        query: str,
        room: Room,
    ) -> Turn | None:
        """What stands before the last question; None if more would without the turns `before`."""
        shown = {_place(each): each for turn in before.values() for each in turn.passages}
        first = 1 + max((passage.number for passage in shown.values()), default=0)
        taken = room.count(_with_turns(messages, before))
        budget = min(BUDGET, room.limit - taken)
        scores = {(hit.source, hit.end): hit.score for hit in hits}
        found = _passages(hits, scores)
        known = [shown[place] for place in map(_place, found) if place in shown]
        for wanted, whole in self._offers(hits, scores):
            new = [passage for passage in wanted if _place(passage) not in shown]
            fresh = [replace(passage, number=first + n) for n, passage in enumerate(new)]
            fitting = fresh
            while fitting and room.count_text(quoted(fitting, known)) > budget:
                fitting = fitting[:-1]
            if fitting == fresh or not whole:
                break
        if len(fitting) < len(fresh) and shown and budget < BUDGET:
            return None
        if fresh and not fitting:
            needed = taken + room.count_text(quoted(fresh[:1]))
            raise ContextLengthExceeded(
                f"the messages and one passage of the documents have {needed} tokens, and the "
                f"context has room for {room.limit} beside an answer: shorten the messages, or "
                "load the model with a longer context",
                prompt_tokens=needed,
                limit=room.limit,
            )
        read = [shown[place] for place in map(_place, wanted) if place in shown]
        reading = Reading(
            query, (*read, *fitting), self.library.chunks, whole, found=whole or bool(hits)
        )
        text = "" if whole and not (fitting or known) else quoted(fitting, known)
        return Turn(text, tuple(fitting), reading)


def _passages(found: Sequence[Hit], scores: Mapping[tuple[str, int], float]) -> list[Passage]:
    """Chunks as passages, in their order; what two of a document have in common is in one."""
    passages: dict[int, Passage] = {}
    end: dict[str, int] = {}
    for index in sorted(range(len(found)), key=lambda n: (found[n].source, found[n].start)):
        chunk = found[index]
        common = max(0, end.get(chunk.source, 0) - chunk.start)
        end[chunk.source] = max(chunk.end, end.get(chunk.source, 0))
        if common >= len(chunk.text) or not chunk.text[common:].strip():
            continue
        line = chunk.line
        if line is not None:
            line += chunk.text.count("\n", 0, common)
        passages[index] = Passage(
            number=0,
            text=chunk.text[common:],
            source=chunk.source,
            start=chunk.start + common,
            end=chunk.end,
            heading=chunk.heading,
            line=line,
            page=chunk.page,
            time=None if chunk.time is None else chunk.time[0],
            score=scores.get((chunk.source, chunk.end)),
        )
    return [passages[index] for index in sorted(passages)]


def _place(passage: Passage) -> tuple[str, int, int]:
    """What tells whether two passages are the same, though one may have lost its beginning."""
    return passage.source, passage.end, hash(passage.text[-64:])


def _with_turns(messages: Sequence[Message], turns: Mapping[int, Turn]) -> list[Message]:
    """The messages with what stands before their questions."""
    return [
        message.with_text_before(turns[n].text) if n in turns and turns[n].text else message
        for n, message in enumerate(messages)
    ]


def _keys(messages: Sequence[Message]) -> list[bytes]:
    """For each message a digest of all up to it."""
    found = []
    digest = blake2b(digest_size=16)
    for message in messages:
        calls = json.dumps(message.tool_calls, sort_keys=True, default=str)
        for part in (message.role, message.content, calls):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        found.append(digest.digest())
    return found
