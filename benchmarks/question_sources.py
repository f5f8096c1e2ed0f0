"""From what others publish to pages and questions, for question_sets.py."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from runner import BenchmarkError

PERL = Path("/usr/share/perl")
PYTHON = Path("/usr/share/doc/python3.11/html/_sources/faq")
DEBIAN = Path("/usr/share/doc/debian/FAQ")

Question = tuple[str, tuple[str, ...]]
"""Its text, and phrases of a right answer."""


@dataclass(frozen=True)
class Page:
    """A file to be written, and the questions that it answers."""

    name: str
    text: str
    questions: tuple[Question, ...] = ()


def perlfaq() -> list[Page]:
    """perlfaq1 to perlfaq9: a file for each answer, in POD."""
    found = {path.stem: path for path in sorted(PERL.glob("*/pod/perlfaq[1-9].pod"))}
    _need(found, "perl-doc", PERL)
    return with_phrases(
        page for name, path in found.items() for page in pod_pages(name, path.read_text("utf-8"))
    )


def pythonfaq() -> list[Page]:
    """Python's FAQ: a file for each answer, in reStructuredText."""
    found = sorted(PYTHON.glob("*.rst.txt"))
    _need(found, "python3.11-doc", PYTHON)
    return with_phrases(
        page
        for path in found
        for page in rst_pages(path.name.partition(".")[0], path.read_text("utf-8"))
    )


def debianfaq() -> list[Page]:
    """Debian's FAQ: a file for each answer, in HTML."""
    found = sorted(path for path in DEBIAN.glob("*.en.html") if path.name != "index.en.html")
    _need(found, "debian-faq", DEBIAN)
    return with_phrases(
        page
        for path in found
        for page in html_pages(path.name.partition(".")[0], path.read_text("utf-8"))
    )


def pod_pages(name: str, text: str) -> Iterator[Page]:
    """The parts below =head2, each without that line and with the =head1 it stands under."""
    section = ""
    for part in re.split(r"^(?==head[12] )", text, flags=re.MULTILINE):
        line, _, body = part.partition("\n")
        if line.startswith("=head1 "):
            section = line
        elif line.startswith("=head2 ") and body.strip():
            yield _page(name, ".pod", line[7:], f"{section}\n\n{body.strip()}\n\n=cut\n")


def rst_pages(name: str, text: str) -> Iterator[Page]:
    """The parts below headings underlined with hyphens, without those."""
    heading = re.compile(r"^(\S[^\n]*)\n(-{4,}|={4,})$", re.MULTILINE)
    found = list(heading.finditer(text))
    section = ""
    ends = [*(match.start() for match in found[1:]), len(text)]
    for here, end in zip(found, ends, strict=False):
        if here[2].startswith("="):
            section = here[0]
            continue
        body = text[here.end() : end].strip()
        body = re.sub(r"\s*\n=+$", "", body)  # what a title that follows has above it
        if body:
            yield _page(name, ".rst", here[1], f"{section}\n\n{body}\n")


def html_pages(name: str, text: str) -> Iterator[Page]:
    """The sections of a chapter, each up to the next one, without their headings."""
    chapter = re.search(r"<h1 class=\"title\">(.*?)</h1>", text, re.DOTALL)
    title = f"<h1>{_plain(chapter[1])}</h1>" if chapter else ""
    text = text.partition('<div class="navfooter">')[0]
    heading = re.compile(r'<h[23] class="title".*?>(.*?)</h[23]>', re.DOTALL)
    for part in text.split('<div class="section">')[1:]:
        match = heading.search(part)
        body = part[match.end() :] if match else ""
        if match and _plain(body):
            question = re.sub(r"^[\d.\s]+", "", _plain(match[1]))
            yield _page(name, ".html", question, f"<html><body>{title}{body}</body></html>\n")


