"""Answers from documents: whether they cite the right file, and say what a right answer says.

    python benchmarks/answers.py weights/qwen2.5-coder-0.5b --embedder weights/all-minilm-l6-v2

Asks questions of the FAQ sets (question_sets.py), whose documents are the answers of people without
their headings, as `cactus ask` does. Counted are the questions for which

- found      the right file is among the passages that the model was given;
- cited      the answer cites something; `right` is that it cites the right file, `first` that the
             first citation is of it;
- phrase     the answer contains one of the phrases of the right one;
- silent     nothing was similar enough, and no model was asked.

`--json FILE` keeps every question with its answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from question_sets import FAQS, Asked, load, spread
from runner import finish

from cactus import Corpus, Model


@dataclass
class Row:
    """One question, and what came of it."""

    set: str
    question: str
    source: str
    answer: str
    cited: list[str]
    written: int
    found: bool
    phrase: bool
    silent: bool
    notes: list[str]
    read: int
    seconds: float


def ask(model: Model, corpus: Corpus, name: str, asked: Asked, options: argparse.Namespace) -> Row:
    """The answer to one question, judged."""
    began = time.perf_counter()
    done = corpus.ask(
        model, asked.text, passages=options.passages, max_tokens=options.max_tokens, stop_loops=True
    )
    reading = done.reading
    assert reading is not None
    said = " ".join(done.text.casefold().split())
    return Row(
        set=name,
        question=asked.text,
        source=asked.source,
        answer=done.text,
        cited=[citation.source for citation in done.citations],
        written=sum(citation.written for citation in done.citations),
        found=any(passage.source in asked.relevant for passage in reading.passages),
        phrase=any(" ".join(phrase.casefold().split()) in said for phrase in asked.phrases),
        silent=not reading.found,
        notes=list(reading.notes),
        read=done.metrics.prefill_tokens,
        seconds=round(time.perf_counter() - began, 2),
    )


def table(rows: list[Row]) -> str:
    """What was counted, for each set and for all."""
    lines = ["set         questions  found  cited  right  first  phrase  silent  seconds"]
    names = list(dict.fromkeys(row.set for row in rows))
    for name in [*names, "all"] if len(names) > 1 else names:
        some = [row for row in rows if name in (row.set, "all")]
        counts = (
            sum(row.found for row in some),
            sum(bool(row.cited) for row in some),
            sum(row.source in row.cited for row in some),
            sum(row.cited[:1] == [row.source] for row in some),
            sum(row.phrase for row in some),
            sum(row.silent for row in some),
        )
        cells = "  ".join(f"{count:5}" for count in counts)
        seconds = sum(row.seconds for row in some) / len(some)
        lines.append(f"{name:<12}{len(some):8}  {cells}  {seconds:7.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the model that answers")
    parser.add_argument("--embedder", required=True, help="the model that finds passages")
    parser.add_argument("--sets", default=",".join(FAQS), help=f"of {', '.join(FAQS)}, ...")
    parser.add_argument("--count", type=int, default=50, help="questions of all sets together")
    parser.add_argument("--passages", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--data", type=Path, help="the folder of data sets, for xquad and cranfield"
    )
    parser.add_argument("--json", type=Path, help="keep every question with its answer")
    options = parser.parse_args()
    rows: list[Row] = []
    names = options.sets.split(",")
    with Model(options.model, threads=options.threads) as model:
        for number, name in enumerate(names):
            questions = load(name, options.data)
            count = options.count * (number + 1) // len(names) - options.count * number // len(
                names
            )
            chosen = spread([each for each in questions.questions if each.phrases], count)
            with Corpus(
                questions.folder, embedder=options.embedder, threads=options.threads, progress=True
            ) as corpus:
                for asked in chosen:
                    rows.append(ask(model, corpus, name, asked, options))
                    print(f"\r{len(rows)}/{options.count}", end="", file=sys.stderr, flush=True)
                    if options.json:  # after each: it takes long
                        kept = json.dumps([asdict(row) for row in rows], indent=1)
                        options.json.write_text(f"{kept}\n")
    print("", file=sys.stderr)
    print(table(rows))


if __name__ == "__main__":
    sys.exit(finish("answers", main))
