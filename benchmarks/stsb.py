"""How well the cosine of two texts' vectors agrees with people's judgements: STS Benchmark.

    python benchmarks/stsb.py sts-dev.csv all-minilm-l6-v2 \\
        --reference FOLDER --python VENV/bin/python

`sts-dev.csv` is a file of the STS Benchmark (http://ixa2.si.ehu.eus/stswiki), whose texts have
licences of their own: it is not part of this repository. FOLDER is the checkpoint as it is
published, and `--python` an interpreter that has sentence-transformers; the same pairs then go
through both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

REFERENCE = """
import sys, json, numpy
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
texts = json.load(open(sys.argv[2], encoding="utf-8"))
numpy.save(sys.argv[3], model.encode(texts, batch_size=32, show_progress_bar=False))
"""


class Pair(NamedTuple):
    """Two texts, and how alike people find them, 0 to 5."""

    one: str
    other: str
    score: float


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file of the benchmark: tabs between the columns, and no quoting."""
    pairs = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        columns = line.split("\t")
        if len(columns) < 7:
            sys.exit(f"{path}, line {number}: {len(columns)} columns, expected 7")
        pairs.append(Pair(columns[5], columns[6], float(columns[4])))
    return pairs


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of ranks; equal values share the mean of theirs."""
    a, b = _ranks(np.asarray(one)), _ranks(np.asarray(other))
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[places]


def cosines(vectors: NDArray[np.float32], pairs: int) -> NDArray[np.float64]:
    """Of the first texts of all pairs with the second ones, which come behind them."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide[:pairs] * wide[pairs:]).sum(axis=1)


def reference_vectors(python: str, folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """What sentence-transformers makes of the texts."""
    import json

    with TemporaryDirectory() as scratch:
        given, made = Path(scratch, "texts.json"), Path(scratch, "made.npy")
        given.write_text(json.dumps(texts), "utf-8")
        command = [python, "-c", REFERENCE, str(folder), str(given), str(made)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return np.load(made)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--reference", type=Path, metavar="FOLDER")
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args(arguments)

    from cactus import Model

    pairs = read_pairs(given.data)
    texts = [pair.one for pair in pairs] + [pair.other for pair in pairs]
    gold = [pair.score for pair in pairs]
    theirs = None
    if given.reference:
        theirs = reference_vectors(given.python, given.reference, texts)
        found = 100 * spearman(cosines(theirs, len(pairs)), gold)
        print(f"{'sentence-transformers':40} {found:6.2f}")
    for name in given.models:
        with Model(name) as model:
            ours = np.asarray(model.embed(texts, truncate=True, progress=True))
        found = 100 * spearman(cosines(ours, len(pairs)), gold)
        line = f"{name:40} {found:6.2f}"
        if theirs is not None and theirs.shape == ours.shape:
            both = cosines(np.concatenate([ours, theirs]), len(texts))
            line += f"   cosine to the reference: {both.mean():.6f} mean, {both.min():.6f} least"
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
