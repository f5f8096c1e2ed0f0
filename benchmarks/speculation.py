"""What speculation wins on prompts whose answers quote, and costs on free prose.

    python benchmarks/speculation.py weights/smollm2-135m-instruct --threads 2
    python benchmarks/speculation.py weights/smollm2-135m-instruct --together 4

Every prompt is answered with and without it in turn, in one process; the answers must be equal. A
ratio compares the medians of the time from the first token to the last. With --together so many of
them are answered as a list, and the time is that from the last first token to the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from quoting import FREE, QUOTING, Prompt

from cactus import Completion, Model


def decode_seconds(answer: Completion) -> float:
    """Seconds from the first token to the last."""
    return (answer.metrics.total_time_ms - answer.metrics.time_to_first_token_ms) / 1000


def compare(model: Model, prompt: Prompt, rounds: int, most: int) -> tuple[float, float, int]:
    """Median seconds without and with speculation, and the tokens of the answer."""
    messages = [{"role": "user", "content": prompt.text}]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    plain = model.chat(messages, max_tokens=most, speculation=False)  # a warm-up too
    for _ in range(rounds):
        for speculation in (False, True):
            answer = model.chat(messages, max_tokens=most, speculation=speculation)
            if (answer.tokens, answer.logprobs) != (plain.tokens, plain.logprobs):
                raise SystemExit(f"the answers differ: {prompt.text!r}")
            seconds[speculation].append(decode_seconds(answer))
    return statistics.median(seconds[False]), statistics.median(seconds[True]), len(plain.tokens)


def measure_together(
    model: Model, title: str, prompts: Sequence[Prompt], rounds: int, most: int, count: int
) -> None:
    """The same for `count` prompts at a time, answered as a list; a line for each list."""
    print(f"{title}, {count} together\ntokens  plain/s  speculating/s  ratio")
    for first in range(0, len(prompts) - count + 1, count):
        texts = [prompt.text for prompt in prompts[first : first + count]]
        seconds: dict[bool, list[float]] = {False: [], True: []}
        plain = model.chat_many(texts, max_tokens=most, speculation=False)
        for _ in range(rounds):
            for speculation in (False, True):
                answers = model.chat_many(texts, max_tokens=most, speculation=speculation)
                for answer, one in zip(answers, plain, strict=True):
                    if (answer.tokens, answer.logprobs) != (one.tokens, one.logprobs):
                        raise SystemExit(f"the answers differ: {one.text!r}")
                begun = max(each.metrics.time_to_first_token_ms for each in answers)
                ended = max(each.metrics.total_time_ms for each in answers)
                seconds[speculation].append((ended - begun) / 1000)
        before, after = (statistics.median(seconds[each]) for each in (False, True))
        tokens = sum(len(each.tokens) for each in plain)
        print(f"{tokens:6} {tokens / before:8.0f} {tokens / after:14.0f} {before / after:6.2f}")
        sys.stdout.flush()


def measure(model: Model, title: str, prompts: Sequence[Prompt], rounds: int, most: int) -> None:
    """Compare all prompts and print a line for each and one for all."""
    ratios, without, speculating = [], 0.0, 0.0
    print(f"{title}\n{'':8} tokens  plain/s  speculating/s  ratio")
    for prompt in prompts:
        before, after, tokens = compare(model, prompt, rounds, most)
        ratios.append(before / after)
        without += before
        speculating += after
        print(
            f"{prompt.kind:8} {tokens:6} {tokens / before:8.0f} {tokens / after:14.0f}"
            f" {before / after:6.2f}"
        )
    print(
        f"all together {without / speculating:.2f}, median {statistics.median(ratios):.2f}, "
        f"lowest {min(ratios):.2f}, highest {max(ratios):.2f}\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--only", choices=("quoting", "free"))
    parser.add_argument("--together", type=int, default=1, help="prompts at a time (default: 1)")
    given = parser.parse_args()
    kinds = [("answers that quote", QUOTING, "free"), ("free prose", FREE, "quoting")]
    with Model(given.model, threads=given.threads) as model:
        for title, prompts, other in kinds:
            if given.only == other:
                continue
            if given.together > 1:
                measure_together(
                    model, title, prompts, given.rounds, given.max_tokens, given.together
                )
            else:
                measure(model, title, prompts, given.rounds, given.max_tokens)


if __name__ == "__main__":
    main()
