"""A completion whose text is known without asking the model."""

from __future__ import annotations

from collections.abc import Generator

from cactus.generate.generation import Generation
from cactus.types import Completion, Metrics, StreamEvent

NOBODY = -1
"""The token id of an answer that no model has given."""


class KnownAnswer(Generation):
    """An answer for which no model is asked, as a completion: one event."""

    def _events(self) -> Generator[StreamEvent, None, None]:
        yield StreamEvent(self._known, NOBODY)

    def _completion(self) -> Completion:
        return Completion(self._known, "stop", 1.0, (), (), Metrics())

    @property
    def progress(self) -> tuple[str, str]:
        """How far it is, and the text that there is."""
        return ("open", "") if self.result is None else ("ended", self._known)

    @property
    def _known(self) -> str:
        consulted = self._request.consulted
        assert consulted is not None and consulted.answer is not None
        return consulted.answer
