"""What choosing a token costs beyond the likeliest one: milliseconds of CPU time a token.

    python benchmarks/sampling.py                               three sizes of vocabulary
    python benchmarks/sampling.py --vocab 152064 --isa avx2     one, on one tier

The shapes of logits and the options are those of the tests (`tests/native/sampling_cases.py`). A
step without a sampler is timed in turn with one of each set of options; the figure is the median of
what the second takes longer. "greedy" is the whole step without a sampler.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from cactus.native import Program, Row, Sampler  # noqa: E402
from tests.native import programs  # noqa: E402
from tests.native.sampling_cases import OPTIONS, SHAPES, store  # noqa: E402

VOCABULARIES = (49_152, 151_936, 262_144)
SHAPES_TIMED = ("model", "gentle", "flat", "ties")


def seconds(program: Program, session: Any, row: Row) -> float:
    """CPU time of one step."""
    session.truncate(0)
    began = time.process_time()
    program.step([row])
    return time.process_time() - began


def measure(program: Program, token: int, options: dict[str, Any], rounds: int) -> float:
    """Milliseconds of CPU time that sampling adds to a step."""
    prompt = range(0, program.vocab_size, 97)
    with program.session() as session, Sampler(**options, seed=1, prompt=prompt) as sampler:
        plain, sampled = Row(session, [token]), Row(session, [token], "last", sampler)
        pairs = [
            seconds(program, session, sampled) - seconds(program, session, plain)
            for _ in range(rounds)
        ]
    return statistics.median(pairs[2:]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vocab", type=int, help="one size instead of three")
    parser.add_argument("--isa", help="a kernel tier instead of the best")
    parser.add_argument("--rounds", type=int, default=42, help="of each case (default: 42)")
    arguments = parser.parse_args()
    shapes = list(SHAPES)
    for vocab in [arguments.vocab] if arguments.vocab else VOCABULARIES:
        with tempfile.TemporaryDirectory() as folder:
            graph, packed = store(vocab, Path(folder) / "weights")
            with programs.load(
                graph, packed, context=1 << 20, threads=1, isa=arguments.isa
            ) as program:
                print(f"{vocab} tokens, {program.info.isa}, ms of CPU time a token")
                print(f"{'':16}", *(f"{shape:>8}" for shape in SHAPES_TIMED))
                with program.session() as session:
                    row = Row(session, [0])
                    times = [seconds(program, session, row) for _ in range(arguments.rounds)]
                print(f"{'greedy':16} {statistics.median(times) * 1e3:8.3f}")
                for name, options in OPTIONS.items():
                    found = [
                        measure(program, shapes.index(shape), options, arguments.rounds)
                        for shape in SHAPES_TIMED
                    ]
                    print(f"{name:16}", *(f"{each:8.3f}" for each in found), flush=True)


if __name__ == "__main__":
    main()
