"""The conversations that a model remembers, within a budget of memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cactus.errors import InsufficientMemory
from cactus.generate.prefix import CachedSession, common_prefix

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

Cached = CachedSession[Any]

WORTH_SHARING = 16
"""A common beginning of fewer tokens, unless it is half of a prompt, is read by each: sharing takes
a copied page, and a step where it is waited for."""

PAGE = 256
"""Positions whose memory becomes free together."""


class Conversations:
    """The sessions of a text model, those that requests have and those that are remembered.

    A session is lent to a request and, when that has ended, remembered, so that a prompt which
    begins like it reads only what is new. `budget` bytes of keys and values are kept, those of
    running requests among them; beyond that the ends of those that were not used for longest are
    given up. All methods are for whoever has the engine.
    """

    def __init__(self, engine: Loaded, budget: int) -> None:
        self._engine, self._budget = engine, budget
        self._idle: list[Cached] = []  # used last: at the end
        # And whether they may be remembered; weak, for an interrupt may lose one on its way.
        self._lent: WeakKeyDictionary[Cached, bool] = WeakKeyDictionary()

    @property
    def remembered(self) -> tuple[Cached, ...]:
        """The conversations that no request uses, the last used at the end."""
        return tuple(self._idle)

    def may_share(self, conversation: Cached) -> bool:
        """Whether `conversation` was lent since the last `forget`."""
        return self._lent.get(conversation, False)

    def known(
        self, ids: list[int], running: Iterable[Cached] = (), memory: str | None = None
    ) -> int:
        """How many tokens of `ids` need not be read, with those of `running` requests."""
        lengths = (
            common_prefix(one.tokens, ids)
            for one in (*self._idle, *running)
            if one.memory == memory
        )
        return min(max(lengths, default=0), len(ids) - 1)

    def open(
        self, ids: list[int], running: Iterable[Cached] = (), memory: str | None = None
    ) -> Cached:
        """A session for `ids` that has read as much of them as any has, of `running` ones too.

        One that holds nothing else is continued; of one that goes on differently, or that runs, it
        is a fork, if that saves enough, and both stay. Those of another `memory` are not looked at.
        Raises InsufficientMemory.
        """
        whole: Cached | None = None
        partly: Cached | None = None
        length = longest = 0
        for one in (*running, *self._idle):
            if one.memory != memory:
                continue
            common = _common(one.tokens, ids, length)
            if common == len(one.tokens) < len(ids) and common > longest:
                whole, longest = one, common
            if common > length:
                partly, length = one, common
        found = None
        worth = min(WORTH_SHARING, len(ids) // 2)
        if partly is not None and partly is not whole and length >= worth:
            found = _fork(partly, ids)
            if len(found.tokens) < longest:
                # A hybrid model had to go back further than the other one ends.
                found.session.close()
                found = None
        if found is None and whole is not None:
            continues = whole in self._idle and not whole.shared
            found = whole if continues else _fork(whole, ids)
            if whole.shared:  # it was used
                self._idle.remove(whole)
                self._idle.append(whole)
        if found is None:
            return self.new(memory)
        self._lent[found] = True
        if found in self._idle:
            self._idle.remove(found)
        return found

    def new(self, memory: str | None = None) -> Cached:
        """A session that has read nothing. Raises InsufficientMemory."""
        found = CachedSession(self._engine.program.session(), memory)
        self._lent[found] = True
        return found

    def keep(self, conversation: Cached) -> None:
        """Remember a session that was lent, and shorten the oldest until all is in the budget."""
        if conversation in self._idle:
            self._lent.pop(conversation, None)  # it was interrupted before that
            return
        if self._budget == 0 or not self.may_share(conversation) or not conversation.tokens:
            self.drop(conversation)
            return
        tokens = conversation.tokens
        for one in self.remembered:  # a beginning of this one is of no more use
            if one.memory != conversation.memory or one.shared:
                continue
            if one.tokens == tokens[: len(one.tokens)]:
                self._idle.remove(one)
                one.session.close()
        self._idle.append(conversation)
        self._lent.pop(conversation, None)
        while self._idle and self._engine.program.kv_bytes > self._budget:
            self._shorten()

    def share(self, conversation: Cached) -> None:
        """Remember a beginning that several requests have, as far as a running one has read it.

        A hybrid model could not go back there. Where there is no memory, nothing happens.
        """
        known = any(
            one.tokens == conversation.tokens and one.memory == conversation.memory
            for one in self._idle
        )
        if self._budget == 0 or known or not self.may_share(conversation):
            return
        with suppress(InsufficientMemory):
            beginning = conversation.fork()
            beginning.shared = True
            self._idle.append(beginning)

    def drop(self, conversation: Cached) -> None:
        """Close a session that was lent."""
        conversation.session.close()
        self._lent.pop(conversation, None)

    def give_up(self) -> bool:
        """Forget the one that was not used for longest; false if none is remembered."""
        if not self._idle:
            return False
        self._idle.pop(0).session.close()  # in this order: it may be interrupted
        return True

    def _shorten(self) -> None:
        """Forget the end of the one that was not used for longest: its answers before its system
        prompt, and no more of it than has to go."""
        oldest = self._idle[0]
        end = (len(oldest.tokens) - 1) // PAGE * PAGE
        oldest.cut(0 if oldest.shared else max(end, 0))
        if not oldest.tokens:
            self.give_up()

    def forget(self) -> None:
        """Forget all, and what running requests would leave."""
        for one in list(self._lent):
            self._lent[one] = False
        while self.give_up():
            pass

    def free(self) -> None:
        """Close everything, also what requests still have."""
        for one in (*self._idle, *list(self._lent)):
            one.session.close()
        self._idle.clear()
        self._lent.clear()


def _fork(one: Cached, ids: list[int]) -> Cached:
    """A session that goes on with `ids` where `one` goes on differently."""
    copy = one.fork()
    try:
        copy.rewind(ids)
    except BaseException:
        copy.session.close()
        raise
    return copy


def _common(left: list[int], right: list[int], least: int) -> int:
    """The common prefix, or 0 where it is no longer than `least`."""
    if least and (least >= len(left) or least >= len(right) or left[least] != right[least]):
        # Most of many conversations go on differently where the best one so far does not.
        return len(left) if len(left) <= least and left == right[: len(left)] else 0
    return common_prefix(left, right)
