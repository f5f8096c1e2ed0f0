"""OpenAI's own client, as tests of recordings and vectors use it."""

from __future__ import annotations

from openai import OpenAI


def client(url: str, *, strict: bool = True, key: str = "none") -> OpenAI:
    """A client of a server, which refuses replies of another shape."""
    return OpenAI(
        base_url=f"{url}/v1", api_key=key, max_retries=0, _strict_response_validation=strict
    )
