"""Documents of every kind that is read: their text, its places and its chunks.

Of archives members are changed and packed again; of PDFs objects and bytes. A document must be the
same each time, its blocks, pages and lines in order and inside its text, and its chunks stretches
of that. What cannot be read is `Unread` for one of `REASONS`.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
import zlib
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from cactus.documents.chunk import chunk
from cactus.documents.process import ReaderProcess
from cactus.documents.readers import ISOLATED, parse
from cactus.documents.types import Document, Limits
from cactus.documents.unread import Unread
from fuzzers.base import NUMBERS, Case, Fuzzer, change_bytes, change_words, changed_document
from tests.documents import forge
from tests.documents.made import offsets

LIMITS = Limits(
    text_bytes=4 << 20,
    binary_bytes=4 << 20,
    unpacked_bytes=16 << 20,
    characters=4 << 20,
    seconds=20.0,
    memory_bytes=1 << 30,
)

MARKUP = """\
---
title: A "title"
---
# One\n\nSome *text* with a [link](http://a.b/c) and `code`.\n\n## Two ##\n\n- a\n- b\n\n```py
def f():\n    return 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThree\n=====\n\n> quoted\n
"""
PYTHON = 'class A:\n    """Text."""\n\n    def f(self):\n        return 1\n\n\ndef g():\n    pass\n'
HTML = """\
<!doctype html><html lang="en"><head><title>A &amp; B</title><meta name="author" content="C">
<style>p { }</style><script>x = "<p>"</script></head><body><nav>no</nav><h1>One</h1><p>Text<br>more
<table><tr><th>a<th>b<tr><td>1<td>2</table><ul><li>x<li>y</ul><pre>  kept </pre><h2>Two</h2>
<![CDATA[x]]><!-- y --><p hidden>z</p>&#x1F600;&#0;&nosuch;</body></html>
"""
MAIL = """\
From: a@b.c\r\nTo: d@e.f\r\nSubject: =?utf-8?q?H=C3=A9llo?=\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000
MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r
Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r
Caf=E9 =\r\nmore\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r
PHA+SGk8L3A+\r\n--b--\r\n"""
RST = "Title\n=====\n\nText.\n\nTwo\n---\n\n.. code:: py\n\n   x = 1\n\n* a\n* b\n"
POD = "=pod\n\n=head1 One\n\nText.\n\n=over\n\n=item a\n\n=back\n\n=cut\n"
LATEX = "\\documentclass{x}\n\\begin{document}\n\\section{One}\nText.\n% no\n\\end{document}\n"
CAPTIONS = (
    "1\n00:00:00,000 --> 00:00:01,500\nHello\nthere.\n\n2\n00:00:02,000 --> 00:00:03,000\nB\n"
)
VTT = (
    "WEBVTT\n\nNOTE x\n\n00:00.000 --> 00:01.500 line:0\n<v A>Hello</v>\n\n00:02.000 --> 00:03\nB\n"
)
NOTEBOOK = {"nbformat": 4, "cells": [{"cell_type": "markdown", "source": ["# A\n", "b"]},
            {"cell_type": "code", "source": "x = 1", "outputs": [{"text": ["1"]}]}]}  # fmt: skip
SUFFIXES = {"markdown": "md", "email": "eml", "code": "py", "latex": "tex", "asciidoc": "adoc",
            "subtitles": "srt", "text": "txt"}  # fmt: skip


def seeds() -> dict[str, list[bytes]]:
    """Small documents of every kind."""
    body = forge.paragraph("One", "Heading1") + forge.paragraph("Some text &amp; more.")
    slide = ("One", "Text", "A note")
    cells = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1"><v>45000.5</v></c></row>'
    page = "<html><body><h1>One</h1><p>Text</p></body></html>"
    texts = {
        "text": ["Some text.\n\nMore.\n", "Größe: 1 €\r\n", "\ufeffx"],
        "log": ["2024-01-01 a\n2024-01-02 b\n"],
        "markdown": [MARKUP],
        "rst": [RST],
        "pod": [POD],
        "asciidoc": ["= One\n\nText.\n\n== Two\n\n----\nx\n----\n"],
        "org": ["* One\nText.\n** Two\n#+begin_src py\nx\n#+end_src\n"],
        "latex": [LATEX],
        "html": [HTML],
        "csv": ['a,b\n1,2\n"x\ny",3\n', "a;b\n1;2\n", "a\tb\n1\t2\n"],
        "json": ['{"a": [1, {"b": "text"}], "c": null}', json.dumps(NOTEBOOK)],
        "jsonl": ['{"a": 1, "b": "x"}\n{"a": 2}\n[3]\n'],
        "email": [MAIL],
        "subtitles": [CAPTIONS, VTT],
        "code": [PYTHON, "int main() {\n  return 0;\n}\n"],
    }
    found = {kind: [text.encode() for text in many] for kind, many in texts.items()}
    found["text"] += ["Größe, naïve".encode("latin-1"), "text".encode("utf-16"), b"\xff\xfe\0\0"]
    return found | {
        "pdf": [
            forge.pdf(["One line", "Two\nlines"], [("First", 0), ("Second", 1)]),
            forge.pdf(["x"], extra="/PageLabels << /Nums [0 << /S /r >>] >>"),
        ],
        "docx": [forge.docx(body)],
        "pptx": [forge.pptx([slide, slide])],
        "xlsx": [forge.xlsx({"A": cells, "B": cells}, ["text"])],
        "epub": [forge.epub({"One": page, "Two": page})],
    }


def change_archive(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Change, drop, double or rename members; their checksums stay right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(members))
        name, content = members[at]
        action = rng.randrange(10)
        if action == 0 and len(members) > 1:
            del members[at]
        elif action == 1:
            members.insert(rng.randrange(len(members)), members[at])
        elif action == 2:
            renamed = rng.choice(
                ("../x", "/x", name.upper(), "x" * 300, "é", rng.choice(members)[0])
            )
            members[at] = (renamed, content)
        elif action == 3:
            members[at] = (name, rng.choice(members)[1])
        else:
            members[at] = (name, change_markup(rng, content, rng.choice(members)[1]))
    out = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return out.getvalue()


def change_markup(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Change XML or HTML: a tag dropped, doubled, nested or left open, an entity, an attribute."""
    places = [at for at, byte in enumerate(content) if byte == ord("<")]
    if not places or rng.random() < 0.3:
        return change_bytes(rng, content, other)
    at = rng.choice(places)
    end = content.find(b">", at) + 1 or len(content)
    tag, action = content[at:end], rng.randrange(8)
    if action == 0:
        return content[:at] + content[end:]
    if action == 1:
        return content[:at] + tag * rng.choice((2, 40, 3000)) + content[end:]
    if action == 2:
        entity = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        return entity + content[:at] + b"&b;" + content[at:]
    if action == 3:
        value = str(rng.choice((*NUMBERS, -1, "1e999", "x", ""))).encode()
        quote = content.find(b'"', at)
        close = content.find(b'"', quote + 1)
        return content if min(quote, close) < 0 else content[: quote + 1] + value + content[close:]
    if action == 4:
        start = rng.choice(places)
        return content[:at] + content[start : start + rng.choice((30, 300))] + content[at:]
    if action == 5:
        return content[:at] + rng.choice(
            (b"&#0;", b"&#xD800;", b"&#x110000;", b"&x;", b"<![CDATA[")
        )
    if action == 6:
        return content[:end] + change_words(rng, "text &lt; more").encode("utf-8", "replace")
    return content.replace(tag, tag[:-1] + b" x=", 1)


