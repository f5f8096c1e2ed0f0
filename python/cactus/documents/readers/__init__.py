"""One reader for each kind of file: from its bytes to a `Document`."""

from __future__ import annotations

import re

from cactus.documents.decode import decode
from cactus.documents.kinds import language_of
from cactus.documents.types import Block, Document, Limits
from cactus.documents.unread import Unread
from cactus.documents.words import words

ISOLATED = words("html pdf docx pptx xlsx epub email csv json jsonl")
"""Kinds that are parsed to structures that a hostile file makes large, deep or slow."""

# What no text has, and what neither a file nor a database takes; each is one character.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def parse(kind: str, name: str, data: bytes, limits: Limits) -> Document:
    """The document in the bytes of a file of a kind. Raises Unread."""
    if kind == "email":
        from cactus.documents.readers.mail import mail

        return _cleaned(mail(data, limits))
    if kind == "pdf":
        from cactus.documents.readers.pdf import pdf

        return _cleaned(pdf(data, limits))
    if kind in ("docx", "pptx"):
        from cactus.documents.readers import office

        return _cleaned((office.docx if kind == "docx" else office.pptx)(data, limits))
    if kind == "xlsx":
        from cactus.documents.readers.sheets import xlsx

        return _cleaned(xlsx(data, limits))
    if kind == "epub":
        from cactus.documents.readers.epub import epub

        return _cleaned(epub(data, limits))
    text, encoding, notes = decode(data)
    document = _of_text(kind, name, text, limits)
    if document.text is text:
        document.encoding = encoding
    document.notes += notes
    return _cleaned(document)


def _cleaned(document: Document) -> Document:
    """Without what a text of another kind may hold; offsets stay as they are."""

    def clean(text: str) -> str:
        return text if text.isascii() and "\0" not in text else _NOT_TEXT.sub("\ufffd", text)

    document.text = clean(document.text)
    document.blocks = [
        block._replace(title=clean(block.title)) if block.title else block
        for block in document.blocks
    ]
    document.metadata = {clean(key): clean(value) for key, value in document.metadata.items()}
    return document


def _of_text(kind: str, name: str, text: str, limits: Limits) -> Document:
    """The document in a text; its own text is the same object where nothing was taken out."""
    if kind == "markdown":
        from cactus.documents.readers.markup import front_matter, markdown

        start, metadata = front_matter(text)
        return Document(text, markdown(text, start), kind, metadata)
    if kind == "rst":
        from cactus.documents.readers.markup import rst

        return Document(text, rst(text), kind)
    if kind in ("pod", "asciidoc", "org", "latex"):
        from cactus.documents.readers.markup import marked

        return Document(text, marked(text, kind), kind)
    if kind == "html":
        from cactus.documents.readers.html import html

        found, blocks, metadata = html(text, limits.characters)
        return Document(found, blocks, kind, metadata)
    if kind == "subtitles":
        from cactus.documents.readers.captions import captions

        return captions(text)
    if kind == "csv":
        from cactus.documents.readers.tables import separated

        return separated(text, name.lower(), limits.characters)
    if kind == "jsonl":
        from cactus.documents.readers.tables import json_lines

        return json_lines(text, limits.characters)
    if kind == "json":
        from cactus.documents.readers.tables import json_text

        document = json_text(text, limits.characters)
        if document is not None:
            return document
    if kind in ("code", "json"):
        from cactus.documents.readers.code import code

        language = language_of(name)
        return Document(text, code(text, language), "code", {"language": language})
    if kind == "log":
        return Document(text, [Block("lines", 0, len(text))], kind)
    if kind == "text":
        return Document(text, [Block("text", 0, len(text))], kind)
    raise Unread("unsupported", kind)
