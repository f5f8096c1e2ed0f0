"""What many clients of one model get, each of which reads a stream in the same event loop.

    python benchmarks/clients.py weights/smollm2-135m-instruct --threads 2 --clients 64

First one stream alone, then all at once: tokens a second together, in times of the one; and whether
somebody is left behind: the longest time for a token of a client over the median of all. Each
answer must be equal to its single run. Then one client reads a stream, or several do, while others
come one after another with prompts of 4,000 tokens: how long the streams stand still. At last one
client goes away in the middle of such a prompt, as often as there are rounds: until its place is
free.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from quoting import FREE

from cactus import Completion, Model


@dataclass
class Client:
    """One stream: when each token came, and what it came to."""

    times: list[float] = field(default_factory=list)
    began: float = 0.0
    answer: Completion | None = None

    async def read(self, model: Model, prompt: Any, options: dict[str, Any]) -> None:
        self.began = time.perf_counter()
        whole = model.astream if isinstance(prompt, str) else model.acomplete_stream
        async with whole(prompt, **options) as stream:
            async for _ in stream:
                self.times.append(time.perf_counter())
        self.answer = stream.completion

    @property
    def first(self) -> float:
        return self.times[0] - self.began

    @property
    def a_token(self) -> float:
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


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


async def gone(model: Model, tokens: int, seed: int) -> float:
    """Seconds from when a client goes away in its prompt until its place is free."""
    work = asyncio.create_task(model.acomplete(long_prompt(model, tokens, seed), max_tokens=1))
    await asyncio.sleep(0.3)
    began = time.perf_counter()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """The value below which so many of them are."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


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
        ratios.append(rates[-1] * alone.a_token)
        each = [client.a_token for client in clients]
        unfair.append(max(each) / statistics.median(each))
        firsts.append(percentile([client.first for client in clients], 0.95))
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
        said = ", ".join(f"{name} {1000 * percentile(busy, share):.0f}" for name, share in shares)
        print(
            f"{streams} streams while prompts of {given.tokens} tokens are read, "
            f"{seconds:.1f} s each: gaps in ms: {said}; before, "
            f"mean {1000 * statistics.mean(calm):.1f}",
            flush=True,
        )


def measure_leaving(model: Model, given: argparse.Namespace) -> None:
    """How long the place of one is taken that goes away."""
    away = [asyncio.run(gone(model, given.tokens, seed)) for seed in range(5 * given.rounds)]
    print(
        f"who goes away in such a prompt has left after {1000 * statistics.median(away):.0f} "
        f"ms, {1000 * max(away):.0f} at most"
    )


PARTS = {"crowd": measure_crowd, "stalls": measure_stalls, "leaving": measure_leaving}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=4000, help="of a long prompt")
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS)
    given = parser.parse_args()
    with Model(given.model, threads=given.threads) as model:
        for part in given.parts or PARTS:
            PARTS[part](model, given)


if __name__ == "__main__":
    main()
