"""How much of JSON Schema grammars enforce, whether they are right, and what they cost.

    python benchmarks/grammars.py weights/smollm2-135m-instruct --suite FOLDER --bench FOLDER

FOLDER, or an archive of it: `--suite` has files of JSON-Schema-Test-Suite (lists of schemas with
instances), `--bench` of JSONSchemaBench (one schema with instances each). Each instance is written
by the model's own tokenizer and read token by token with the mask of every place, as generation
does. A *wrong accept* is an instance that breaks its schema and passes; with `lenient` grammars the
finished JSON is validated, too. A *wrong reject* fits its schema and does not pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cactus.errors import InvalidRequest
from cactus.grammar.compile import Grammar, Grammars
from cactus.grammar.formats import Format
from cactus.grammar.guide import Guide
from cactus.grammar.result import read
from cactus.grammar.schema import grammar_of
from cactus.tokenizer import Tokenizer


class Case(NamedTuple):
    """A schema, and instances of which is known whether they fit it."""

    name: str
    schema: Any
    instances: Sequence[tuple[Any, bool]]


class Result(NamedTuple):
    """What came of the cases: counts, and seconds of each compilation and mask."""

    counts: Counter[str]
    refused: Counter[str]
    compiles: list[float]
    masks: list[float]


def documents(place: Path) -> Iterator[tuple[str, Any]]:
    """The JSON files of a folder or an archive."""
    if place.is_dir():
        for path in sorted(place.rglob("*.json")):
            yield path.name, json.loads(path.read_bytes())
        return
    with tarfile.open(place) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member) if member.name.endswith(".json") else None
            if file is not None:
                yield member.name, json.loads(file.read())


def cases(place: Path) -> Iterator[Case]:
    """The schemas of a folder or an archive, of either kind."""
    for name, document in documents(place):
        for group in document if isinstance(document, list) else [document]:
            if "schema" not in group:  # a document that others refer to
                continue
            tests = [(test["data"], test["valid"]) for test in group.get("tests", ())]
            schema = group["schema"]
            if isinstance(schema, bool):  # forms of answers are objects
                schema = {} if schema else {"enum": []}
            yield Case(f"{name}: {group.get('description', '')}", schema, tests)


def accepts(grammar: Grammar, tokens: Sequence[int], masks: list[float]) -> bool:
    """Whether the tokens pass, each by the mask of its place."""
    guide = Guide(grammar, "never", 1 << 20)
    for n in range(len(tokens) + 1):
        began = time.process_time()
        mask = guide.masks(tokens[:n], [])[0][0]
        masks.append(time.process_time() - began)
        if n == len(tokens):
            return bool((mask & grammar.table.end).any())
        if not mask[tokens[n] // 32] >> tokens[n] % 32 & 1:
            # What must come is forced in the model's own tokens: others that say the same may pass.
            return _spelled(grammar, tokens)
    return False


def _spelled(grammar: Grammar, tokens: Sequence[int]) -> bool:
    matcher = grammar.start()
    return matcher.try_consume_tokens(list(tokens)) == len(tokens) and matcher.is_accepting()


def measure(grammars: Grammars, tokenizer: Tokenizer, found: Sequence[Case]) -> Result:
    """Compile every schema, strictly and then leniently, and read its instances."""
    result = Result(Counter(), Counter(), [], [])
    for case in found:
        began = time.process_time()
        try:
            grammar = grammar_of(Format("json", case.schema, "schema", strict=True), grammars)
            kind = "strict"
        except InvalidRequest as error:
            result.refused[str(error).partition("\n")[0][:90]] += 1
            kind = "lenient"
            try:
                grammar = grammar_of(Format("json", case.schema, "schema"), grammars)
            except InvalidRequest:
                kind = "none"
        result.compiles.append(time.process_time() - began)
        result.counts[f"schemas {kind}"] += 1
        if kind == "none":
            continue
        form = Format("json", case.schema, "schema")
        for value, fits in case.instances:
            text = json.dumps(value, ensure_ascii=False)
            passes = accepts(grammar, tokenizer.encode(text), result.masks)
            if passes:
                structure = read(text, form, grammar.source.unenforced)[1]
                passes = structure.valid is True
            verdict = "right" if passes == fits else "wrong accept" if passes else "wrong reject"
            result.counts[f"instances {kind}: {verdict}"] += 1
            if verdict == "wrong accept":
                print(f"  {verdict} ({kind}): {case.name}: {text[:150]}")
    return result


def report(title: str, result: Result) -> None:
    """Print one table; times are those of a processor."""
    print(title)
    for name, count in sorted(result.counts.items()):
        print(f"  {name:32} {count:6}")
    for name, seconds in (("compile", result.compiles), ("mask", result.masks)):
        p50, p99 = np.percentile(seconds, [50, 99])
        print(
            f"  {name:8} p50 {p50 * 1e3:8.3f} ms, p99 {p99 * 1e3:8.3f} ms, "
            f"mean {statistics.fmean(seconds) * 1e3:8.3f} ms, most {max(seconds) * 1e3:8.3f} ms"
        )
    print("  refused, the most frequent reasons:")
    for reason, count in result.refused.most_common(12):
        print(f"    {count:4} {reason}")
    sys.stdout.flush()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="WEIGHTS")
    parser.add_argument("--suite", type=Path)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--most", type=int, default=None, help="so many schemas of each")
    given = parser.parse_args()
    for model in given.models:
        tokenizer = Tokenizer.load(model)
        grammars = Grammars(tokenizer, tokenizer.vocab_size)
        began = time.perf_counter()
        _ = grammars.table
        print(
            f"{model.name}: {tokenizer.vocab_size} tokens, table in "
            f"{time.perf_counter() - began:.2f} s"
        )
        for name, place in (("test suite", given.suite), ("bench", given.bench)):
            if place is not None:
                found = list(cases(place))
                for title, optional in ((name, False), (f"{name}, optional parts", True)):
                    group = [case for case in found if ("/optional/" in case.name) == optional]
                    if group:
                        report(title, measure(grammars, tokenizer, group[: given.most]))


if __name__ == "__main__":
    main()
