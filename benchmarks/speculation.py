"""What speculation wins on prompts whose answers quote, on code and on free prose.

    python benchmarks/speculation.py weights/smollm2-135m-instruct --threads 2
    python benchmarks/speculation.py weights/smollm2-135m-instruct --together 4
    python benchmarks/speculation.py BIG --draft SMALL --temperature 0.8

Every prompt is answered with and without it in turn, in one process, and with --draft a third time,
by a model that has one; the answers must be equal. A ratio compares the medians of the time from
the first token to the last; of answers that a draft serves, from the first to the last, too, so
that what the draft reads of the prompt is in it. With --together so many of them are answered as a
list, and the time is that from the last first token to the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from quoting import CODE, FREE, QUOTING, Prompt

from cactus import Completion, Model

KINDS = {"quoting": QUOTING, "code": CODE, "free": FREE}


class Side(NamedTuple):
    """One way to answer: a model, and whether it guesses."""

    name: str
    model: Model
    speculation: bool

    def answer(self, texts: Sequence[str], options: dict[str, Any]) -> list[Completion]:
        """Answers to all of `texts`, together if there are several."""
        options = {**options, "speculation": self.speculation}
        if len(texts) == 1:
            return [self.model.chat(texts[0], **options)]
        answers = self.model.chat_many(texts, **options)
        return [answer for answer in answers if isinstance(answer, Completion)]


def decode_seconds(answers: Sequence[Completion]) -> float:
    """Seconds from the last first token to the end."""
    begun = max(each.metrics.time_to_first_token_ms for each in answers)
    return (max(each.metrics.total_time_ms for each in answers) - begun) / 1000


def compare(
    sides: Sequence[Side], texts: Sequence[str], rounds: int, options: dict[str, Any]
) -> tuple[list[float], int, Completion]:
    """Median seconds of each side, the tokens of the answers, and the last answer of the last."""
    plain, *_ = [side.answer(texts, options) for side in sides]  # a warm-up too
    seconds: list[list[float]] = [[] for _ in sides]
    last = plain[0]
    for number in range(rounds):
        for side, times in list(zip(sides, seconds, strict=True))[:: 1 if number % 2 else -1]:
            answers = side.answer(texts, options)
            for answer, one in zip(answers, plain, strict=True):
                if (answer.tokens, answer.logprobs) != (one.tokens, one.logprobs):
                    raise SystemExit(f"the answers differ: {one.text!r}")
            times.append(decode_seconds(answers))
            if side is sides[-1]:
                last = answers[-1]
    return [statistics.median(times) for times in seconds], sum(len(e.tokens) for e in plain), last


def measure(
    sides: Sequence[Side],
    prompts: Sequence[Prompt],
    together: int,
    rounds: int,
    options: dict[str, Any],
) -> None:
    """Compare all prompts and print a line for each and one for all."""
    ratios: list[list[float]] = [[] for _ in sides]
    totals = [0.0 for _ in sides]
    heads = "".join(f"{side.name:>12}" for side in sides[1:])
    print(f"{'':8} tokens  plain/s{heads}" + ("   drafted  right" if len(sides) > 2 else ""))
    for first in range(0, len(prompts) - together + 1, together):
        chosen = prompts[first : first + together]
        texts = [prompt.text for prompt in chosen]
        seconds, tokens, last = compare(sides, texts, rounds, options)
        line = f"{chosen[0].kind:8} {tokens:6} {tokens / seconds[0]:8.1f}"
        for n, each in enumerate(seconds):
            totals[n] += each
            ratios[n].append(seconds[0] / each)
            line += f"{seconds[0] / each:11.2f}x" if n else ""
        if len(sides) > 2:
            line += f" {last.metrics.draft_tokens:9} {last.metrics.accepted_draft_tokens:6}"
        print(line)
        sys.stdout.flush()
    for n, side in enumerate(sides[1:], 1):
        print(
            f"{side.name}: all together {totals[0] / totals[n]:.2f}, "
            f"median {statistics.median(ratios[n]):.2f}, "
            f"lowest {min(ratios[n]):.2f}, highest {max(ratios[n]):.2f}"
        )
    print()
    sys.stdout.flush()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--draft", metavar="SMALL", help="a smaller model of the same vocabulary")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--prompts", type=int, help="of each kind at most so many")
    parser.add_argument("--together", type=int, default=1, help="prompts at a time (default: 1)")
    given = parser.parse_args()
    options = {"max_tokens": given.max_tokens, "temperature": given.temperature, "seed": 1}
    with ExitStack() as opened:
        model = opened.enter_context(Model(given.model, threads=given.threads))
        sides = [Side("plain", model, False), Side("looked up", model, True)]
        if given.draft:
            drafted = Model(given.model, threads=given.threads, draft=given.draft)
            sides.append(Side("drafted", opened.enter_context(drafted), True))
        for kind, prompts in KINDS.items():
            if given.only in (None, kind):
                print(kind)
                measure(sides, prompts[: given.prompts], given.together, given.rounds, options)


if __name__ == "__main__":
    main()
