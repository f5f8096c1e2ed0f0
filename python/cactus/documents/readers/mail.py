"""An e-mail: who wrote what to whom and when, its text, and the names of what is attached."""

from __future__ import annotations

from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from typing import Any, cast

from cactus.documents.readers.lines import Blocks
from cactus.documents.types import Document, Limits
from cactus.documents.unread import Unread

_FIELDS = ("Subject", "From", "To", "Cc", "Date")
_PARTS = 1000
_OF_A_PART = ("content-type", "content-disposition", "content-transfer-encoding")
_LONG = 2000
_LONGEST = 1 << 16
"""Characters of a field whose parts are looked at, and of one whose encoded words are decoded: both
takes time by the square of them."""

# What the library raises for fields and parts that it cannot make out.
_BROKEN = (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError,
           MessageError)  # fmt: skip


class _Policy(EmailPolicy):
    """The library's, for which a long field is a text, and none where it says what a part is."""

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        if len(value) <= _LONG:
            return super().header_fetch_parse(name, value)
        if name.lower() in _OF_A_PART:
            raise Unread("damaged", f"its field {name} has {len(value)} characters")
        text = "".join(value.splitlines())
        try:
            return str(make_header(decode_header(text))) if len(text) <= _LONGEST else text
        except _BROKEN:  # as it stands there
            return text


def mail(data: bytes, limits: Limits) -> Document:
    """The document in an e-mail. Raises Unread."""
    try:
        policy = cast("EmailPolicy[EmailMessage]", _Policy())  # which its parent's type is not
        message = BytesParser(_class=EmailMessage, policy=policy).parsebytes(data)
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
