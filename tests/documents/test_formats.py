"""PDF, office files, books and e-mails: what is read of good ones; bad ones are refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cactus.documents.chunk import chunk
from cactus.documents.process import ReaderProcess
from cactus.documents.readers.office import docx
from cactus.documents.types import Document, Limits, Reason
from cactus.documents.unread import Unread
from tests.documents import forge
from tests.documents.made import headings, offsets, parts

LIMITS = Limits(seconds=20, memory_bytes=400 << 20, unpacked_bytes=20 << 20, characters=4 << 20)


@pytest.fixture(scope="module")
def process() -> Iterator[ReaderProcess]:
    """One process for all files of this module, as an index has."""
    reader = ReaderProcess(LIMITS)
    yield reader
    reader.close()


def refusal(process: ReaderProcess, kind: str, data: bytes) -> tuple[Reason, str]:
    with pytest.raises(Unread) as error:
        process.parse(kind, f"file.{kind}", data)
    return error.value.reason, error.value.detail


def test_a_pdf_has_pages_and_its_outline_as_headings(process: ReaderProcess) -> None:
    data = forge.pdf(
        ["1 Install\nGet the package.", "It goes on.", "2 Use\nRun the command."],
        [("Install", 0), ("Use", 2)],
    )
    found = process.parse("pdf", "a.pdf", data)
    assert headings(found) == [(1, "Install"), (1, "Use")]
    assert found.text[found.pages[2] :].startswith("2 Use\nRun the command.")
    pieces = list(chunk(found, offsets, target=8, most=9))
    assert [(piece.page, piece.heading) for piece in pieces if "Run" in piece.text] == [(3, "Use")]
    assert pieces[0].line is None


@pytest.mark.fault("F72")
def test_a_pdf_of_10_000_pages_is_read_whole(process: ReaderProcess) -> None:
    found = process.parse("pdf", "a.pdf", forge.pdf([f"Page {n}" for n in range(1, 10_001)]))
    assert len(found.pages) == 10_000
    assert found.text[found.pages[9999] :].strip() == "Page 10000"


@pytest.mark.fault("F72")
def test_scripts_in_a_pdf_are_not_run_and_not_text(process: ReaderProcess) -> None:
    script = "/OpenAction << /S /JavaScript /JS (app.alert\\('hello'\\)) >>"
    assert process.parse("pdf", "a.pdf", forge.pdf(["Text"], extra=script)).text.strip() == "Text"


@pytest.mark.fault("F72")
def test_pdfs_without_text_or_pages_are_empty(process: ReaderProcess) -> None:
    assert refusal(process, "pdf", forge.pdf([""]))[0] == "empty"
    assert refusal(process, "pdf", forge.pdf([]))[0] in ("empty", "damaged")


@pytest.mark.fault("F72")
def test_a_pdf_with_a_password_is_encrypted(process: ReaderProcess) -> None:
    data = forge.pdf(["Text"]).replace(
        b"/Root 1 0 R",
        b"/Root 1 0 R /ID [<00><00>] "
        b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
        % (b"41" * 32, b"42" * 32),
    )
    assert refusal(process, "pdf", data)[0] == "encrypted"


@pytest.mark.fault("F72")
@pytest.mark.parametrize("cut", [1, 9, 60, 300])
def test_a_pdf_that_is_cut_short_is_read_or_refused(process: ReaderProcess, cut: int) -> None:
    data = forge.pdf(["Some text"])
    try:
        assert isinstance(process.parse("pdf", "a.pdf", data[:-cut]), Document)
    except Unread as error:
        assert error.reason in ("damaged", "empty")


@pytest.mark.fault("F72")
def test_a_pdf_with_a_wrong_table_of_objects_is_mended(process: ReaderProcess) -> None:
    data = forge.pdf(["Some text"]).replace(b"0000000009", b"0000000777")
    assert "Some text" in process.parse("pdf", "a.pdf", data).text


@pytest.mark.fault("F72")
@pytest.mark.timeout(60)
def test_a_pdf_that_unpacks_to_gigabytes_is_refused_and_others_are_read() -> None:
    process = ReaderProcess(Limits(seconds=3, memory_bytes=300 << 20))
    reason, _ = refusal(process, "pdf", forge.bomb_pdf(200 << 20))
    assert reason in ("too slow", "too much memory", "crashed")
    assert process.parse("pdf", "a.pdf", forge.pdf(["Text"])).text.strip() == "Text"
    process.close()


def test_an_outline_that_leads_to_itself_ends(process: ReaderProcess) -> None:
    data = forge.pdf(["Text"], [("A", 0), ("B", 0)])
    # The second entry is followed by the first.
    data = data.replace(b"/Title (B)", b"/Next 7 0 R /Title (B)")
    assert process.parse("pdf", "a.pdf", data).text.strip() == "Text"


def test_a_word_file_has_headings_tables_and_notes(process: ReaderProcess) -> None:
    row = "<w:tr>{}</w:tr>".format
    cell = "<w:tc>{}</w:tc>".format
    body = (
        forge.paragraph("Report", "Titre")
        + forge.paragraph("Part", "Heading2")
        + "<w:p><w:r><w:t>One </w:t><w:tab/><w:t>two</w:t><w:delText>gone</w:delText></w:r></w:p>"
        + "<w:tbl>"
        + row(cell(forge.paragraph("Name")) + cell(forge.paragraph("Age")))
        + row(cell(forge.paragraph("Ada")) + cell(forge.paragraph("36")))
        + "</w:tbl>"
        + "<x:Fallback xmlns:x='mc'>"
        + forge.paragraph("twice")
        + "</x:Fallback>"
    )
    styles = (
        '<w:style w:styleId="Titre"><w:name w:val="Title"/></w:style>'
        '<w:style w:styleId="Heading2"><w:name w:val="heading 2"/></w:style>'
    )
    found = process.parse("docx", "a.docx", forge.docx(body, styles))
    assert headings(found) == [(1, "Report"), (2, "Part")]
    assert found.text == "Report\n\nPart\n\nOne \ttwo\n\nName | Age\nAda | 36\n\n"
    assert [block.title for block in found.blocks if block.kind == "table"] == ["Name | Age"]
    assert found.metadata == {"title": "A report", "author": "Ada"}


def test_slides_are_pages_in_their_order_with_titles_and_notes(process: ReaderProcess) -> None:
    data = forge.pptx([("First", "One", "Say this"), ("Second", "Two", "")])
    found = process.parse("pptx", "a.pptx", data)
    assert headings(found) == [(1, "First"), (1, "Second")]
    assert found.text == "First\n\nOne\n\nSay this\n\nSecond\n\nTwo\n\n"
    assert found.text[found.pages[1] :].startswith("Second")


def test_rows_of_a_sheet_carry_the_names_of_their_columns(process: ReaderProcess) -> None:
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>'
        '<c r="D1" t="inlineStr"><is><t>Born</t></is></c></row>'
        '<row r="5"><c r="A5" t="inlineStr"><is><t>Ada</t></is></c><c r="B5"><v>36</v></c>'
        '<c r="C5" t="b"><v>1</v></c><c r="D5" s="1"><v>45000</v></c></row>'
    )
    styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
    found = process.parse("xlsx", "a.xlsx", forge.xlsx({"People": rows}, ["Name", "Age"], styles))
    assert found.text == "Name: Ada; Age: 36; true; Born: 2023-03-15\n"
    assert headings(found) == [(1, "People")] and found.lines == [(0, 5)]


def test_chapters_of_a_book_come_in_reading_order(process: ReaderProcess) -> None:
    page = '<?xml version="1.0"?><!DOCTYPE html><html><body><h1>{0}</h1><p>{1}</p></body></html>'
    data = forge.epub(
        {"z.xhtml": page.format("One", "First."), "a.xhtml": page.format("Two", "2.")}
    )
    found = process.parse("epub", "a.epub", data)
    assert headings(found) == [(1, "One"), (1, "Two")]
    assert found.text.split() == ["One", "First.", "Two", "2."]
    assert found.metadata == {"title": "A book", "author": "Ada"}
    assert found.text[found.pages[1] :].startswith("Two")


def test_an_email_has_its_fields_text_and_the_names_of_attachments(process: ReaderProcess) -> None:
    data = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: ada@example.org\r\n"
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/html; charset=iso-8859-1\r\n\r\n<p>Sch\xf6n.</p>\r\n--b\r\n"
        b"Content-Type: application/pdf\r\n"
        b'Content-Disposition: attachment; filename="x.pdf"\r\n\r\n'
        b"%PDF\r\n--b--\r\n"
    )
    found = process.parse("email", "a.eml", data)
    assert found.text.startswith("Subject: Grüße\nFrom: Jürgen <j@example.org>\n")
    assert "\n\nSchön." in found.text and found.text.endswith("Attached: x.pdf\n")
    assert found.metadata["title"] == "Grüße" and headings(found) == [(1, "Grüße")]


LAUGHS = (
    '<!DOCTYPE w:document [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)
OUTSIDE = '<!DOCTYPE w:document [<!ENTITY j SYSTEM "file:///etc/passwd">]>'
DEEP = "<w:p>" * 50_000 + "</w:p>" * 50_000


def spoiled(entry: int, value: bytes) -> bytes:
    """A Word file in which `value` stands in each entry of the table at the end."""
    data = forge.docx(forge.paragraph("x"))
    places = [match.start() + entry for match in re.finditer(b"PK\1\2", data)]
    for place in places:
        data = data[:place] + value + data[place + len(value) :]
    return data


def test_a_date_that_nobody_can_read_stays_as_it_is(process: ReaderProcess) -> None:
    date = "Mon, 1 Jan 2024 10:002814749767106570 +000000"
    found = process.parse("email", "a.eml", f"Subject: x\nDate: {date}\n\nText\n".encode())
    assert found.metadata == {"title": "x", "date": date} and found.text.endswith("Text")


@pytest.mark.fault("F72")
@pytest.mark.timeout(60)
def test_long_fields_of_an_email_take_no_time_by_the_square(process: ReaderProcess) -> None:
    to = ", ".join(f"=?utf-8?q?J=C3=BCrgen?= <j{n}@a.b>" for n in range(1000))
    for start in ("From: ", "Subject: x\nDate: "):
        found = process.parse(
            "email", "a.eml", (start + '"' * 200_000 + f"\nTo: {to}\n\nText").encode()
        )
        assert found.text.endswith("Text") and "J\u00fcrgen" in found.metadata["to"]
    for name in ("Content-Type", "Content-Disposition", "Content-Transfer-Encoding"):
        data = f"Subject: x\n{name}: multipart/mixed; {'[;' * 100_000}\n\nText".encode()
        with pytest.raises(Unread, match=rf"its field {name} has 2000\d\d characters"):
            process.parse("email", "a.eml", data)


def test_a_name_of_any_length_makes_a_short_reason() -> None:
    data = forge.archive({"word/document.xml": "x"}).replace(
        b"word/document.xml", b"word/\n" * 3, 1
    )
    with pytest.raises(Unread) as caught:
        docx(data, Limits())
    assert "\n" not in caught.value.detail and len(str(Unread("damaged", "x" * 9000))) < 400


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (spoiled(10, b"\x60\0"), "word/styles.xml: That compression method is not supported"),
        (spoiled(42, b"\xff\xff\xff\xff"), "word/styles.xml: "),
        (forge.docx("x")[-200:], "not a ZIP archive: "),
        (b"PK\3\4" + forge.docx("x")[150:], "word/document.xml: negative seek value"),
    ],
)
def test_an_archive_with_a_broken_table_is_damaged_and_says_where(data: bytes, why: str) -> None:
    with pytest.raises(Unread) as caught:
        docx(data, Limits())
    assert caught.value.reason == "damaged" and caught.value.detail.startswith(why)


@pytest.mark.fault("F72")
@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("docx", forge.docx(forge.paragraph("&j;"), head=LAUGHS), "damaged"),
        ("docx", forge.docx(forge.paragraph("&j;"), head=OUTSIDE), "damaged"),
        ("docx", forge.docx("<w:p>"), "damaged"),
        ("docx", forge.archive({"other.txt": "x"}), "damaged"),
        ("docx", b"PK\x03\x04 and no more", "damaged"),
        ("docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "unsupported"),
        (
            "docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "encrypted",
        ),
        ("docx", forge.locked(forge.docx(forge.paragraph("x"))), "encrypted"),
        ("docx", forge.docx(forge.paragraph("x" * (30 << 20))), "too large"),
        ("xlsx", forge.xlsx({"A": "<row>" * 3}), "damaged"),
        ("pptx", forge.archive({"ppt/presentation.xml": "<p/>", "../../etc/passwd": "x"}), None),
        ("epub", forge.epub({}, "<e><EncryptionMethod Algorithm='aes'/></e>"), "encrypted"),
        ("epub", forge.archive({"mimetype": "application/epub+zip"}), "damaged"),
        ("email", b"no fields at all", "damaged"),
        (
            "email",
            b"Subject: x\n" + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 600,
            None,
        ),
        ("json", b"[" * 500_000, None),
    ],
)
def test_hostile_files_are_refused_with_the_reason(
    process: ReaderProcess, kind: str, data: bytes, reason: Reason | None
) -> None:
    try:
        found = process.parse(kind, f"a.{kind}", data)
    except Unread as error:
        assert reason is None or error.reason == reason, error
    else:
        assert reason is None and "root:" not in found.text


@pytest.mark.fault("F72")
def test_a_string_that_a_sheet_repeats_a_million_times_is_too_large(process: ReaderProcess) -> None:
    cells = "".join('<c t="s"><v>0</v></c>' for _ in range(1000))
    data = forge.xlsx({"A": f"<row>{cells}</row>" * 100}, ["word " * 1000])
    assert refusal(process, "xlsx", data)[0] == "too large"


@pytest.mark.fault("F72")
def test_deeply_nested_elements_end(process: ReaderProcess) -> None:
    deep = "<div>" * 50_000 + "Deep" + "</div>" * 50_000
    assert process.parse("html", "a.html", deep.encode()).text.strip() == "Deep"
    found = process.parse("docx", "a.docx", forge.docx(DEEP + forge.paragraph("Deep")))
    assert found.text.strip() == "Deep"


@pytest.mark.timeout(60)
def test_one_process_reads_many_files() -> None:
    process = ReaderProcess(LIMITS)
    for index in range(50):
        assert process.parse("html", "a.html", b"<p>%d" % index).text.strip() == str(index)
    assert process.started == 1
    process.close()
    process.close()


@pytest.mark.fault("F72")
@pytest.mark.timeout(60)
def test_a_file_that_takes_too_long_ends_its_process_and_the_next_is_read() -> None:
    process = ReaderProcess(Limits(seconds=0.5))
    slow = forge.docx(forge.paragraph("x") * 1_000_000)
    reason, detail = refusal(process, "docx", slow)
    assert (reason, detail) == ("too slow", "it took more than 0.5 seconds")
    first = process.started
    process.close()
    process = ReaderProcess(LIMITS)
    assert process.parse("html", "a.html", b"<p>x").text.strip() == "x"
    assert first >= 1
    process.close()


@pytest.mark.fault("F72")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
@pytest.mark.timeout(60)
def test_memory_over_the_limit_is_refused_and_the_next_file_is_read() -> None:
    process = ReaderProcess(Limits(memory_bytes=100 << 20))
    reason, detail = refusal(process, "json", b"[" + b"[],[]," * 1_000_000 + b"0]")
    assert (reason, detail) == ("too much memory", "more than memory_bytes, 105 MB")
    assert process.parse("json", "a.json", b'{"a": 1}').text == "a: 1\n"
    process.close()


@pytest.mark.timeout(60)
def test_an_interrupt_ends_the_process() -> None:
    process = ReaderProcess(Limits(seconds=30))
    process.parse("html", "a.html", b"<p>x")
    child = process._process
    assert child is not None
    data = forge.docx(forge.paragraph("x") * 400_000)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        process.parse("docx", "a.docx", data)
    assert child.poll() is not None
    assert process.parse("html", "a.html", b"<p>y").text.strip() == "y"
    process.close()


def test_a_closed_reader_leaves_no_process() -> None:
    process = ReaderProcess(LIMITS)
    process.parse("html", "a.html", b"<p>x")
    child = process._process
    process.close()
    assert child is not None and child.returncode is not None


@pytest.mark.timeout(60)
def test_the_process_ends_with_the_one_that_started_it() -> None:
    script = (
        "import os\n"
        "from cactus.documents.process import ReaderProcess\n"
        "from cactus.documents.types import Limits\n"
        "process = ReaderProcess(Limits())\n"
        "process.parse('html', 'a.html', b'<p>x')\n"
        "print(process._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    child = int(done.stdout)
    while is_running(child):
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.timeout(60)
def test_several_threads_share_one_process() -> None:
    process = ReaderProcess(LIMITS)
    pages = [b"<p>%d" % index for index in range(40)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda page: process.parse("html", "a.html", page).text, pages))
    assert [text.strip() for text in found] == [str(index) for index in range(40)]
    assert process.started == 1
    process.close()


@pytest.mark.fault("F72")
def test_a_process_that_was_ended_from_outside_is_started_again() -> None:
    process = ReaderProcess(LIMITS)
    process.parse("html", "a.html", b"<p>x")
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert process.parse("html", "a.html", b"<p>y").text.strip() == "y"
    process.close()


def test_where_pypdfium2_is_missing_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cactus.documents.readers import parse

    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(Unread) as error:
        parse("pdf", "a.pdf", forge.pdf(["x"]), LIMITS)
    assert (error.value.reason, error.value.detail) == (
        "not installed",
        "pip install 'cactus[documents]'",
    )


def test_the_table_of_a_html_file_is_kept_as_rows(process: ReaderProcess) -> None:
    data = b"<table><tr><th>Name<th>Age<tr><td>Ada<td>36</table>"
    found = process.parse("html", "a.html", data)
    assert parts(found, "table") == ["Name | Age\nAda | 36\n"]


@pytest.mark.fault("F72")
def test_a_path_in_an_archive_is_never_a_path_outside(
    process: ReaderProcess, tmp_path: Path
) -> None:
    data = forge.archive({"../../slip.txt": "x", "/tmp/slip": "x", "word/document.xml": "<d/>"})
    process.parse("docx", "a.docx", data)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="has other statuses")
@pytest.mark.parametrize("times", [1, 2])
def test_a_file_whose_process_was_killed_is_read_by_another(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = ReaderProcess(LIMITS)
    begin, started = process._begin, []

    def begins() -> bool:
        fresh = begin()
        if len(started) < times:
            assert process._process is not None
            process._process.kill()
        started.append(fresh)
        return fresh

    monkeypatch.setattr(process, "_begin", begins)
    if times == 1:
        assert process.parse("html", "a.html", b"<p>x").text.strip() == "x"
    else:
        with pytest.raises(Unread) as error:
            process.parse("html", "a.html", b"<p>x")
        found = (error.value.reason, error.value.detail)
        assert found == ("unreadable", "the process that read it was killed")
    assert started == [True, True]
    process.close()
