"""EPUB books: their chapters in reading order, each one an XHTML file."""

from __future__ import annotations

from posixpath import dirname, join, normpath
from urllib.parse import unquote

from cactus.documents.decode import decode
from cactus.documents.readers.archive import Archive
from cactus.documents.readers.html import Html
from cactus.documents.types import Document, Limits
from cactus.documents.unread import Unread

_CONTAINER = "META-INF/container.xml"
_RIGHTS = "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def epub(data: bytes, limits: Limits) -> Document:
    """The document in a book; a chapter's file is a page. Raises Unread."""
    archive = Archive(data, limits)
    _refuse_locked(archive)
    package = ""

    def container(tag: str, attributes: dict[str, str]) -> None:
        nonlocal package
        if tag == "rootfile" and not package:
            package = attributes.get("full-path", "")

    archive.parse(_CONTAINER, container)
    chapters, metadata = _package(archive, package)
    parser = Html(limits.characters)
    pages: list[int] = []
    missing = 0
    for chapter in chapters:
        if chapter not in archive.names:
            missing += 1
            continue
        parser.next_file()
        pages.append(parser.length)
        parser.feed(decode(archive.read(chapter))[0])
    notes = [f"{missing} chapters are missing in it"] if missing else []
    text = parser.finish()
    return Document(text, parser.blocks, "epub", metadata, pages=pages, notes=notes)


def _refuse_locked(archive: Archive) -> None:
    """Raises Unread "encrypted" where more than fonts are."""
    if _RIGHTS not in archive.names:
        return
    locked = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal locked
        if tag == "EncryptionMethod":
            locked = locked or attributes.get("Algorithm") not in _FONTS

    archive.parse(_RIGHTS, start)
    if locked:
        raise Unread("encrypted", "its rights are managed")


def _package(archive: Archive, package: str) -> tuple[list[str], dict[str, str]]:
    """The chapters in order, and title, author and date."""
    names = {"title": "title", "creator": "author", "date": "date", "language": "language"}
    files: dict[str, str] = {}
    order: list[str] = []
    metadata: dict[str, str] = {}
    current = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal current
        current = names.get(tag, "")
        if tag == "item" and "html" in attributes.get("media-type", ""):
            path = join(dirname(package), unquote(attributes.get("href", "")))
            if "nav" not in attributes.get("properties", "").split():
                files[attributes.get("id", "")] = normpath(path)
        elif tag == "itemref":
            order.append(attributes.get("idref", ""))

    def end(_: str) -> None:
        nonlocal current
        current = ""

    def data(text: str) -> None:
        if current:
            metadata[current] = metadata.get(current, "") + text

    archive.parse(package, start, end, data)
    chapters = [files[name] for name in order if name in files]
    return chapters, {key: " ".join(value.split()) for key, value in metadata.items()}
