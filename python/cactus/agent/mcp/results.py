"""What a tool of a server gives, as text for a model."""

from __future__ import annotations

import json
from typing import Any

from cactus.errors import ToolServerError

MAX_RESULT = 200_000
"""Characters. What is longer is an error: nothing is cut without being told."""


def text_of(result: Any) -> str:
    """The text of a result; what is not text is named. Raises ToolServerError where it failed."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = "\n".join(parts)
    if len(text) > MAX_RESULT:
        raise ToolServerError(
            f"the result has {len(text):,} characters; at most {MAX_RESULT:,} are taken: ask for "
            "less"
        )
    if result.is_error:
        raise ToolServerError(text or "the tool failed and did not say why")
    return text


def _part(block: Any) -> str:
    kind = block.type
    if kind == "text":
        return str(block.text)
    if kind == "resource_link":
        return f"[{block.name}: {block.uri}]"
    if kind == "resource":
        inner = block.resource
        return str(inner.text) if hasattr(inner, "text") else f"[a file: {inner.uri}]"
    return f"[{kind}: {getattr(block, 'mime_type', 'unknown')}]"
