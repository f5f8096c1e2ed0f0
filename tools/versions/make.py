"""Writes what a version keeps on a disk, with the code of that version.

Weights folders with their plans, and the digests of what it reads in them; of versions that have
them an index, a job that was ended in its middle, and a saved chat.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from cactus import Model
from cactus.weights.convert import convert


def find(name: str, *modules: str) -> Any:
    """What the first of the modules that are there has; None where none is."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


def weights(checkpoint: Path, out: Path, precision: str) -> None:
    folder = find("WeightsFolder", "cactus.weights.format.folder", "cactus.weights.folder")
    target = out / precision.lower()
    convert(checkpoint, target, precision)
    with folder.open(target) as opened:
        read = {
            name: hashlib.sha256(opened.dequantize(name).tobytes()).hexdigest()
            for name in sorted(opened.tensors)
        }
    (out / f"{precision.lower()}.json").write_text(json.dumps(read, indent=1))
    with Model(str(target)) as model:
        model.chat([{"role": "user", "content": "Hi"}], max_tokens=4)


def index(out: Path) -> None:
    corpus = find("Corpus", "cactus")
    embedder = find("WordEmbedder", "tests.retrieval.made")
    if corpus is not None:
        (out / "documents").mkdir()
        (out / "documents" / "fruit.md").write_text(
            "Apples grow on trees.\n\nBananas come by ship."
        )
        with corpus(out / "documents", embedder=embedder(), cache_dir=out / "index") as made:
            assert made.search("apples")


class Ended(Exception):
    """The job is ended after some rows."""


def job(out: Path) -> None:
    run = find("run", "cactus.batch")
    if run is None:
        return
    rows = out / "job" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text("".join(json.dumps({"text": f"Row {n}"}) + "\n" for n in range(6)))

    def shown(what: str, done: int, total: int) -> None:
        if done >= 2:
            raise Ended

    task = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 4}}
    try:
        run(task, rows, rows.with_name("out.jsonl"), model=out / "int8", progress=shown)
    except Ended:
        (rows.parent / "job.json").write_text(json.dumps(task))


def chat(out: Path) -> None:
    conversation = find("Conversation", "cactus.cli.conversation")
    if conversation is None:
        return
    made = conversation("Be brief.")
    with Model(str(out / "int8")) as model:
        answer = model.chat([{"role": "user", "content": "Hi"}], max_tokens=4)
    question = find("Question", "cactus.cli.conversation")
    made.add(question("Hi") if question else "Hi", answer)
    made.save(out / "chat.json", "small")


def main(checkpoint: Path, out: Path) -> None:
    for precision in ("INT8", "INT4"):
        weights(checkpoint, out, precision)
    index(out)
    job(out)
    chat(out)


main(*map(Path, sys.argv[1:]))
