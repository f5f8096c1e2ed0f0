"""One completion from its prompt to its end: its turn on the model, its steps, its events."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cactus.calls.stream import drain
from cactus.calls.turns import Call, Turns
from cactus.errors import CactusError, ReentrantCall
from cactus.generate.answer import Answer, Request
from cactus.generate.loop import Progress, sample_tokens
from cactus.generate.prefix import CachedSession
from cactus.generate.speculation import Speculation
from cactus.types import Completion, StreamEvent

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded


class Generation:
    """Drives one completion. `events()` may be read once; then `completion` is there.

    It stays None when generation failed, and until it has ended. After ReentrantCall nothing has
    begun, and `events()` may be read once more.
    """

    def __init__(
        self,
        engine: Loaded,
        turns: Turns,
        conversation: Callable[[], CachedSession[Any]],
        call: Call,
        request: Request,
    ) -> None:
        self._completion: Completion | None = None
        self._abandoned = self._begun = False
        self._engine = engine
        self._turns = turns
        self._open_conversation = conversation
        self._call = call
        self._request = request
        self._answer = Answer(engine, request)

    def run(self) -> Completion:
        """Generate to the end and return the completion."""
        drain(self.events())
        assert self._completion is not None
        return self._completion

    @property
    def completion(self) -> Completion | None:
        """The whole answer, or what had been shown of it when its reader went away."""
        if self._abandoned and self._completion is None:
            self._completion = self._answer.completion()
        return self._completion

    @property
    def progress(self) -> tuple[str, str]:
        """How far it is ("not begun", "open", "ended"), and the text that there is."""
        ended = self._completion is not None or self._abandoned or self._answer.reason is not None
        return "ended" if ended else "open" if self._begun else "not begun", self._answer.text

    def events(self) -> Generator[StreamEvent, None, None]:
        """Wait for the turn, generate, and yield one event a token (two where reasoning ends).

        One more may follow with text that had been held back. Its id is that of the token that
        ended the answer; after a ``stop`` it is the last token's once more.
        """
        turns, call, answer = self._turns, self._call, self._answer
        refused = False
        try:
            if turns.enter(call):
                self._begun = True
                answer.watch.start()
                yield from self._generate()
            if answer.reason in (None, "cancelled"):
                turns.cancel_if_closed()
            self._completion = answer.completion()
        except ReentrantCall:
            refused = True  # it is still in flight: a stop reaches it
            raise
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            if not refused:
                turns.leave(call)

    def _generate(self) -> Generator[StreamEvent, None, None]:
        engine, call, answer, prompt = self._engine, self._call, self._answer, self._request.prompt
        conversation = self._open_conversation()
        options = self._request.options
        sampler = engine.sampler(options.sampling, prompt)
        try:
            answer.cached = conversation.rewind(prompt)
            progress = Progress(
                engine.row,
                conversation,
                prompt,
                sampler,
                self._speculation(),
                options.top_logprobs,
            )
            for output in sample_tokens(engine.program, progress, call.flag):
                for event in answer.take(output):
                    yield from self._show(event)
                if answer.reason is not None:
                    return
            for event in answer.cancel():
                yield from self._show(event)
        except (GeneratorExit, SystemExit):
            raise
        except BaseException:
            # A step that failed may have left the cache anywhere: rely on nothing that is in it,
            # and leave its memory to others.
            with suppress(CactusError):
                conversation.clear()
            raise
        finally:
            answer.prefilled = max(0, min(len(conversation.tokens), len(prompt)) - answer.cached)
            sampler.close()

    def _speculation(self) -> Speculation | None:
        options = self._request.options
        if not (options.speculation and options.sampling.plain):
            return None
        return Speculation(self._request.prompt, self._answer.limit, self._engine.costs)

    def _show(self, event: StreamEvent) -> Generator[StreamEvent, None, None]:
        self._answer.watch.pause()
        self._turns.step_outside()
        yield event
        self._turns.step_inside()
        self._answer.watch.start()
