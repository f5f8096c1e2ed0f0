"""A larger model elsewhere: what a caller of `Model` holds."""

from __future__ import annotations

import os
from typing import Literal

from cactus.calls.closing import NotCopied
from cactus.cloud.asker import Asker
from cactus.cloud.settings import Limits, make_settings
from cactus.cloud.store import find_settings
from cactus.compat import Self
from cactus.errors import InvalidRequest
from cactus.inputs.checks import expected, number


class Cloud(NotCopied):
    """A model of a service that speaks OpenAI's API, as many do, or of Anthropic.

    ``Model(..., cloud=Cloud(...))`` asks it where the local model is less sure than wanted. Making
    one opens no connection. `api_key` may be left out for a service on this machine. `base_url`
    begins with https://, or leads to this machine; default OpenAI's, for a key of Anthropic theirs.
    `model` is the service's name for it. `api`: which API it is, default by the address.
    `certificates`: a file of authorities to trust beside those of the system. `connect_timeout`,
    `read_timeout` (for each pause in the reply) and `total_timeout` are seconds.

    Raises InvalidRequest naming what is wrong. No error and no representation shows the key.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        model: str | None = None,
        *,
        api: Literal["openai", "anthropic"] | None = None,
        certificates: str | os.PathLike[str] | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        total_timeout: float = 120.0,
    ) -> None:
        if certificates is not None and not isinstance(certificates, (str, os.PathLike)):
            raise InvalidRequest(expected("certificates", "the path of a file", certificates))
        limits = Limits(
            number("connect_timeout", connect_timeout, 0.001, 3600),
            number("read_timeout", read_timeout, 0.001, 3600),
            number("total_timeout", total_timeout, 0.001, 3600),
        )
        file = None if certificates is None else os.fspath(certificates)
        self._asker = Asker(make_settings(api_key, base_url, model, api), file, limits)

    @classmethod
    def find(cls) -> Self | None:
        """The one of the environment, else that of ``cactus auth``; None where there is neither.

        Raises CloudError where it is not set up as it must be.
        """
        settings = find_settings()
        if settings is None:
            return None
        cloud = cls.__new__(cls)
        cloud._asker = Asker(settings)
        return cloud

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._asker.settings.model

    @property
    def base_url(self) -> str:
        """The address of the service."""
        return self._asker.settings.base_url

    @property
    def asker(self) -> Asker:
        """Who asks it."""
        return self._asker

    def __repr__(self) -> str:
        return f"<Cloud {self.model} at {self._asker.settings.host}>"
