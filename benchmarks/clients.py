"""What many clients of one model get, each of which reads a stream in the same event loop.

    python benchmarks/clients.py weights/smollm2-135m-instruct --threads 2 --clients 64

First one stream alone, then all at once: tokens a second together, in times of the one; and whether
somebody is left behind: the longest time for a token of a client over the median of all. Each
answer must be equal to its single run. Then one client reads a stream, or several do, while others
come one after another with prompts of 4,000 tokens: how long the streams stand still. Then several
such prompts are read while nobody writes: how many tokens a second. At last one client goes away in
the middle of such a prompt, alone and among several: until its place is free.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

from pace import Pace, quantile, spread
from quoting import FREE

from cactus import Completion, Model


@dataclass
class Client(Pace):
    """One stream, and what it came to."""

    answer: Completion | None = None

    async def read(self, model: Model, prompt: Any, options: dict[str, Any]) -> None:
        self.begun = time.perf_counter()
        whole = model.astream if isinstance(prompt, str) else model.acomplete_stream
        async with whole(prompt, **options) as stream:
            async for _ in stream:
                self.times.append(time.perf_counter())
                self.tokens += 1
        self.answer = stream.completion


def endless(model: Model, tokens: int) -> dict[str, Any]:
    """Options of an answer that has so many tokens."""
    ends = {token: -100 for token in model._engine.end_tokens}
    return {"max_tokens": tokens, "temperature": 1.0, "logit_bias": ends, "speculation": False}


def together(clients: list[Client]) -> float:
    """Tokens a second of all, while all of them write."""
    begin, end = max(c.times[0] for c in clients), min(c.times[-1] for c in clients)
    count = sum(begin < at <= end for client in clients for at in client.times)
    return count / (end - begin)


async def crowd(model: Model, questions: list[str], tokens: int) -> list[Client]:
    """All at once."""
    clients = [Client() for _ in questions]
    reads = (
        client.read(model, question, endless(model, tokens) | {"seed": number})
        for number, (client, question) in enumerate(zip(clients, questions, strict=True))
    )
    await asyncio.gather(*reads)
    return clients


def long_prompt(model: Model, tokens: int, seed: int) -> list[int]:
    """Token ids at random: nothing of them is remembered."""
    return random.Random(seed).choices(range(100, model._engine.program.vocab_size), k=tokens)


async def stalled(
    model: Model, streams: int, prompts: int, tokens: int
) -> tuple[list[float], list[float], float]:
    """Gaps of some streams before and while prompts are read, and the seconds for one of these."""
    clients = [Client() for _ in range(streams)]
    reads = [
        asyncio.create_task(client.read(model, f"{FREE[0].text} {n}", endless(model, 3500)))
        for n, client in enumerate(clients)
    ]
    while any(len(client.times) < 40 for client in clients):
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    for seed in range(prompts):
        prompt = long_prompt(model, tokens, seed)
        await model.acomplete(prompt, max_tokens=1, speculation=False)
    ended = time.perf_counter()
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    calm, busy = [], []
    for client in clients:
        for before, gap in zip(client.times, client.gaps, strict=False):
            if before + gap > began:
                busy.append(gap)
            else:
                calm.append(gap)
    return calm[10 * streams :], busy, (ended - began) / prompts


async def reading(model: Model, readers: int, tokens: int, seed: int) -> float:
    """Seconds until so many prompts are read that came at once."""
    prompts = [long_prompt(model, tokens, 100 * seed + n) for n in range(readers)]
    began = time.perf_counter()
    await asyncio.gather(*(model.acomplete(each, max_tokens=1) for each in prompts))
    return time.perf_counter() - began


async def gone(model: Model, readers: int, tokens: int, seed: int) -> float:
    """Seconds from when one of so many clients goes away in its prompt until its place is free."""
    first, *others = (
        asyncio.create_task(
            model.acomplete(long_prompt(model, tokens, 100 * seed + n), max_tokens=1)
        )
        for n in range(readers)
    )
    # At no special moment of a step, and in the first half of the prompt.
    await asyncio.sleep(0.3 + random.Random(seed).random())
    began = time.perf_counter()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    took = time.perf_counter() - began
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return took


def measure_crowd(model: Model, given: argparse.Namespace) -> None:
    """Rates of one and of all, and whether each answer is its own."""
    questions = [f"{FREE[n % len(FREE)].text} ({n})" for n in range(given.clients)]
    ratios, unfair, firsts, rates = [], [], [], []
    clients: list[Client] = []
    asyncio.run(crowd(model, questions, 5))  # the first steps read the weights
    for _ in range(given.rounds):
        model.reset()
        (alone,) = asyncio.run(crowd(model, questions[:1], given.max_tokens))
        model.reset()
        clients = asyncio.run(crowd(model, questions, given.max_tokens))
        rates.append(together(clients))
        ratios.append(rates[-1] * alone.per_token)
        unfair.append(spread(clients))
        firsts.append(quantile([client.first for client in clients], 0.95))
    print(
        f"{given.clients} streams: {statistics.median(rates):.0f} tokens/s, "
        f"{statistics.median(ratios):.2f} times one ({min(ratios):.2f}..{max(ratios):.2f}); "
        f"time for a token, longest / median {max(unfair):.2f}; "
        f"first token, 95 % within {1000 * statistics.median(firsts):.0f} ms",
        flush=True,
    )
    for number, (question, client) in enumerate(zip(questions, clients, strict=True)):
        model.reset()
        single = model.chat(question, **endless(model, given.max_tokens), seed=number)
        if client.answer is None or single.logprobs != client.answer.logprobs:
            raise SystemExit(f"the answers to {question!r} differ")


def measure_stalls(model: Model, given: argparse.Namespace) -> None:
    """Gaps of streams while long prompts are read."""
    for streams in (1, 8):
        model.reset()
        calm, busy, seconds = asyncio.run(stalled(model, streams, given.rounds, given.tokens))
        shares = (("p50", 0.5), ("p99", 0.99), ("longest", 1.0))
        said = ", ".join(f"{name} {1000 * quantile(busy, share):.0f}" for name, share in shares)
        print(
            f"{streams} streams while prompts of {given.tokens} tokens are read, "
            f"{seconds:.1f} s each: gaps in ms: {said}; before, "
            f"mean {1000 * statistics.mean(calm):.1f}",
            flush=True,
        )


def measure_reading(model: Model, given: argparse.Namespace) -> None:
    """How long several prompts take that are read together while nobody writes."""
    readers, tokens = given.readers, given.tokens
    took = []
    for n in range(given.rounds):
        model.reset()
        took.append(asyncio.run(reading(model, readers, tokens, n)))
    median = statistics.median(took)
    print(
        f"{readers} prompts of {tokens} tokens at once: {median:.2f} s "
        f"({min(took):.2f}..{max(took):.2f}), {readers * tokens / median:.0f} tokens/s",
        flush=True,
    )


def measure_leaving(model: Model, given: argparse.Namespace) -> None:
    """How long the place of one is taken that goes away."""
    for readers in (1, given.readers):
        seeds = range(5 * given.rounds)
        away = [asyncio.run(gone(model, readers, given.tokens, seed)) for seed in seeds]
        print(
            f"of {readers} in such prompts who goes away has left after "
            f"{1000 * statistics.median(away):.0f} ms, {1000 * max(away):.0f} at most",
            flush=True,
        )


PARTS = {
    "crowd": measure_crowd,
    "stalls": measure_stalls,
    "reading": measure_reading,
    "leaving": measure_leaving,
}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=4000, help="of a long prompt")
    parser.add_argument("--readers", type=int, default=4, help="of long prompts at once")
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS)
    given = parser.parse_args()
    with Model(given.model, threads=given.threads) as model:
        for part in given.parts or PARTS:
            PARTS[part](model, given)


if __name__ == "__main__":
    main()
