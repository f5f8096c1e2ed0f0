"""How long a stream stands still while somebody else's long prompt is read.

    python benchmarks/gaps.py weights/smollm2-135m-instruct --threads 2

One thread reads a stream; another one asks with a prompt of 4,000 tokens. The gap between two
tokens is measured while that is read, and before. ``--whole`` gives the prompt all rows of every
step, as it has them when nobody streams.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from unittest import mock

from cactus import Completion, Model
from cactus.generate import schedule

QUESTION = "Tell me a long story about a lighthouse."


def measure(model: Model, tokens: int) -> tuple[list[float], list[float], Completion]:
    """Seconds between two tokens of a stream before and while a prompt is read, and its answer."""
    vocabulary = model._engine.program.vocab_size
    prompt = random.Random(1).choices(range(100, vocabulary), k=tokens)
    answers: list[Completion] = []
    other = threading.Thread(
        target=lambda: answers.append(model.complete(prompt, max_tokens=1, speculation=False))
    )
    calm: list[float] = []
    busy: list[float] = []
    model.reset()
    options = {"max_tokens": 4000, "speculation": False, "temperature": 1.0, "seed": 1}
    ends = {token: -100 for token in model._engine.end_tokens}
    with model.stream(QUESTION, logit_bias=ends, **options) as stream:
        last = 0.0
        for count, _ in enumerate(stream):
            now = time.perf_counter()
            if count > 10:
                (busy if other.ident else calm).append(now - last)
            last = now
            if count == 40:
                other.start()
            elif answers:
                break
    other.join()
    return calm, busy, answers[0]


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    seconds = float("inf") if given.whole else schedule.LONGEST_GAP
    longest, high, median, reading = [], [], [], []
    with (
        Model(given.model, threads=given.threads) as model,
        mock.patch.object(schedule, "LONGEST_GAP", seconds),
    ):
        for _ in range(given.rounds):
            calm, busy, answer = measure(model, given.tokens)
            median.append(statistics.median(calm))
            longest.append(max(busy))
            high.append(sorted(busy)[len(busy) * 95 // 100])
            reading.append(answer.metrics.time_to_first_token_ms / 1000)
    print(
        f"a prompt of {given.tokens} tokens is read in {statistics.median(reading):.1f} s; "
        f"gaps of a stream meanwhile, ms: longest {1000 * statistics.median(longest):.0f} "
        f"({1000 * min(longest):.0f}..{1000 * max(longest):.0f}), 95 % below "
        f"{1000 * statistics.median(high):.0f}; before, "
        f"median {1000 * statistics.median(median):.1f}"
    )


if __name__ == "__main__":
    main()
