"""Many clients at one server: ours beside llama.cpp's, over real sockets, in turns.

    python benchmarks/serving.py                         the starter model, 1, 8 and 64 clients
    python benchmarks/serving.py --clients 8 --rounds 1

All servers hold the same weights and are asked the same questions by streams of
``/v1/chat/completions``, greedily, in interleaved rounds. Printed are tokens a second of all
clients together, the time to the first token, the pauses within an answer, how evenly the clients
are served, and the pauses of answers that are being written while prompts of 4,000 tokens arrive.
Ollama runs llama.cpp's engine; ``llama-server, 1 slot`` is what it does where it has little memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import models
import peer as llama
from pace import Pace, quantile, spread
from runner import BenchmarkError, Command, Progress, finish

QUESTIONS = (
    "What is the capital of {0}, and what is it known for?",
    "Write a short story about a cactus that travels to {0}.",
    "Name three rivers near {0} and say what grows there.",
    "Explain to a child why the sky over {0} is blue.",
)
PLACES = ("France", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Spain", "Nepal", "Cuba",
          "Ghana", "Laos", "Malta", "Oman", "Qatar", "Samoa")  # fmt: skip
WORDS = "The lighthouse keeper counts the ships that pass by in the night and writes them down. "
SLOTS = 8
ENOUGH = 16
"""Of shorter answers the time of a token says little."""


@dataclass
class Told(Pace):
    """One answer as its client saw it."""

    text: str = ""


@dataclass
class Server:
    """A server that runs: its name and port."""

    name: str
    port: int


async def ask(server: Server, text: str, max_tokens: int) -> Told:
    """One question over a connection of its own, streamed."""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    told = Told(time.perf_counter())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    status = await reader.readline()
    if b" 200 " not in status:
        rest = await reader.read(2000)
        raise BenchmarkError(f"{server.name} answered {status!r}: {rest!r:.500}")
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event.get("usage"):
            told.tokens = event["usage"]["completion_tokens"]
        for choice in event.get("choices", ()):
            if piece := choice.get("delta", {}).get("content"):
                told.times.append(time.perf_counter())
                told.text += piece
    writer.close()
    if not told.times:
        raise BenchmarkError(f"{server.name} ended a stream without a token")
    return told


async def crowd(server: Server, clients: int, requests: int, max_tokens: int) -> list[list[Told]]:
    """So many clients at once, each of which asks so many questions, one after another."""

    async def client(number: int) -> list[Told]:
        told = []
        for n in range(requests):
            which = number * requests + n
            question = QUESTIONS[which % 4].format(PLACES[which // 4 % len(PLACES)])
            # A number in front: no two prompts begin alike, so that no cache helps.
            told.append(await ask(server, f"({which}) {question}", max_tokens))
        return told

    return list(await asyncio.gather(*map(client, range(clients))))


async def stalled(server: Server, long_tokens: int) -> list[float]:
    """The pauses of four answers while two long prompts arrive, one after another."""
    running = [
        asyncio.create_task(ask(server, f"({n}) Write a long story about {place}.", 400))
        for n, place in enumerate(PLACES[:4])
    ]
    await asyncio.sleep(1.0)
    for n in range(2):
        words = WORDS * (long_tokens // 18)
        await ask(server, f"({n}) {words} How many ships?", 8)
    return [gap for task in running for gap in (await task).gaps]


@dataclass
class Figures:
    """What one server did in all rounds of one case."""

    rates: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)

    def add(self, clients: list[list[Told]], seconds: float) -> None:
        """One round."""
        told = [one for client in clients for one in client]
        self.rates.append(sum(one.tokens for one in told) / seconds)
        self.firsts += [one.first for one in told]
        self.gaps += [gap for one in told for gap in one.gaps]
        if long := [one for one in told if one.tokens >= ENOUGH]:
            self.spreads.append(spread(long))

    def line(self, name: str) -> str:
        """A row of the table."""
        return (
            f"| {name} | {statistics.median(self.rates):.0f} | {quantile(self.firsts, 0.5):.3f} | "
            f"{quantile(self.firsts, 0.95):.3f} | {quantile(self.gaps, 0.5) * 1e3:.0f} | "
            f"{quantile(self.gaps, 0.99) * 1e3:.0f} | {statistics.median(self.spreads):.2f} |"
        )


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(name: str, command: Callable[[int], Command], log: Path) -> Iterator[Server]:
    """A server as a child process, which answers before this goes on."""
    port = free_port()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(part) for part in command(port)], stdout=output, stderr=output
        )
    try:
        server = Server(name, port)
        for _ in range(600):
            if child.poll() is not None:
                raise BenchmarkError(f"{name} has ended; see {log}")
            try:
                asyncio.run(ask(server, "Hello", 2))
                break
            except (OSError, BenchmarkError):
                time.sleep(0.1)
        else:
            raise BenchmarkError(f"{name} does not answer; see {log}")
        yield server
    finally:
        child.terminate()
        child.wait(20)


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default=models.STARTER, help="one of those of compare.py (starter)")
    add("--clients", default="1,8,64", help="how many clients at once (1,8,64)")
    add("--requests", type=int, default=2, help="questions of each client (2)")
    add("--max-tokens", type=int, default=64, help="tokens of an answer at most (64)")
    add("--rounds", type=int, default=3, help="interleaved rounds (3)")
    add("--long", type=int, default=4000, help="tokens of the long prompts; 0: none (4000)")
    add("--threads", type=int, default=2, help="threads of each server (2)")
    return parser.parse_args()


def main() -> int:
    """Start the servers, ask them in turns, print the tables."""
    given = arguments()
    progress = Progress()
    return finish("serving", lambda: run(given, progress), progress)


def run(given: argparse.Namespace, progress: Progress) -> None:
    """The comparison; raises BenchmarkError for what cannot run."""
    model = models.prepare(given.model, progress)
    server = llama.prepare_server(progress)
    logs = llama.cache_folder()

    def ours(port: int) -> Command:
        serve = ["-m", "cactus", "serve", model.folder, "--port", str(port)]
        return [sys.executable, *serve, "--threads", str(given.threads)]

    def theirs(slots: int) -> Callable[[int], Command]:
        room = 2048 if slots > 1 else 8192
        sizes = ["-c", str(slots * room if not given.long else max(slots * room, 8192 * slots))]
        threads = ["-t", str(given.threads), "-tb", str(given.threads)]
        return lambda port: [
            *(server, "-m", model.gguf, "--port", str(port), "-np", str(slots)),
            *(*sizes, *threads, "--no-webui"),
        ]

    with (
        running("cactus", ours, logs / "serving-ours.log") as first,
        running(f"llama-server, {SLOTS} slots", theirs(SLOTS), logs / "serving-8.log") as many,
        running("llama-server, 1 slot", theirs(1), logs / "serving-1.log") as one,
    ):
        servers = (first, many, one)
        for clients in map(int, given.clients.split(",")):
            found = {each.name: Figures() for each in servers}
            for number in range(given.rounds):
                for each in servers:
                    progress.show(f"{clients} clients, round {number + 1}: {each.name}")
                    begun = time.perf_counter()
                    told = asyncio.run(crowd(each, clients, given.requests, given.max_tokens))
                    found[each.name].add(told, time.perf_counter() - begun)
            print(f"\n{clients} clients\n\n{HEAD}")
            for name, figures in found.items():
                print(figures.line(name))
        if given.long:
            print(f"\nPauses of 4 answers while prompts of {given.long:,} tokens arrive\n")
            print(PAUSES)
            for each in servers[:2]:
                gaps = [
                    gap
                    for _ in range(given.rounds)
                    for gap in asyncio.run(stalled(each, given.long))
                ]
                print(
                    f"| {each.name} | {quantile(gaps, 0.5) * 1e3:.0f} | "
                    f"{quantile(gaps, 0.99) * 1e3:.0f} | {max(gaps) * 1e3:.0f} |"
                )


HEAD = (
    "| server | tokens/s | first token, p50 s | p95 | "
    "pause, p50 ms | p99 | time a token, slowest / median |\n"
    "|---|---|---|---|---|---|---|"
)
PAUSES = "| server | p50 ms | p99 | longest |\n|---|---|---|---|"


if __name__ == "__main__":
    sys.exit(main())
