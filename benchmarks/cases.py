"""What is measured: one list that all sides read, so that none can drift from the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

PROMPT = "What is the capital of France?"
LONG_CONTEXT = 1000
"""From so many tokens on the kind of a peer's attention and cache counts."""


@dataclass(frozen=True)
class Case:
    """One measurement: read ``prompt`` tokens, or write ``gen`` tokens after ``depth`` others.

    ``rows`` conversations write together, a token each a step. ``temperature``: tokens are drawn
    (top_p 0.95); 0 is greedy. ``repeats`` is how often a child process measures it, after a
    warm-up that does not count unless ``long``: a long case is its own warm-up, and is taken in
    fewer rounds and with the most threads only. ``like`` is the case whose best configuration a
    peer's search starts from. A ``rare`` one is measured only where it is asked for by name, in
    that configuration: a search would take longer than all the rest.
    """

    name: str
    prompt: int = 0
    gen: int = 0
    depth: int = 0
    repeats: int = 1
    rows: int = 1
    temperature: float = 0.0
    like: str = ""
    long: bool = False
    rare: bool = False

    @property
    def mean_context(self) -> float:
        """Tokens of context that one generated token attends to, on average (0 for a prefill)."""
        return self.depth + (self.gen + 1) / 2 if self.gen else 0.0

    @property
    def context(self) -> int:
        """Positions of one conversation, at most."""
        return self.prompt + self.depth + self.gen

    @property
    def has_long_context(self) -> bool:
        """Whether attention is a large part of it."""
        return self.context >= LONG_CONTEXT


DEEP = "decode at 1,024"
DECODE, PREFILL = "decode", "prefill 512"

CASES = (
    Case("prefill 28", prompt=28, repeats=6),
    Case(PREFILL, prompt=512, repeats=2),
    Case("prefill 4,096", prompt=4096, like=PREFILL, long=True),
    Case(DECODE, gen=64, repeats=3),
    Case(DEEP, gen=64, depth=1024, repeats=2, like=DECODE),
    Case("decode at 4,096", gen=48, depth=4096, like=DEEP, long=True),
    Case("decode at 16,384", gen=32, depth=16_384, like="decode at 4,096", long=True, rare=True),
    Case("decode at 32,768", gen=32, depth=32_768, like="decode at 4,096", long=True, rare=True),
    Case("decode at temperature 0.8", gen=64, repeats=3, temperature=0.8, like=DECODE),
    Case("8 together", gen=48, rows=8),
    Case("32 together", gen=32, rows=32, like="8 together"),
)
ALONE = ("decode at temperature 0.8", "8 together", "32 together")
"""Cases that are set beside one greedy conversation, too."""


def lineage(case: Case) -> list[Case]:
    """The cases that it is like, the first of them first, and itself."""
    before = [known for known in CASES if known.name == case.like]
    return [*(each for known in before for each in lineage(known)), case]


def chosen(texts: list[str], quick: bool) -> tuple[Case, ...]:
    """The cases whose name has one of the texts (without any: all that are not rare).

    ``quick`` takes short ones.
    """
    cases = [
        case
        for case in CASES
        if any(text in case.name for text in texts) or not (texts or case.rare)
    ]
    if quick:
        short = [case for case in cases if not case.long]
        cases = [replace(case, repeats=max(1, case.repeats // 2)) for case in short]
    return tuple(cases)
