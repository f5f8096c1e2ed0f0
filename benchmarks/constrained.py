"""What a grammar costs while a model writes, and what forced tokens win.

    python benchmarks/constrained.py weights/smollm2-135m-instruct --threads 2

Free prose and the same prose inside of a string of JSON, in turn, in one process, without
speculation, behind prompts that were read before: ratios of tokens per second, and per second of a
processor, which other work on the machine disturbs less (with one thread). Then eight answers in
one batch, and extractions by a schema: tokens, and steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from cactus import Model

STORY: dict[str, Any] = {
    "type": "object",
    "properties": {"story": {"type": "string"}},
    "required": ["story"],
}

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "first_name": {"type": "string", "maxLength": 40},
        "family_name": {"type": "string", "maxLength": 40},
        "year_of_birth": {"type": "integer", "minimum": 1800, "maximum": 2026},
        "occupation": {"enum": ["teacher", "engineer", "musician", "writer", "other"]},
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "maxLength": 60},
                "city": {"type": "string", "maxLength": 40},
            },
            "required": ["street", "city"],
            "additionalProperties": False,
        },
    },
    "required": ["first_name", "family_name", "year_of_birth", "occupation", "address"],
    "additionalProperties": False,
}

TEXTS = (
    "Anna Berger, born 1961, teaches at a school in Graz and lives at 12 Lindenweg.",
    "The novelist Tomas Riva was born in 1948. His house stands in Rua Nova 7, Porto.",
    "Mina Sato (1990) builds bridges. Letters reach her at 4-2 Hill Street, Kobe.",
    "Born in 1975, Leo Marsh plays the cello and lives in Mill Lane 3, Bath.",
)

Counts = dict[str, int]


def count_steps(model: Model) -> Counts:
    """A count of the model's steps, from now on."""
    program: Any = model._engine.program
    prepare, counts = program.prepare, {"steps": 0}

    def counted(rows: Any, **options: Any) -> Any:
        counts["steps"] += 1
        return prepare(rows, **options)

    program.prepare = counted
    return counts


def rates(model: Model, ask: str, most: int, **options: Any) -> tuple[float, float]:
    """Tokens of an answer per second, and per second of a processor."""
    options |= {"speculation": False}
    model.chat(ask, max_tokens=1, **options)  # reads the prompt
    wall, work = time.perf_counter(), time.process_time()
    answer = model.chat(ask, max_tokens=most, **options)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    return len(answer.tokens) / wall, len(answer.tokens) / work


def prose(model: Model, rounds: int, most: int) -> None:
    """Free prose against prose in a string."""
    walls, works, found = [], [], []
    for n in range(rounds + 1):
        ask = f"Write a long story about a lighthouse. Chapter {n + 1}."
        free = rates(model, ask, most)
        kept = rates(model, ask, most, schema=STORY)
        if n:  # the first round warms up
            found.append(free[0])
            walls.append(kept[0] / free[0])
            works.append(kept[1] / free[1])
    print(
        f"prose in a string against free prose ({statistics.median(found):.0f} tokens/s): "
        f"{statistics.median(walls):.3f} by the clock, {statistics.median(works):.3f} by "
        f"processor time; medians of {rounds}",
        flush=True,
    )


def extraction(model: Model) -> None:
    """Short objects with many forced tokens."""
    counts = count_steps(model)
    tokens = steps = 0
    for text in TEXTS:
        ask = f"Who is this? Answer in JSON. {text}"
        before = counts["steps"]
        answer = model.chat(ask, schema=PERSON, max_tokens=400)
        tokens, steps = tokens + len(answer.tokens), steps + counts["steps"] - before
        print(f"  {len(answer.tokens):4} tokens, {counts['steps'] - before:4} steps: {answer.text}")
    print(f"extraction: {steps / tokens:.2f} steps a token, prompts included")


def eight(model: Model, asks: list[str], most: int, **options: Any) -> tuple[float, float]:
    """Tokens of answers that are written together, per second and per second of a processor."""
    spent: list[tuple[float, float, int]] = []
    for limit in (1, most):
        wall, work = time.perf_counter(), time.process_time()
        answers = model.chat_many(asks, max_tokens=limit, speculation=False, **options)
        tokens = sum(len(answer.tokens) for answer in answers)
        spent.append((time.perf_counter() - wall, time.process_time() - work, tokens))
    (wall, work, one), (walls, works, all_) = spent
    return (all_ - one) / (walls - wall), (all_ - one) / (works - work)


def together(model: Model, rounds: int, most: int) -> None:
    """Eight answers in one batch, free and bound."""
    walls, works = [], []
    for n in range(rounds + 1):
        asks = [f"Write a long story about the number {8 * n + m}." for m in range(8)]
        found = [eight(model, asks, most, **options) for options in ({}, {"schema": STORY})]
        if n:
            walls.append(found[1][0] / found[0][0])
            works.append(found[1][1] / found[0][1])
    print(
        f"eight in a batch: {statistics.median(walls):.3f} by the clock, "
        f"{statistics.median(works):.3f} by processor time; medians of {rounds}",
        flush=True,
    )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=150)
    given = parser.parse_args()
    with Model(given.model, threads=given.threads) as model:
        prose(model, given.rounds, given.max_tokens)
        together(model, max(2, given.rounds // 2), given.max_tokens // 2)
        extraction(model)


if __name__ == "__main__":
    main()
