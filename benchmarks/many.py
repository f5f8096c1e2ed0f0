"""What calls on one model gain from being answered together.

    python benchmarks/many.py weights/smollm2-135m-instruct --threads 2

The same conversations one after another; as a list (``chat_many``); and each asked by a thread of
its own (``chat``), in turn, in one process. The answers must be equal, to the last bit of their
log-probabilities. Rates are those of decoding: together, the sum of those that run at once.
At last two conversations of 2,000 tokens alternate: what the second turn of each reads.
"""

from __future__ import annotations

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quoting import FREE

from cactus import Completion, Model
from cactus.generate.many import AT_ONCE


def rate(answers: list[Completion], alone: list[Completion]) -> float:
    """Tokens a second of all `answers` together; ends the program where they are not `alone`'s."""
    for one, answer in zip(alone, answers, strict=True):
        if (answer.text, answer.logprobs) != (one.text, one.logprobs):
            raise SystemExit(f"the answers differ: {one.text!r}, {answer.text!r}")
    rates = [answer.metrics.decode_tps for answer in answers]
    return statistics.mean(rates) * min(len(rates), AT_ONCE)


def alternate(model: Model, tokens: int) -> list[int]:
    """The tokens that the second turns of two alternating conversations read."""
    model.reset()
    talks = [model.conversation(), model.conversation()]
    per_word = model.count_tokens("a " * 100) / 100
    for word, talk in zip("ab", talks, strict=True):
        talk.chat(f"{word} " * int(tokens / per_word), max_tokens=20)
    return [talk.chat("And then?", max_tokens=20).metrics.prefill_tokens for talk in talks]


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--conversations", type=int, default=8)
    given = parser.parse_args()
    count = given.conversations
    questions = [prompt.text for prompt in (FREE * count)[:count]]
    options: Any = {"max_tokens": given.max_tokens, "speculation": False}
    single: list[float] = []
    together: dict[str, list[float]] = {"a list": [], "threads": []}
    with Model(given.model, threads=given.threads) as model, ThreadPoolExecutor(count) as pool:
        for _ in range(given.rounds):
            alone = [model.chat(question, **options) for question in questions]
            single.append(statistics.median(one.metrics.decode_tps for one in alone))
            model.reset()
            together["a list"].append(rate(model.chat_many(questions, **options), alone))
            model.reset()
            asked = pool.map(lambda question: model.chat(question, **options), questions)
            together["threads"].append(rate(list(asked), alone))
        new = alternate(model, 2000)
    print(f"{count} conversations, decoded tokens/s: one {statistics.median(single):.0f}")
    for kind, rates in together.items():
        ratios = [rate / one for rate, one in zip(rates, single, strict=True)]
        print(
            f"  {kind}: {statistics.median(rates):.0f}, {statistics.median(ratios):.2f} times one "
            f"({min(ratios):.2f}..{max(ratios):.2f})"
        )
    print(f"the second turns of two alternating conversations read {new[0]} and {new[1]} tokens")


if __name__ == "__main__":
    main()
