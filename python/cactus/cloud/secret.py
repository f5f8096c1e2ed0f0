"""A key that does not show itself."""

from __future__ import annotations

import hmac

from cactus.calls.closing import NotCopied
from cactus.errors import InvalidRequest

LONGEST = 4096
"""Characters of a key at most."""

_SHOWN = 4
_LEAST_TO_SHOW = 16  # of a shorter key the last characters would be too large a part


class Secret(NotCopied):
    """A key. Whatever shows it, a log, an error or a debugger, shows its last characters at most.

    `reveal` alone gives it. Raises InvalidRequest, without the key, for what cannot be one.
    """

    __slots__ = ("_letters",)

    def __init__(self, value: str, name: str = "api_key") -> None:
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} must be a string, got {type(value).__name__}")
        value = value.strip()
        if not value:
            raise InvalidRequest(f"{name} is empty")
        if len(value) > LONGEST:
            raise InvalidRequest(f"{name} has {len(value)} characters; at most {LONGEST} are taken")
        # Anything else would end the header that it stands in, or could not be sent in one.
        if not all("!" <= letter <= "~" for letter in value):
            raise InvalidRequest(
                f"{name} has characters that no key has: spaces, controls, umlauts"
            )
        # Not as a string: those who look through attributes find no text.
        self._letters = tuple(value)

    def reveal(self) -> str:
        """The key itself."""
        return "".join(self._letters)

    @property
    def masked(self) -> str:
        """What may be shown of it."""
        end = "".join(self._letters[-_SHOWN:]) if len(self._letters) >= _LEAST_TO_SHOW else ""
        return f"…{end}"

    def hidden_in(self, text: str) -> str:
        """`text` with the mask wherever the key stands in it."""
        return text.replace(self.reveal(), self.masked)

    def __repr__(self) -> str:
        return f"Secret({self.masked!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return hash(self._letters)