def _page(chapter: str, suffix: str, heading: str, text: str) -> Page:
    """The page of an answer; only a heading that asks is a question."""
    question = _plain(re.sub(r"[A-Z]<+\s?(.*?)\s?>+|``?(.*?)``?", r"\1\2", heading))
    questions: tuple[Question, ...] = ((question, ()),) if question.endswith("?") else ()
    return Page(f"{chapter}/{suffix}", text, questions)


def with_phrases(pages: Iterator[Page]) -> list[Page]:
    """The pages with numbers in their names; of each answer the names in code type that are in the
    fewest other answers, and not in the question, are its phrases."""
    numbered: list[Page] = []
    counts: Counter[str] = Counter()
    for page in pages:
        chapter, suffix = page.name.split("/")
        counts[chapter] += 1
        numbered.append(replace(page, name=f"{chapter}/{counts[chapter]:03}{suffix}"))
    codes = [set(_codes(page.text)) for page in numbered]
    rarity = Counter(code for each in codes for code in each)

    def best(question: str, found: set[str]) -> tuple[str, ...]:
        useful = [code for code in found if code.lower() not in question.lower()]
        return tuple(sorted(useful, key=lambda code: (rarity[code], -len(code), code))[:3])

    return [
        replace(page, questions=tuple((q, best(q, found)) for q, _ in page.questions))
        for page, found in zip(numbered, codes, strict=True)
    ]


def _codes(text: str) -> Iterator[str]:
    for match in re.finditer(r"C<([^<>\n]+)>|``([^`\n]+)``|<code[^>]*>([^<]+)</code>", text):
        code = html.unescape(match[1] or match[2] or match[3]).strip()
        if 3 <= len(code) <= 40 and " " not in code:
            yield code


def xquad(path: Path) -> list[Page]:
    """A file for each paragraph, in a folder for each article."""
    _need(path.exists(), "", path)
    pages = []
    for article, about in enumerate(json.loads(path.read_text("utf-8"))["data"]):
        for number, paragraph in enumerate(about["paragraphs"]):
            text = paragraph["context"]
            questions: list[Question] = []
            for asked in paragraph["qas"]:
                phrases = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                questions.append((asked["question"], phrases))
            pages.append(Page(f"{article:02}/{number:02}.txt", text, tuple(questions)))
    return pages


def cranfield(folder: Path) -> list[Page]:
    """A file for each abstract, its title first; the one without text is left out."""
    _need((folder / "cran.all.1400").exists(), "", folder / "cran.all.1400")
    text = (folder / "cran.all.1400").read_text("utf-8")
    records = re.split(r"^\.I (\d+)\n", text, flags=re.MULTILINE)[1:]
    bodies = {
        int(number): record.partition("\n.W\n")[2].strip()
        for number, record in zip(records[::2], records[1::2], strict=True)
    }
    return [Page(f"{number:04}.txt", f"{body}\n") for number, body in bodies.items() if body]


def cranfield_queries(folder: Path) -> list[tuple[str, dict[str, int]]]:
    """The queries, and the files with 4 for a complete answer down to 1 for minimum interest.

    Judgements count queries from 1 in the order of the file, whatever their own numbers are. What a
    person judged by another code than 1 to 4 is left out.
    """
    text = (folder / "cran.qry").read_text("utf-8")
    queries = [
        " ".join(part.split())
        for part in re.split(r"^\.I \d+\n\.W\n", text, flags=re.MULTILINE)[1:]
    ]
    found: list[tuple[str, dict[str, int]]] = [(query, {}) for query in queries]
    written = {page.name for page in cranfield(folder)}
    for line in (folder / "cranqrel").read_text("utf-8").splitlines():
        query, document, code = (int(word) for word in line.split())
        name = f"{document:04}.txt"
        if 1 <= code <= 4 and name in written:
            found[query - 1][1][name] = 5 - code
    return [(query, relevant) for query, relevant in found if relevant]


def _plain(text: str) -> str:
    """HTML without its tags, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())


def _need(there: object, package: str, path: Path) -> None:
    if not there:
        hint = f"; apt-get install {package}" if package else ""
        raise BenchmarkError(f"{path} has no such documents{hint}")
