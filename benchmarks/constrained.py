"""What a grammar costs while a model writes, and what forced tokens win.

    python benchmarks/constrained.py weights/smollm2-135m-instruct --threads 2

Free prose and the same prose inside of a string of JSON, in turn, in one process, without
speculation: their ratio is that of tokens per second from the first token to the last. Then
extractions by a schema: tokens, steps, and tokens per second. Last, eight streams in one batch.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from cactus import Completion, Model

STORY: dict[str, Any] = {
    "type": "object",
    "properties": {"story": {"type": "string", "minLength": 4000}},
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


def speed(answer: Completion) -> float:
    """Tokens per second from the first one on."""
    seconds = (answer.metrics.total_time_ms - answer.metrics.time_to_first_token_ms) / 1000
    return (len(answer.tokens) - 1) / seconds


def prose(model: Model, rounds: int, most: int) -> None:
    """Free prose against prose in a string."""
    ratios, plain, bound = [], [], []
    for n in range(rounds + 1):
        ask = f"Write a long story about a lighthouse. Chapter {n + 1}."
        free = model.chat(ask, max_tokens=most, speculation=False)
        kept = model.chat(ask, max_tokens=most, speculation=False, schema=STORY)
        if n and len(free.tokens) > most // 2:  # the first round warms up
            plain.append(speed(free))
            bound.append(speed(kept))
            ratios.append(bound[-1] / plain[-1])
    print(
        f"prose: {statistics.median(plain):.1f} tokens/s free, {statistics.median(bound):.1f} in a "
        f"string of JSON; ratio median {statistics.median(ratios):.3f}, of {len(ratios)} pairs"
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


def together(model: Model, rounds: int, most: int) -> None:
    """Eight answers in one batch, free and bound."""
    ratios = []
    for n in range(rounds + 1):
        asks = [f"Write a long story about the number {8 * n + m}." for m in range(8)]
        rates = []
        for options in ({}, {"schema": STORY}):
            answers = model.chat_many(asks, max_tokens=most, speculation=False, **options)
            end = max(answer.metrics.total_time_ms for answer in answers)
            begin = max(answer.metrics.time_to_first_token_ms for answer in answers)
            rates.append(sum(len(answer.tokens) for answer in answers) / (end - begin) * 1000)
        if n:
            ratios.append(rates[1] / rates[0])
    print(f"eight in a batch: ratio median {statistics.median(ratios):.3f}, of {len(ratios)} pairs")


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
