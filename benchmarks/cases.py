"""What is measured: one list that all sides read, so that none can drift from the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

PROMPT = "What is the capital of France?"


@dataclass(frozen=True)
class Case:
    """One measurement: read ``prompt`` tokens, or write ``gen`` tokens after ``depth`` others.

    ``repeats`` is how often a child process measures it, after a warm-up that does not count
    unless ``long``: a long case is its own warm-up, and is taken in fewer rounds and with the most
    threads only. ``both_attentions`` lets the peer try its two attention kernels and keep the
    better one.
    """

    name: str
    prompt: int
    gen: int
    depth: int
    repeats: int
    both_attentions: bool = False
    long: bool = False

    @property
    def mean_context(self) -> float:
        """Tokens of context that one generated token attends to, on average (0 for a prefill)."""
        return self.depth + (self.gen + 1) / 2 if self.gen else 0.0


DEEP = "decode at 1,024"
DECODE, PREFILL = "decode", "prefill 512"

CASES = (
    Case("prefill 28", prompt=28, gen=0, depth=0, repeats=6),
    Case(PREFILL, prompt=512, gen=0, depth=0, repeats=2),
    Case("prefill 4,096", prompt=4096, gen=0, depth=0, repeats=1, long=True),
    Case(DECODE, prompt=0, gen=64, depth=0, repeats=3),
    Case(DEEP, prompt=0, gen=64, depth=1024, repeats=2, both_attentions=True),
    Case("decode at 4,096", 0, gen=48, depth=4096, repeats=1, both_attentions=True, long=True),
)


def chosen(texts: list[str], quick: bool) -> tuple[Case, ...]:
    """The cases whose name has one of the texts (all without any); ``quick`` takes short ones."""
    cases = [case for case in CASES if not texts or any(text in case.name for text in texts)]
    if quick:
        short = [case for case in cases if not case.long]
        cases = [replace(case, repeats=max(1, case.repeats // 2)) for case in short]
    return tuple(cases)
