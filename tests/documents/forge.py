"""Small files of formats that programs write, made by hand so that they can be made wrong, too."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO


def pdf(pages: Sequence[str], outline: Sequence[tuple[str, int]] = (), extra: str = "") -> bytes:
    """A PDF with lines of text on its pages, and an outline of (title, page from 0).

    `extra` goes into the catalog.
    """
    count, first = len(pages), 4 + 2 * len(pages)
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(count))
    outlines = f"/Outlines {first} 0 R " if outline else ""
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {outlines}{extra} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, text in enumerate(pages):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 50 780 Td {lines}ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * index} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if outline:
        last = first + len(outline)
        objects.append(f"<< /Type /Outlines /First {first + 1} 0 R /Last {last} 0 R >>")
        for index, (title, page) in enumerate(outline):
            following = f"/Next {first + index + 2} 0 R" if index + 1 < len(outline) else ""
            objects.append(
                f"<< /Title ({title}) /Parent {first} 0 R {following} "
                f"/Dest [{4 + 2 * page} 0 R /Fit] >>"
            )
    return pdf_of([text.encode() for text in objects])


def pdf_of(objects: Sequence[bytes]) -> bytes:
    """A PDF of these objects, the first of which is its catalog."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        table,
    )
    return bytes(out)


def bomb_pdf(size: int) -> bytes:
    """A PDF of one page whose content unpacks to `size` bytes of text."""
    packer = zlib.compressobj(9)
    piece = b"(bomb) Tj " * 100_000
    stream = packer.compress(b"BT /F1 1 Tf ")
    for _ in range(size // len(piece)):
        stream += packer.compress(piece)
    stream += packer.compress(b"ET") + packer.flush()
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents 5 0 R >>",
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    )


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def locked(content: bytes) -> bytes:
    """A ZIP archive whose members say that they are encrypted."""
    out = bytearray(content)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = out.find(mark)
        while at >= 0:
            out[at + place] |= 1
            at = out.find(mark, at + 4)
    return bytes(out)


_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'


def relations(targets: Mapping[str, str]) -> str:
    """The relations of a part: where each id leads."""
    items = "".join(f'<Relationship Id="{key}" Target="{to}"/>' for key, to in targets.items())
    return f"<Relationships {_PACKAGE}>{items}</Relationships>"


def docx(body: str, styles: str = "", head: str = "") -> bytes:
    """A Word file with this XML in its body; `head` stands before the root."""
    core = (
        '<p:coreProperties xmlns:p="cp" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title>A report</dc:title><dc:creator>Ada</dc:creator></p:coreProperties>"
    )
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f"{head}<w:document {_WORD}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f"<w:styles {_WORD}>{styles}</w:styles>",
            "docProps/core.xml": core,
        }
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of Word."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


_DRAWING = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_SLIDES = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'


def pptx(slides: Sequence[tuple[str, str, str]]) -> bytes:
    """A PowerPoint file of slides with a title, a text and notes; its files are not in order."""
    count = len(slides)
    members = {
        "ppt/presentation.xml": f'<p:presentation {_SLIDES} xmlns:r="{_RELATION}"><p:sldIdLst>'
        + "".join(f'<p:sldId r:id="r{index}" id="{256 + index}"/>' for index in range(count))
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            {f"r{index}": f"slides/slide{count - index}.xml" for index in range(count)}
        ),
    }
    for index, (title, text, notes) in enumerate(slides):
        number = count - index
        members[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {_SLIDES} {_DRAWING}>{_shape(title, 'title')}{_shape(text, 'body')}</p:sld>"
        )
        if notes:
            members[f"ppt/slides/_rels/slide{number}.xml.rels"] = relations(
                {"n": f"../notesSlides/notesSlide{number}.xml"}
            )
            members[f"ppt/notesSlides/notesSlide{number}.xml"] = (
                f"<p:notes {_SLIDES} {_DRAWING}>{_shape(notes, 'body')}</p:notes>"
            )
    return archive(members)


def _shape(text: str, kind: str) -> str:
    return (
        f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr><p:txBody>'
        f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


_SHEETS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def xlsx(sheets: Mapping[str, str], strings: Sequence[str] = (), styles: str = "") -> bytes:
    """An Excel file of sheets with these rows (XML), shared strings and styles."""
    members = {
        "xl/workbook.xml": f'<workbook {_SHEETS} xmlns:r="{_RELATION}"><sheets>'
        + "".join(
            f'<sheet name="{name}" sheetId="{index}" r:id="r{index}"/>'
            for index, name in enumerate(sheets, 1)
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            {f"r{index}": f"worksheets/sheet{index}.xml" for index in range(1, len(sheets) + 1)}
        ),
        "xl/sharedStrings.xml": f"<sst {_SHEETS}>"
        + "".join(f"<si><t>{text}</t></si>" for text in strings)
        + "</sst>",
        "xl/styles.xml": f"<styleSheet {_SHEETS}>{styles}</styleSheet>",
    }
    for index, rows in enumerate(sheets.values(), 1):
        members[f"xl/worksheets/sheet{index}.xml"] = (
            f"<worksheet {_SHEETS}><sheetData>{rows}</sheetData></worksheet>"
        )
    return archive(members)


def epub(chapters: Mapping[str, str], rights: str = "") -> bytes:
    """A book of these XHTML files, with a table of contents that is not part of the text."""
    items = "".join(
        f'<item id="{name}" href="text/{name}" media-type="application/xhtml+xml"/>'
        for name in reversed(chapters)
    )
    order = "".join(f'<itemref idref="{name}"/>' for name in ("nav", *chapters))
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument">'
        '<rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>A book</dc:title>'
        "<dc:creator>Ada</dc:creator></metadata><manifest>"
        '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        f"{items}</manifest><spine>{order}</spine></package>",
        "OEBPS/nav.xhtml": "<html><body>Contents</body></html>",
        **{f"OEBPS/text/{name}": content for name, content in chapters.items()},
    }
    if rights:
        members["META-INF/encryption.xml"] = rights
    return archive(members)
