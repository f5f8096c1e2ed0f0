"""How well people's questions find their answers, and questions without an answer are refused.

    python benchmarks/retrieval.py EMBEDDER [--sets perlfaq,xquad-de] [--data FOLDER]
                                   [--reranker MODEL] [--limit 100] [--json FILE]

EMBEDDER and MODEL are names or folders as for `cactus embed`. Each set of `question_sets.py` is
indexed as a user would index it, and asked in each mode:

- recall@5: the share of the files that answer a question among the first five files;
- MRR: one over the place of the first right file, within ten;
- nDCG@10: the worth of the first ten files, with Cranfield's grades.

Then the floor: how many questions with an answer find nothing, and how many without one, of the
same subject (`half`: the files that answer them are left out) and of quite another (`strangers`).
The scores' two numbers were fitted on perlfaq, pythonfaq, xquad-en, -es and -ru; debianfaq,
cranfield, xquad-de, -zh and -ar were held out.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from question_sets import NAMES, Asked, load, spread, strangers
from report import markdown
from runner import BenchmarkError, cache_folder

from cactus import Model
from cactus.embed.embedder import ModelEmbedder
from cactus.errors import UnsupportedModel
from cactus.retrieval.index import Index
from cactus.weights.resolve import resolve

MODES = ("lexical", "dense", "hybrid")
_HITS = 40  # passages that are asked for: of some files there are several


class Found(NamedTuple):
    """What a ranking of files is worth."""

    recall: float
    mrr: float
    ndcg: float


class Judged(NamedTuple):
    """What a second embedder says of a passage."""

    index: int
    score: float


def measures(files: Sequence[str], relevant: dict[str, int]) -> Found:
    """Of the files found, the best first, each once, for one question."""
    five = sum(name in relevant for name in files[:5]) / min(5, len(relevant))
    first = next((1 / place for place, name in enumerate(files[:10], 1) if name in relevant), 0.0)
    gains = [relevant.get(name, 0) for name in files[:10]]
    best = sorted(relevant.values(), reverse=True)[:10]
    return Found(five, first, discounted(gains) / discounted(best))


def discounted(gains: Sequence[int]) -> float:
    """Gains in their order, each worth less the later it comes."""
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def ranked(index: Index, asked: Asked, **options: Any) -> list[str]:
    """The files of the passages found, each once, the best first."""
    hits = index.search(asked.text, _HITS, floor=False, **options)
    return list(dict.fromkeys(hit.source for hit in hits))


def mean(rows: Sequence[Found]) -> Found:
    """The mean of each measure."""
    return Found(*(statistics.fmean(column) for column in zip(*rows, strict=True)))


def refused(index: Index, questions: Sequence[Asked]) -> float | None:
    """The share of the questions that find nothing above the floor."""
    if not questions:
        return None
    return statistics.fmean(not index.search(asked.text, 1) for asked in questions)


def measure(
    name: str,
    embedder: ModelEmbedder,
    data: Path | None,
    limit: int,
    rerank: Callable[..., Any] | None,
) -> dict[str, Any]:
    """All figures of one set."""
    found = load(name, data)
    questions = spread(found.questions, limit)
    cache = cache_folder() / "retrieval"
    with Index.open(found.folder, embedder, cache) as index:
        index.sync()
        row: dict[str, Any] = {"set": name, "chunks": index.chunks, "questions": len(questions)}
        for mode in MODES:
            row[mode] = mean(
                [measures(ranked(index, asked, mode=mode), asked.relevant) for asked in questions]
            )
        if rerank is not None:
            row["reranked"] = mean(
                [
                    measures(ranked(index, asked, rerank=rerank), asked.relevant)
                    for asked in questions
                ]
            )
        row["answerable refused"] = refused(index, questions)
        row["strangers refused"] = refused(index, strangers(name, data, limit))
    if name != "cranfield":  # its abstracts are no groups
        half, without = found.half()
        with Index.open(half.folder, embedder, cache) as index:
            index.sync()
            row["same subject refused"] = refused(index, spread(without, limit))
    return row


def reranker(model: Model) -> Callable[..., Any]:
    """A cross-encoder's scores; of a model that only embeds, the cosines of its vectors."""
    try:
        model.rerank("a", ["b"])
    except UnsupportedModel:
        embedder = ModelEmbedder(model)

        def by_vectors(query: str, texts: Sequence[str]) -> list[Judged]:
            vectors = embedder.embed(texts, "document") @ embedder.embed([query], "query")[0]
            return [Judged(n, float(cosine)) for n, cosine in enumerate(vectors)]

        return by_vectors
    return lambda query, texts: model.rerank(query, texts, truncate=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures for people."""
    found = [["set", "chunks", "mode", "recall@5", "MRR", "nDCG@10"]]
    for row in rows:
        for mode in (*MODES, "reranked"):
            if mode in row:
                values = [f"{value:.3f}" for value in row[mode]]
                found.append([row["set"], str(row["chunks"]), mode, *values])
    names = ("answerable refused", "same subject refused", "strangers refused")
    floor = [["set", *names]]
    for row in rows:
        shares = ["" if row.get(name) is None else f"{row[name]:.1%}" for name in names]
        floor.append([row["set"], *shares])
    return f"{markdown(found)}\n\n{markdown(floor)}"


def main() -> int:
    """Measure and print; 1 if a set could not be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embedder")
    parser.add_argument("--sets", default=",".join(NAMES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--reranker")
    parser.add_argument("--limit", type=int, default=200, help="questions of a set")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, names = [], given.sets.split(",")
    with ExitStack() as stack:
        rerank = None
        if given.reranker:
            rerank = reranker(stack.enter_context(Model(resolve(given.reranker))))
        embedder = stack.enter_context(ModelEmbedder.load(resolve(given.embedder)))
        for name in names:
            try:
                rows.append(measure(name, embedder, given.data, given.limit, rerank))
            except BenchmarkError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(len(rows) < len(names))


if __name__ == "__main__":
    sys.exit(main())
