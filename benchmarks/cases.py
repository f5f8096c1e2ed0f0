"""What is measured: one list that both sides read, so that neither can drift from the other."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT = "What is the capital of France?"


@dataclass(frozen=True)
class Case:
    """One measurement: read ``prompt`` tokens, or write ``gen`` tokens after ``depth`` others.

    ``repeats`` is how often a child process measures it after one warm-up that does not count.
    ``both_attentions`` lets the peer try its two attention kernels and keep the better one.
    """

    name: str
    prompt: int
    gen: int
    depth: int
    repeats: int
    both_attentions: bool = False

    @property
    def mean_context(self) -> float:
        """Tokens of context that one generated token attends to, on average (0 for a prefill)."""
        return self.depth + (self.gen + 1) / 2 if self.gen else 0.0


DEEP = "decode at 1,024"

CASES = (
    Case("prefill 28", prompt=28, gen=0, depth=0, repeats=8),
    Case("prefill 512", prompt=512, gen=0, depth=0, repeats=3),
    Case("decode", prompt=0, gen=128, depth=0, repeats=2),
    Case(DEEP, prompt=0, gen=64, depth=1024, repeats=2, both_attentions=True),
)

QUICK_CASES = (
    Case("prefill 28", prompt=28, gen=0, depth=0, repeats=3),
    Case("prefill 512", prompt=512, gen=0, depth=0, repeats=1),
    Case("decode", prompt=0, gen=48, depth=0, repeats=1),
    Case(DEEP, prompt=0, gen=24, depth=1024, repeats=1, both_attentions=True),
)
