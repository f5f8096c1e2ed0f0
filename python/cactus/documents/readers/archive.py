"""Members of a ZIP archive, and XML in them, when neither can be trusted.

Nothing is extracted: members are read by their names, as far as a budget of unpacked bytes goes.
XML is read in one pass; a file that declares entities is refused, and nothing is ever fetched.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from posixpath import dirname, join, normpath
from xml.parsers import expat

from cactus.documents.types import Limits
from cactus.documents.unread import Unread
from cactus.inputs.text import megabytes

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # older office files, and newer ones with a password
_MEMBERS = 100_000
_PIECE = 1 << 20

# What zipfile raises for what it cannot read: a place before the file is a ValueError.
_BROKEN = (
    *(zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, zlib.error),
    *(struct.error, lzma.LZMAError),
)

Start = Callable[[str, dict[str, str]], None]
Told = Callable[[str], None]


def _nothing(_: str) -> None:
    """For elements and texts that do not matter."""


class Archive:
    """The members of an archive by name. Raises Unread for one that is damaged or encrypted."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        if data.startswith(_OLE):
            if "EncryptedPackage".encode("utf-16-le") in data:
                raise Unread("encrypted", "it wants a password")
            raise Unread("unsupported", "an older office file; save it in the newer format")
        try:
            self._file = zipfile.ZipFile(BytesIO(data))
        except _BROKEN as error:
            raise Unread("damaged", f"not a ZIP archive: {error}") from None
        if len(self._file.filelist) > _MEMBERS:
            raise Unread("too large", f"more than {_MEMBERS:,} members")
        self.names = {info.filename for info in self._file.filelist}
        self._left = self._limit = limits.unpacked_bytes

    def read(self, name: str) -> bytes:
        """The content of a member, unpacked; Unread "damaged" where there is none."""
        try:
            with self._file.open(name) as member:
                parts = []
                while piece := member.read(_PIECE):
                    self._left -= len(piece)
                    if self._left < 0:
                        limit = megabytes(self._limit)
                        raise Unread("too large", f"unpacks to more than unpacked_bytes, {limit}")
                    parts.append(piece)
                return b"".join(parts)
        except KeyError:
            raise Unread("damaged", f"it has no {name}") from None
        except _BROKEN as error:
            raise Unread("damaged", f"{name}: {error}") from None
        except RuntimeError as error:  # what zipfile raises where a password is wanted
            if "password" in str(error) or "encrypted" in str(error):
                raise Unread("encrypted", "it wants a password") from None
            raise

    def parse(self, name: str, start: Start, end: Told = _nothing, data: Told = _nothing) -> None:
        """Call these for the elements of an XML member, by their local names."""
        parse_xml(self.read(name), name, start, end, data)

    def relations(self, part: str) -> dict[str, str]:
        """The parts that a part of an office file refers to, by id."""
        name = join(dirname(part), "_rels", part.rsplit("/", 1)[-1] + ".rels")
        found: dict[str, str] = {}

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                target = attributes.get("Target", "")
                inside = target[1:] if target.startswith("/") else join(dirname(part), target)
                found[attributes.get("Id", "")] = normpath(inside)

        if name in self.names:
            self.parse(name, start)
        return found


def parse_xml(content: bytes, name: str, start: Start, end: Told, data: Told) -> None:
    """One pass over XML, by local names; attributes that are relations begin with ``r:``.

    What is not XML, or declares entities, is Unread "damaged".
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise Unread("damaged", f"{name} declares entities, which such files never do")

    def started(tag: str, attributes: dict[str, str]) -> None:
        start(_local(tag), {_attribute(key): value for key, value in attributes.items()})

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = started
    parser.EndElementHandler = lambda tag: end(_local(tag))
    parser.CharacterDataHandler = data
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise Unread("damaged", f"{name}: {error}") from None


def _local(name: str) -> str:
    return name[name.rfind(" ") + 1 :]


def _attribute(name: str) -> str:
    space, _, local = name.rpartition(" ")
    return f"r:{local}" if space.endswith("/relationships") else local
