"""What the commands about a folder of documents have in common."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from cactus.cli.complete import complete_embedders, complete_speech
from cactus.cli.text import columns, is_terminal, note
from cactus.inputs.text import one_line
from cactus.passages import place

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus
    from cactus.documents.types import Summary
    from cactus.retrieval.types import Hit
    from cactus.types import Citation, Completion

QUOTED = 240
"""Characters of a quotation that are shown."""

folder_argument = click.argument(
    "folder", metavar="DIR", type=click.Path(path_type=Path), required=True
)

embedder_option = click.option(
    "--embedder",
    metavar="MODEL",
    shell_complete=complete_embedders,
    help="What makes vectors of texts.  [default: CACTUS_EMBEDDER, what the index was made with, "
    "or one that is here]",
)

speech_option = click.option(
    "--speech",
    metavar="MODEL",
    shell_complete=complete_speech,
    help="Read recordings, too, as this speech model transcribes them.",
)

top_k_option = click.option(
    "--top-k", type=click.IntRange(1), metavar="N", default=5, show_default=True,
    help="Passages that are looked for.",
)  # fmt: skip


sync_option = click.option(
    "--no-sync",
    "sync",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Read no file: take what is in the index so far.",
)


def open_corpus(folder: Path, *, quiet: bool = False, **options: Any) -> Corpus:
    """The corpus of a folder, brought up to date; a terminal sees how far that is."""
    from cactus.corpus.corpus import Corpus

    return Corpus(folder, progress=False if quiet else None, **options)


class Located(Protocol):
    """What stands somewhere in a file."""

    @property
    def source(self) -> str: ...
    @property
    def line(self) -> int | None: ...
    @property
    def page(self) -> int | None: ...


def shown_place(folder: Path, found: Located, time: float | None, stream: IO[str]) -> str:
    """Where something stands, as a path from here; a terminal opens it by a click."""
    file = folder / found.source
    path = os.path.relpath(file)
    path = str(file) if path.startswith(os.pardir) else path
    text = one_line(place(path, found.line, found.page, time))
    if not links(stream):
        return text
    target = file.as_uri() + (f"#page={found.page}" if found.page is not None else "")
    return f"\x1b]8;;{target}\x1b\\{text}\x1b]8;;\x1b\\"


def links(stream: IO[str]) -> bool:
    """Whether it is a terminal that takes links; those that know none leave them out."""
    return is_terminal(stream) and os.environ.get("TERM") != "linux"


def show_sources(corpus: Corpus, completion: Completion, *, err: bool = False) -> None:
    """Below an answer: which passages support it, and how much was read."""
    reading = completion.reading
    if reading is None:
        return
    by_number: dict[int, list[Citation]] = {}
    for citation in completion.citations:
        by_number.setdefault(citation.number, []).append(citation)
    out = sys.stderr if err else sys.stdout
    for number, citations in by_number.items():
        first = citations[0]
        where = shown_place(corpus.folder, first, first.time, out)
        print(f"[{number}] {where}{_heading(first.heading)}", file=out)
        for quotation in dict.fromkeys(citation.text for citation in citations):
            print(_quoted(quotation, 4, out), file=out)
    if not reading.found:
        note("Nothing in the documents is similar enough to the question.")
    elif not by_number:
        note("No passage says what the answer says.")
    for text in reading.notes:
        note(f"In the answer: {text}")
    note(f"{reading} read; found with {corpus.embedder}")


def show_hit(corpus: Corpus, hit: Hit) -> None:
    """One passage that a search has found."""
    where = shown_place(corpus.folder, hit, hit.time[0] if hit.time else None, sys.stdout)
    if hit.metadata.get("kind") == "picture":
        size = f"{hit.metadata['width']} x {hit.metadata['height']}"
        print(f"{hit.score:.2f}  {where}  {size}")
        return
    print(f"{hit.score:.2f}  {where}{_heading(hit.heading)}")
    print(_quoted(hit.text, 6, sys.stdout))


def _heading(heading: str) -> str:
    return f"  {one_line(heading)}" if heading else ""


def _quoted(text: str, indent: int, stream: IO[str]) -> str:
    """A quotation in one line, which a terminal gets broken between words."""
    line, margin = f"“{one_line(text, QUOTED)}”", " " * indent
    if not stream.isatty():
        return margin + line
    return textwrap.fill(
        line, columns(stream), initial_indent=margin, subsequent_indent=margin + " "
    )


def report_skipped(skipped: Summary) -> Sequence[tuple[str, str]]:
    """Rows of what was left out: how many for which reason, and the first of them."""
    rows = []
    for reason, count in sorted(skipped.counts.items(), key=lambda each: -each[1]):
        examples = skipped.examples.get(reason, [])[:3]
        names = ", ".join(
            one_line(each.path + (f" ({each.detail})" if each.detail else "")) for each in examples
        )
        rows.append((f"{count:,} {reason}", names + (", …" if count > len(examples) else "")))
    return rows
