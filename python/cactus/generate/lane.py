"""One request in the batch, and what the thread that waits for it looks at."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from secrets import randbits
from typing import TYPE_CHECKING, Any

from cactus.calls.turns import Call
from cactus.generate.answer import Answer, Request
from cactus.generate.conversations import Cached, Conversations
from cactus.generate.draft import Draft
from cactus.generate.loop import Progress, Taken
from cactus.generate.mailbox import Mailbox
from cactus.generate.pump import Letterbox
from cactus.generate.speculation import Speculation
from cactus.types import StreamEvent

if TYPE_CHECKING:
    from cactus.engine.contract import Output
    from cactus.engine.loaded import Loaded
    from cactus.grammar.guide import Guide

MARGIN = 2
"""Of so many of the likeliest tokens each step tells the probability: for the scores."""

Item = tuple["Lane | None", int, list[StreamEvent] | None]
"""Of a lane: the number of a token and its events, or None: it has ended. Of none: somebody else
who was asked has news."""


class Lane:
    """One request: its session, its place in the text, its answer.

    What it has was given to it by steps, and can be given again: an exception that arrives from
    outside, such as KeyboardInterrupt, may end a thread in the middle of `take`, which is then done
    once more by another. `streamed`: the events of each token go to the mailbox, else only its end.
    `kept`: its conversation is remembered. Only who waits holds the mailbox, so that a lane whose
    caller was interrupted before it could leave is found out.
    """

    def __init__(
        self,
        engine: Loaded,
        call: Call,
        request: Request,
        mailbox: Mailbox,
        *,
        streamed: bool,
        kept: bool = True,
        draft: Draft | None = None,
    ) -> None:
        options = request.options
        self.call, self._mailbox = call, weakref.ref(mailbox)
        self.streamed, self.kept = streamed, kept
        gaze = None if request.sights is None else request.sights.open()
        self.answer = Answer(engine, request, gaze, streamed=streamed)
        sampling, speculation = options.sampling, None
        if options.speculation and sampling.forgetful:
            speculation = Speculation(request.tokens, self.answer.limit)
            if draft is not None and sampling.seed is None:  # it chooses with the same numbers
                sampling = replace(sampling, seed=randbits(64))
        self._sampler = engine.sampler(sampling, request.tokens)
        self.progress = Progress(
            engine.row,
            request.prompt,
            self._sampler,
            speculation,
            max(options.top_logprobs, min(MARGIN, engine.program.vocab_size)),
            call.flag,
            _guide(request, self.answer.limit),
            gaze,
        )
        self._draft = draft
        if draft is not None and speculation is not None and gaze is None:
            limit, ids = self.answer.limit, self.progress.ids
            speculation.drafting = draft.open(ids, limit, sampling, call)
            self.answer.drafting = speculation.drafting
        self.error: Exception | None = None
        self.ended = self.gone = self.at_rest = False
        """`gone`: its caller has left. `at_rest`: it has ended, and let go of all that it had."""
        self.leader: Lane | None = None
        """Which lane it waits for to have read `boundary` tokens that both begin with."""
        self.boundary = 0
        self._prompt = len(request.prompt)
        self._begun = False
        self._outputs: list[Taken] = []
        self._before = 0  # outputs before the step that runs
        self._answered = 0  # outputs that the answer has
        self._torn = False

    @property
    def conversation(self) -> Cached | None:
        """Its session; None while it waits for a place."""
        return self.progress.conversation

    @property
    def tenant(self) -> str | None:
        """The key of the tenant that it is for; None: nobody in particular."""
        return self.call.tenant.key

    @property
    def memory(self) -> str | None:
        """Whose remembered conversations it may continue; None: those that are shared."""
        return self.call.tenant.memory

    @property
    def wants(self) -> bool:
        """Whether it takes part in the next step."""
        if self.progress.conversation is None or self.ended:
            return False
        if not self.streamed:
            return True
        mailbox = self._mailbox()
        return mailbox is None or len(mailbox.items) < mailbox.ahead

    @property
    def over(self) -> bool:
        """Whether it is to leave the batch."""
        return self.ended or self.gone or self.call.stopped or self._mailbox() is None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.gone or self._mailbox() is None

    @property
    def letterbox(self) -> Letterbox | None:
        """Where its reader looks, if that has no thread to wait with."""
        mailbox = self._mailbox()
        return mailbox if isinstance(mailbox, Letterbox) else None

    @property
    def calls_for_work(self) -> bool:
        """Whether it is to go on or to leave, and has no thread that would see to it."""
        mailbox = self._mailbox()
        if mailbox is None:
            return True
        if not isinstance(mailbox, Letterbox):
            return False
        return not self.streamed or len(mailbox.items) < mailbox.ahead or self.over

    def begin(self, conversation: Cached) -> None:
        """Take a place, with a session that has read a part of what is known."""
        if not self._begun:
            self.answer.cached = len(conversation.tokens)
            self._begun = True
        self.progress.conversation = conversation
        self.answer.watch.start()

    def suspend(self, conversations: Conversations) -> None:
        """Give the session up; another one will read what is known again."""
        self._count_prompt()
        self._end_drafts(kept=False)
        conversation, self.progress.conversation = self.conversation, None
        if conversation is not None:
            conversations.drop(conversation)

    def run(self, longest: int, eager: bool) -> int:
        """How many steps in a row it can write without being looked at, at most."""
        left = self._prompt + self.answer.limit - len(self.progress.ids)
        return max(1, min(self.progress.run(longest, eager), left))

    def look(self) -> None:
        """Look at the next part of an image. Raises Cancelled once the call is stopped."""
        self.answer.watch.start()
        self.progress.look()

    def row(self, most: int, guesses: int) -> Any:
        """Its row of the next step, which is to follow at once."""
        self._before = len(self._outputs)
        self.answer.watch.start()
        return self.progress.row(most, guesses)

    def take(self, outputs: Sequence[Output]) -> None:
        """The step gave `outputs`. Raises NonFiniteLogits."""
        taken = self.progress.take(outputs)
        if not taken:
            return
        self._outputs[self._before :] = taken
        if self._torn:
            self.answer = self.answer.again(self._outputs[: self._answered])
        self._torn = True
        answer = self.answer
        while self._answered < len(self._outputs) and answer.reason is None:
            events = answer.take(*self._outputs[self._answered])
            if self.streamed:
                self._post(events)
            elif answer.doubt is not None and answer.doubt.tokens == self._answered:
                self._post([])  # who waits for the end looks whether somebody else is to be asked
                self.wake()
            self._answered += 1
            if self.call.stopped:
                break
        self._torn = False
        if self.streamed:
            answer.watch.pause()

    def finish(self, conversations: Conversations, error: Exception | None = None) -> None:
        """Let go of all that it has, once; `error` is how it ended, if not well."""
        if self.error is None:
            self.error = error
        self.ended = True
        self._count_prompt()
        if self.answer.reason is not None and self.error is None:
            # Steps in a row may have gone beyond the end. The last token is never fed.
            self.progress.forget(self._prompt + self._answered - 1)
        self._end_drafts(kept=self.kept and self.error is None)
        conversation = self.conversation
        if conversation is not None:
            if self.kept and self.error is None:
                conversations.keep(conversation)
            else:  # a step that failed may have left it anywhere
                conversations.drop(conversation)
            self.progress.conversation = None
        self.answer.watch.pause()
        self._sampler.close()
        self.at_rest = True
        self._post(None)
        self.wake()

    def _end_drafts(self, *, kept: bool) -> None:
        drafting = self.answer.drafting
        if self._draft is not None and drafting is not None:
            self._draft.close(drafting, self._prompt + self._answered, kept=kept)

    def wake(self) -> None:
        """Let its thread look at what is in the mailbox."""
        mailbox = self._mailbox()
        if mailbox is not None and mailbox.waiting:
            mailbox.wake()

    def _post(self, events: list[StreamEvent] | None) -> None:
        mailbox = self._mailbox()
        if mailbox is not None:
            mailbox.items.append((self, self._answered, events))

    def shown(self, count: int) -> Answer:
        """The answer as far as its first `count` tokens, which its reader has seen."""
        self._count_prompt()
        if self.ended and not self._torn and count == self._answered:
            return self.answer
        return self.answer.again(self._outputs[:count])

    def _count_prompt(self) -> None:
        read = min(self.progress.cached, self._prompt) - self.answer.cached
        self.answer.prefilled = max(self.answer.prefilled, read)


def _guide(request: Request, limit: int) -> Guide | None:
    """What follows the answer to `request`, of at most `limit` tokens, through its grammar."""
    if request.grammar is None or limit == 0:
        return None
    from cactus.grammar.guide import Guide

    never = request.options.thinking is False and request.reasoning == "possible"
    return Guide(request.grammar, "never" if never else request.reasoning, limit)