def change_pdf(rng: random.Random, data: bytes) -> bytes:
    """Change objects of a PDF, and write its table again."""
    objects = [part.partition(b"obj\n")[2] for part in data.split(b"\nendobj\n")[:-1]]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(objects))
        action = rng.randrange(6)
        if action == 0:
            objects[at] = rng.choice(objects)
        elif action == 1:
            references = [b"%d 0 R" % number for number in range(len(objects) + 2)]
            objects[at] = objects[at].replace(rng.choice(references), rng.choice(references))
        elif action == 2:
            stream = zlib.compress(rng.choice((b"", b"BT (x) Tj ET" * 50, bytes(200_000))))
            head = b"<< /Length %d /Filter /FlateDecode >>" % len(stream)
            objects[at] = head + b"\nstream\n" + stream + b"\nendstream"
        elif action == 3:
            words = (
                b"/Type",
                b"/Kids",
                b"/Count",
                b"/Font",
                b"/Next",
                b"/Dest",
                b"/Length",
                b"/Parent",
            )
            objects[at] = objects[at].replace(rng.choice(words), rng.choice(words))
        else:
            objects[at] = change_bytes(rng, objects[at], rng.choice(objects))
    return forge.pdf_of(objects)


class Fuzz(Fuzzer):
    """Every kind of document."""

    errors = (Unread,)
    cpu_seconds = 3.0

    def __init__(self, scratch: Path) -> None:
        self.seeds = seeds()
        self.process = ReaderProcess(LIMITS)
        for kind, many in self.seeds.items():
            for data in many:
                self._read(kind, data)

    def make(self, rng: random.Random) -> Case:
        """A damaged document."""
        kind = rng.choice(list(self.seeds))
        data = rng.choice(self.seeds[kind])
        if data.startswith(b"PK") and rng.random() < 0.8:
            data = change_archive(rng, data, self.seeds[kind])
        elif kind == "pdf" and rng.random() < 0.6:
            data = change_pdf(rng, data)
        elif kind == "json" and rng.random() < 0.7:
            data = changed_document(rng, data)
        elif kind == "html" and rng.random() < 0.7:
            data = change_markup(rng, data, data)
        else:
            data = change_bytes(rng, data, rng.choice(self.seeds[kind]))
        return Case(kind, data[: LIMITS.binary_bytes])

    def run(self, case: Case) -> None:
        """Read it twice, look at its places, and cut it."""
        document = self._read(case.kind, case.data)
        again = self._read(case.kind, case.data)
        assert document == again, "another document the second time"
        check(document)

    def _read(self, kind: str, data: bytes) -> Document:
        name = f"a.{SUFFIXES.get(kind, kind)}"
        if kind == "pdf":  # PDFium is not ours, and may end its process
            return self.process.parse(kind, name, data)
        try:
            document = parse(kind, name, data, LIMITS)
        except MemoryError:
            if kind in ISOLATED:
                raise Unread("too much memory") from None
            raise
        json.dumps({field.name: getattr(document, field.name) for field in fields(document)})
        return document


def check(document: Document) -> None:
    """AssertionError where a document contradicts itself."""
    text = document.text
    assert not set(text) & {"\0", "\ud800"}, "what no text may hold"
    end = 0
    for block in document.blocks:
        assert end <= block.start <= block.end <= len(text), block
        end = block.end
    places: list[list[Any]] = [list(document.pages), [line[0] for line in document.lines]]
    for marks in places:
        assert all(0 <= a <= b for a, b in pairwise([*marks, len(text)])), marks
    for piece in chunk(document, offsets, target=40, most=60):
        assert piece.text == text[piece.start : piece.end] and piece.text, piece
        assert piece.page is None or 1 <= piece.page <= len(document.pages), piece
        assert piece.line is None or piece.line >= 1, piece
