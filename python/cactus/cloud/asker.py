"""Who asks a cloud: one that was given, or whichever is set up at the time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cactus.cloud.exchange import Exchange, Work
from cactus.cloud.settings import Limits, Settings
from cactus.cloud.store import find_settings, is_configured, is_forbidden
from cactus.errors import CloudError, DownloadError

if TYPE_CHECKING:
    import ssl

    from cactus.chat.messages import Message
    from cactus.generate.options import Options


@dataclass(slots=True)
class Asker:
    """Asks one service. `certificates`: a file of authorities to trust beside the system's."""

    settings: Settings
    certificates: str | None = None
    limits: Limits = field(default_factory=Limits)
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    def ready(self) -> bool:
        """Whether it may be asked: unless CACTUS_NO_CLOUD is set."""
        return not is_forbidden()

    def ask(
        self,
        messages: Sequence[Message],
        options: Options,
        *,
        streamed: bool,
        wake: Callable[[], None],
    ) -> Exchange:
        """A question, which its `start` sends."""
        return Exchange(Work(lambda: self, messages, options, streamed, wake))

    def tls_context(self) -> ssl.SSLContext:
        """The authorities that are trusted; read once. Raises CloudError."""
        if self._context is None:
            from cactus.weights.hub.fetch import tls_context

            try:
                self._context = tls_context(self.certificates)
            except (DownloadError, OSError) as error:
                raise CloudError(str(error), code="tls") from None
        return self._context


class ConfiguredAsker:
    """Asks what the environment or ``cactus auth`` have set up at that time.

    Something is set up or not; what is wrong with it is said where it is asked: as a warning, too,
    since the JSON of the flat functions has no place for it.
    """

    def ready(self) -> bool:
        """Whether something is set up, and may be asked."""
        return not is_forbidden() and is_configured()

    def ask(
        self,
        messages: Sequence[Message],
        options: Options,
        *,
        streamed: bool,
        wake: Callable[[], None],
    ) -> Exchange:
        """A question, which its `start` sends."""
        return Exchange(Work(_found, messages, options, streamed, wake, logging.WARNING))


def _found() -> Asker:
    settings = find_settings()
    if settings is None:
        raise CloudError("no cloud is set up any more: run cactus auth", code="settings")
    return Asker(settings)
