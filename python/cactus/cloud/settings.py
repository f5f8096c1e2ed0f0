"""Which service is asked, for which model, with which key."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from cactus.cloud.secret import Secret
from cactus.errors import InvalidRequest
from cactus.inputs.checks import choice, expected, short

Api = Literal["openai", "anthropic"]

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com/v1"

_ENDS = {"openai": "/chat/completions", "anthropic": "/messages"}


@dataclass(frozen=True, slots=True)
class Settings:
    """A service, its model, and the key for it; None for one on this machine that needs none.

    `source` says where they were found.
    """

    base_url: str
    model: str
    key: Secret | None
    api: Api
    source: str = "arguments"

    @property
    def url(self) -> str:
        """The address that questions are sent to."""
        end = _ENDS[self.api]
        return self.base_url if self.base_url.endswith(end) else self.base_url + end

    @property
    def host(self) -> str:
        """Who is asked, without the path."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for a connection, for each pause in the reply, for all of it, tries included."""

    connect: float = 5.0
    read: float = 30.0
    total: float = 120.0


def make_settings(
    api_key: str | Secret | None,
    base_url: str | None,
    model: str | None,
    api: str | None = None,
    source: str = "arguments",
) -> Settings:
    """Settings of what a user gave. Raises InvalidRequest naming what is wrong, never the key."""
    key = api_key if isinstance(api_key, Secret) or api_key is None else Secret(api_key)
    url = check_base_url(base_url if base_url is not None else default_url(key))
    if key is None and not is_local(url):
        raise InvalidRequest(
            f"there is no API key for {urlsplit(url).netloc}: give api_key, or set "
            "CACTUS_CLOUD_API_KEY, or run cactus auth"
        )
    if model is None:
        raise InvalidRequest(
            f"there is no model to ask {urlsplit(url).netloc} for: give model, or set "
            "CACTUS_CLOUD_MODEL, or run cactus auth"
        )
    kind: Api = api_of(url)
    if api is not None:
        kind = "anthropic" if choice("api", api, tuple(_ENDS)) == "anthropic" else "openai"
    return Settings(url, check_model(model), key, kind, source)


def default_url(key: Secret | None) -> str:
    """The service that a key is for, where no address was given."""
    anthropic = key is not None and key.reveal().startswith("sk-ant-")
    return ANTHROPIC_URL if anthropic else OPENAI_URL


def api_of(base_url: str) -> Api:
    """Which API an address speaks: Anthropic's, where its host or path says so."""
    parts = urlsplit(base_url)
    return "anthropic" if "anthropic" in f"{parts.netloc}{parts.path}".lower() else "openai"


def check_base_url(value: object) -> str:
    """An address without a slash at its end. Raises InvalidRequest for one that keys may not go to.

    https:// alone, or http:// to this machine; no user, query or fragment.
    """
    name = "base_url"
    if not isinstance(value, str):
        raise InvalidRequest(expected(name, f"an address such as {OPENAI_URL}", value))
    value = value.strip()
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}, got {short(value)}") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(f"{name} must not hold a user or a password: give the key as api_key")
    if parts.query or parts.fragment:
        raise InvalidRequest(f"{name} must end before '?' and '#'")
    if parts.scheme not in ("https", "http") or not host or not value.isprintable() or " " in value:
        raise InvalidRequest(expected(name, f"an address such as {OPENAI_URL}", value))
    value = value.rstrip("/")
    if parts.scheme == "http" and not is_local(value):
        raise InvalidRequest(
            f"{name} must begin with https://, as everybody on the way could read http://; "
            f"that is for this machine alone, got {short(value)}"
        )
    if api_of(value) == "anthropic" and not urlsplit(value).path:
        value += "/v1"
    return value


def is_local(base_url: str) -> bool:
    """Whether an address leads to this very machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_model(value: object) -> str:
    """The name of a model. Raises InvalidRequest for what cannot be one."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 256 or not value.isprintable():
        raise InvalidRequest(expected("model", "the name of a model of the service", value))
    return value.strip()
