"""What conversations gain from being answered together.

    python benchmarks/many.py weights/smollm2-135m-instruct --threads 2

The same conversations one after another and together, in turn, in one process; the answers must be
equal. Rates are those of decoding: together, the sum of what those that run at once get.
"""

from __future__ import annotations

import argparse
import statistics

from quoting import FREE

from cactus import Completion, Model
from cactus.generate.many import AT_ONCE


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--conversations", type=int, default=8)
    given = parser.parse_args()
    prompts = (FREE * given.conversations)[: given.conversations]
    conversations = [[{"role": "user", "content": prompt.text}] for prompt in prompts]
    single, together, ratios = [], [], []
    with Model(given.model, threads=given.threads) as model:
        for _ in range(given.rounds):
            alone = [
                model.chat(conversation, max_tokens=given.max_tokens, speculation=False)
                for conversation in conversations
            ]
            answers = model.chat_many(conversations, max_tokens=given.max_tokens)
            rates = []
            for one, answer in zip(alone, answers, strict=True):
                if not isinstance(answer, Completion) or answer.logprobs != one.logprobs:
                    raise SystemExit(f"the answers differ: {one.text!r}, {answer}")
                rates.append(answer.metrics.decode_tps)
            single.append(statistics.median(one.metrics.decode_tps for one in alone))
            together.append(statistics.mean(rates) * min(len(rates), AT_ONCE))
            ratios.append(together[-1] / single[-1])
    print(
        f"{given.conversations} conversations, decoded tokens/s: "
        f"one {statistics.median(single):.0f}, together {statistics.median(together):.0f}; "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
