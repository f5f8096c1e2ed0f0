"""An e-mail: who wrote what to whom and when, its text, and the names of what is attached."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from cactus.documents.readers.lines import Blocks
from cactus.documents.types import Document, Limits
from cactus.documents.unread import Unread

_FIELDS = ("Subject", "From", "To", "Cc", "Date")
_PARTS = 1000

# What the library raises for fields and parts that it cannot make out.
_BROKEN = (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)


def mail(data: bytes, limits: Limits) -> Document:
    """The document in an e-mail. Raises Unread."""
    try:
        message = BytesParser(_class=EmailMessage, policy=policy.default).parsebytes(data)
        fields = {name: _field(message, name) for name in _FIELDS}
        text = _text(message, limits)
        attached = _attached(message)
    except _BROKEN as error:
        raise Unread("damaged", f"not an e-mail: {type(error).__name__}") from None
    if not any(fields.values()):
        raise Unread("damaged", "not an e-mail: it has no fields")
    head = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    tail = f"\n\nAttached: {', '.join(attached)}\n" if attached else ""
    whole = f"{head}\n{text.strip()}{tail}"
    blocks = Blocks()
    blocks.heading(0, 0, 1, fields["Subject"])
    blocks.text(len(whole))
    metadata = {name.lower(): value for name, value in fields.items() if value}
    if subject := metadata.pop("subject", ""):
        metadata["title"] = subject
    return Document(whole, blocks, "email", metadata)


def _field(message: EmailMessage, name: str) -> str:
    try:
        value = message.get(name)
    except _BROKEN:  # a year of twenty digits: as it stands there
        raw = (value for key, value in message.raw_items() if key.lower() == name.lower())
        value = next(raw, None)
    return "" if value is None else " ".join(str(value).split())


def _text(message: EmailMessage, limits: Limits) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return ""
    content = body.get_content()
    text = content if isinstance(content, str) else ""
    if body.get_content_type() == "text/html":
        from cactus.documents.readers.html import html

        text = html(text, limits.characters)[0]
    return text.replace("\r\n", "\n")


def _attached(message: EmailMessage) -> list[str]:
    names = []
    for count, part in enumerate(message.walk()):
        if count >= _PARTS:
            names.append("...")
            break
        name = part.get_filename()
        if name and part.get_content_disposition() == "attachment":
            names.append(" ".join(name.split()))
    return names
