"""One question to a cloud, asked in a thread of its own that can be ended at any moment."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from cactus.calls.closing import NotCopied
from cactus.errors import CactusError, CloudError
from cactus.generate.elsewhere import Reply
from cactus.inputs.text import one_line

if TYPE_CHECKING:
    import asyncio
    import ssl

    from cactus.chat.messages import Message
    from cactus.cloud.reading import Reading
    from cactus.cloud.settings import Limits, Settings
    from cactus.generate.options import Options

log = logging.getLogger("cactus.cloud")

LEAVE_SECONDS = 1.0
"""Who ends a question waits at most so long until its connection is closed."""


class Asked(Protocol):
    """The cloud that is asked."""

    @property
    def settings(self) -> Settings: ...
    @property
    def limits(self) -> Limits: ...
    def tls_context(self) -> ssl.SSLContext: ...


class Exchange(NotCopied):
    """A question and what comes back. Its thread ends with it; nothing is sent before `start`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # Daemon: a process that ends waits for nobody's answer.
        self._thread = threading.Thread(target=self._work.run, name="cactus-cloud", daemon=True)
        self._started = False

    @property
    def reply(self) -> Reply | None:
        """How it ended; None before."""
        return self._work.reply

    def start(self) -> None:
        """Ask."""
        self._started = True
        try:
            self._thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._work.fail(CloudError(f"no thread could be started: {error}", code="threads"))

    def take(self) -> str:
        """The text that has come since the last call."""
        pieces: list[str] = []
        with suppress(IndexError):
            while True:
                pieces.append(self._work.pieces.popleft())
        return "".join(pieces)

    def close(self) -> None:
        """End it: the connection is closed at once."""
        self._work.cancel()
        if self._started and self._thread is not threading.current_thread():
            with suppress(RuntimeError):  # it was interrupted before it ran
                self._thread.join(LEAVE_SECONDS)

    def __del__(self) -> None:
        # Nobody waits for it any more: its owner was interrupted before it could close it.
        self._work.cancel()


class Work:
    """What the thread has: nothing of it knows the exchange, so that this may be dropped.

    `level` is that of the line in the log where there is no answer.
    """

    def __init__(
        self,
        find: Callable[[], Asked],
        messages: Sequence[Message],
        options: Options,
        streamed: bool,
        wake: Callable[[], None],
        level: int = logging.INFO,
    ) -> None:
        self.reply: Reply | None = None
        self.pieces: deque[str] = deque()
        self._find, self._messages, self._options = find, messages, options
        self._streamed, self._wake, self._level = streamed, wake, level
        self._host = self._model = ""
        self._cancelled = False
        self._cancel: Callable[[], object] | None = None

    def cancel(self) -> None:
        """End it soon; from any thread."""
        self._cancelled = True
        cancel = self._cancel
        if cancel is not None:
            with suppress(RuntimeError):  # it has ended by itself
                cancel()

    def fail(self, error: CloudError) -> None:
        """It ended without an answer."""
        if not self._cancelled:
            text = one_line(str(error))
            log.log(self._level, "not answered by the cloud: %s: %s", error.code, text)
        self.reply = Reply(self._host, self._model, error)

    def run(self) -> None:
        """All of it, in a thread of its own. Never raises."""
        try:
            self._run()
        except CloudError as error:
            self.fail(_bare(error))
        except CactusError as error:
            self.fail(CloudError(str(error), code="settings"))
        except BaseException as error:  # ours to mend; what it says may be anything
            self.fail(CloudError(f"{type(error).__name__} in the client", code="client"))
        finally:
            self._cancel = None
            self._wake()

    def _run(self) -> None:
        from cactus.cloud.connection import Loop

        cloud = self._find()
        self._host, self._model = cloud.settings.host, cloud.settings.model
        context = cloud.tls_context()
        loop = Loop()
        try:
            reading = self._talk(loop, cloud, context)
        finally:
            with suppress(Exception):
                loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        self.pieces.append(reading.take())
        log.info(
            "answered by %s at %s: %s tokens read, %s written",
            one_line(self._model), one_line(self._host), *reading.usage,
        )  # fmt: skip
        self.reply = Reply(
            self._host, self._model, None, reading.finish_reason, reading.function_calls(),
            reading.call_ids, *reading.usage,
        )  # fmt: skip

    def _talk(self, loop: asyncio.AbstractEventLoop, cloud: Asked, context: Any) -> Reading:
        import asyncio

        from cactus.cloud import anthropic, openai
        from cactus.cloud.connection import Request
        from cactus.cloud.question import make_question

        settings = cloud.settings
        question = make_question(self._messages, self._options, self._streamed)
        if settings.api == "anthropic":
            headers, body = anthropic.headers(settings), anthropic.body(settings, question)
        else:
            headers, body = openai.headers(settings), openai.body(settings, question)
        kind = anthropic.AnthropicReading if settings.api == "anthropic" else openai.OpenAIReading
        task = loop.create_task(
            Request(
                settings, headers, body, lambda: kind(question), self._heard, context, cloud.limits
            ).reply()
        )
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._cancelled:
            task.cancel()
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise CloudError("the question was taken back", code="cancelled") from None

    def _heard(self, reading: Reading) -> bool:
        """There is more of the reply; whether some of it was given on."""
        text = reading.take() if self._streamed else ""
        if text:
            self.pieces.append(text)
            self._wake()
        return bool(text)


def _bare(error: CloudError) -> CloudError:
    """The error without the frames that it came through, which know the key."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
