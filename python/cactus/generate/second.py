"""What somebody else says to a request where the model is in doubt."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from cactus.calls.turns import POLL_SECONDS, Call, Turns
from cactus.errors import CloudError
from cactus.generate.answer import Doubt, Request
from cactus.generate.elsewhere import Asked, Reply
from cactus.generate.lane import Item, Lane
from cactus.generate.mailbox import Mailbox
from cactus.generate.stop import StopMatcher
from cactus.types import Completion, Handoff, StreamEvent, Structure, ToolCallDelta

ELSEWHERE = -1
"""The id of tokens that are not this model's."""


class SecondOpinion:
    """What becomes of a request where the model is in doubt; one for each request.

    `texts` are what the other one has said, up to a stop string. `answered`: it has said all.
    """

    def __init__(self, request: Request, mailbox: Mailbox, *, streamed: bool = False) -> None:
        self.texts: list[str] = []
        self.answered = False
        self.handoff: Handoff | None = None
        self.waited = 0.0  # seconds in which nothing else was left to do
        self._request, self._mailbox = request, weakref.ref(mailbox)
        self._streamed = streamed
        self._asked: Asked | None = None
        self._doubt: Doubt | None = None
        self._said = Reply()
        options = request.options
        self._matcher = StopMatcher(options.stop, include=options.include_stop_sequences)

    @property
    def settled(self) -> bool:
        """Whether nobody will be asked any more."""
        return self._doubt is not None

    @property
    def waiting(self) -> bool:
        """Whether an answer may still come."""
        return self._asked is not None and self.handoff is None

    def ask(self, doubt: Doubt) -> None:
        """Ask, once."""
        question = self._request.elsewhere
        assert question is not None and self._doubt is None
        self._asked = question.ask(streamed=self._streamed, wake=_waker(self._mailbox))
        self._doubt = doubt
        self._asked.start()

    def too_late(self, doubt: Doubt) -> None:
        """Do not ask: the answer has been shown in part."""
        self._doubt = doubt
        self.handoff = Handoff(
            answered=False,
            confidence=doubt.confidence,
            code="too_late",
            reason="confidence fell below the threshold when a part of the answer had been shown",
        )

    def look(self) -> str:
        """See what has come; the text of it that is new."""
        asked = self._asked
        if asked is None or self.handoff is not None:
            return ""
        reply = asked.reply
        text = self._matcher.push(asked.take())
        stopped = self._matcher.stopped is not None
        if stopped:
            asked.close()
            reply = replace(asked.reply or Reply(), error=None)
        elif reply is not None and reply.error is None:
            text += self._matcher.flush()
        if text:
            self.texts.append(text)
        if reply is not None:
            self._settle(reply)
        return text

    def _settle(self, reply: Reply) -> None:
        error, doubt = reply.error or self._misfit(), self._doubt
        assert doubt is not None
        if error is None:
            self.answered, self._said = True, reply
        self.handoff = Handoff(
            answered=error is None,
            confidence=doubt.confidence,
            code=None if error is None else error.code,
            reason="" if error is None else str(error),
            host=reply.host or None,
            model=reply.model or None,
            tokens_read=reply.tokens_read,
            tokens_written=reply.tokens_written,
        )

    def _misfit(self) -> CloudError | None:
        """Why the answer is not what it has to be; of one that was shown the result says that."""
        _, structure = self._read()
        if structure is None or structure.valid or self._streamed:
            return None
        what = structure.errors[0] if structure.errors else "it is not whole"
        return CloudError(f"the answer does not fit its schema: {what}", code="format")

    def _read(self) -> tuple[Any, Structure | None]:
        """The value of an answer that has a form, and how it fits that."""
        form = self._request.options.format
        if form is None:
            return None, None
        from cactus.grammar.result import read

        return read("".join(self.texts), form, None)

    @property
    def has_spoken(self) -> bool:
        """Whether the answer is the other one's: it is whole, or a part of it was shown."""
        return self.answered or (self._streamed and bool(self.texts))

    def call_events(self) -> Iterator[StreamEvent]:
        """The calls of an answer that is whole, each in one piece."""
        calls = zip(self._said.function_calls, self._said.call_ids, strict=True)
        for index, (call, id) in enumerate(calls):
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            piece = ToolCallDelta(index, id, call["name"], arguments, call)
            yield StreamEvent("", ELSEWHERE, "tool_call", tool_call=piece)

    def noted(self, local: Completion) -> Completion:
        """The model's own answer, and why it is that."""
        return local if self.handoff is None else replace(local, handoff=self.handoff)

    def completion(self, lane: Lane, reasoning: str | None = None) -> Completion:
        """The other one's answer, as far as it got; `reasoning` is what the model has shown."""
        doubt = self._doubt
        assert doubt is not None
        before = lane.shown(doubt.tokens + 1).completion()
        parsed, structure = self._read()
        return replace(
            before,
            text="".join(self.texts),
            reasoning=reasoning,
            finish_reason=self._said.finish_reason if self.answered else "cancelled",
            confidence=doubt.confidence,
            tokens=(),
            logprobs=(),
            token_logprobs=None,
            confidences=(),
            scores=None,
            function_calls=self._said.function_calls,
            call_ids=self._said.call_ids,
            parsed=parsed,
            structure=structure,
            handoff=self.handoff,
            metrics=replace(
                before.metrics,
                total_time_ms=before.metrics.total_time_ms + self.waited * 1000,
                decode_tokens=0,
                decode_tps=0.0,
            ),
        )

    def close(self) -> None:
        """End what is on its way."""
        asked, doubt = self._asked, self._doubt
        if asked is None:
            return
        asked.close()
        if self.handoff is None and doubt is not None:
            reply = asked.reply or Reply()
            spoken = self.has_spoken
            self.handoff = Handoff(
                answered=spoken,
                confidence=doubt.confidence,
                code=None if spoken else "cancelled",
                reason="" if spoken else "the call was ended before there was an answer",
                host=reply.host or None,
                model=reply.model or None,
            )


def _waker(mailbox: weakref.ref[Mailbox]) -> Callable[[], None]:
    def wake() -> None:
        found = mailbox()
        if found is not None:
            found.items.append((None, 0, []))
            found.wake()

    return wake


def wait_for_news(mailbox: Mailbox, call: Call, turns: Turns) -> Item | None:
    """The next thing in a mailbox, where no lane of it is left; None once the call is stopped.

    Raises ForkError in a child, where nobody is left who would bring something.
    """
    try:
        while not mailbox.items:
            if call.stopped:
                return None
            if turns.forked:
                turns.check()
            mailbox.waiting = True  # before it is looked into: who puts something in, looks then
            if not mailbox.items:
                mailbox.bell.wait(POLL_SECONDS)
    finally:
        mailbox.waiting = False
    item: Item = mailbox.items.popleft()
    return item
