"""Questions that people wrote, with the documents that answer them, as folders to be searched.

    python benchmarks/question_sets.py --data FOLDER      what there is, in numbers

- perlfaq, pythonfaq, debianfaq: frequently asked questions, each answer a file without its
  heading; of Debian's packages perl-doc, python3.11-doc and debian-faq.
- xquad-en, -de, -es, -ru, -zh, -ar: paragraphs of an encyclopedia, of FOLDER/xquad/.
- cranfield: abstracts about flight, with graded judgements; FOLDER/cranfield/ has the files
  cran.all.1400, cran.qry and cranqrel.

FOLDER may be named by the environment variable CACTUS_BENCHMARK_DATA, too. The files of a set are
written into the cache folder of the benchmarks (`questions/<set>/`), and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import question_sources
from question_sources import Page
from report import markdown
from runner import BenchmarkError, cache_folder

FAQS = ("perlfaq", "pythonfaq", "debianfaq")
LANGUAGES = ("en", "de", "es", "ru", "zh", "ar")
NAMES = (*FAQS, *(f"xquad-{language}" for language in LANGUAGES), "cranfield")
DATA = "CACTUS_BENCHMARK_DATA"
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A question and what answers it.

    ``relevant``: files, relative to the set's folder, and how much each is worth (1, or Cranfield's
    4 for a complete answer down to 1); empty where no file answers. ``phrases``: a right answer
    contains one of them.
    """

    text: str
    relevant: dict[str, int]
    phrases: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The file that answers best."""
        return max(self.relevant, key=lambda name: self.relevant[name])


@dataclass(frozen=True)
class QuestionSet:
    """A folder of documents, and questions to it."""

    name: str
    folder: Path
    questions: tuple[Asked, ...]

    def half(self) -> tuple[QuestionSet, tuple[Asked, ...]]:
        """The set with every second group of documents (an article, a chapter), and the questions
        to the others: on the same subjects, in the same language, but without an answer."""
        groups = sorted({_group(path.relative_to(self.folder)) for path in _files(self.folder)})
        kept = set(groups[::2])
        folder = self.folder.with_name(f"{self.name}-half")
        _write(
            folder,
            (
                Page(str(path.relative_to(self.folder)), path.read_text("utf-8"))
                for path in _files(self.folder)
                if _group(path.relative_to(self.folder)) in kept
            ),
        )
        inside, outside = [], []
        for asked in self.questions:
            here = {n: v for n, v in asked.relevant.items() if _group(Path(n)) in kept}
            (inside if here else outside).append(replace(asked, relevant=here))
        return QuestionSet(folder.name, folder, tuple(inside)), tuple(outside)


def load(name: str, data: Path | None = None) -> QuestionSet:
    """A set by name, its documents written anew. Raises BenchmarkError if its source is missing."""
    if name not in NAMES:
        raise BenchmarkError(f"question set {name!r} is not known; known are: {', '.join(NAMES)}")
    if name in FAQS:
        pages = getattr(question_sources, name)()
    elif name == "cranfield":
        pages = question_sources.cranfield(_data(data) / "cranfield")
    else:
        language = name.partition("-")[2]
        pages = question_sources.xquad(_data(data) / "xquad" / f"xquad.{language}.json")
    folder = cache_folder() / "questions" / name
    _write(folder, pages)
    questions = [
        Asked(text, {page.name: 1}, phrases) for page in pages for text, phrases in page.questions
    ]
    if name == "cranfield":
        judged = question_sources.cranfield_queries(_data(data) / "cranfield")
        questions = [Asked(text, relevant) for text, relevant in judged]
    return QuestionSet(name, folder, tuple(questions))


def strangers(name: str, data: Path | None = None, count: int = 200) -> tuple[Asked, ...]:
    """Questions of quite other subjects, without an answer in the set: an encyclopedia's for the
    technical sets, perlfaq's for the encyclopedia."""
    other = load("perlfaq" if name.startswith("xquad") else "xquad-en", data)
    return tuple(replace(each, relevant={}) for each in spread(other.questions, count))


def spread(rows: Sequence[T], count: int) -> list[T]:
    """``count`` of the rows, from all over them."""
    count = min(count, len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]


def _data(given: Path | None) -> Path:
    folder = given or (Path(os.environ[DATA]) if DATA in os.environ else None)
    if folder is None or not folder.is_dir():
        raise BenchmarkError(f"the folder of data sets is {folder}; give it (--data) or set {DATA}")
    return folder


def _group(path: Path) -> str:
    """An article or a chapter; of files that lie in no folder, each is a group."""
    return path.parts[0]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write(folder: Path, pages: Iterable[Page]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages:
        path = folder / page.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.text, "utf-8")


def main() -> int:
    """Print what each set has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help=f"default: the environment's {DATA}")
    given = parser.parse_args()
    rows = [["set", "files", "characters", "questions", "judgements", "with a phrase"]]
    for name in NAMES:
        try:
            found = load(name, given.data)
        except BenchmarkError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        files = _files(found.folder)
        size = sum(len(path.read_text("utf-8")) for path in files)
        judged = sum(len(each.relevant) for each in found.questions)
        known = sum(bool(each.phrases) for each in found.questions)
        counts = (len(files), size, len(found.questions), judged, known)
        rows.append([name, *map(str, counts)])
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
