"""Every error can be sent to another process, and copied."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import errors
from cactus.errors import CactusError
from cactus.weights.hub import fetch

KINDS = sorted(
    {
        kind
        for module in (errors, fetch)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, CactusError)
    },
    key=lambda kind: kind.__name__,
)
SAMPLES: dict[str, Any] = {"int": 70_000, "str": "a name", "bool": True, "float": 0.5}


def made(kind: type[CactusError]) -> CactusError:
    """An error of a class with all that its constructor takes."""
    if "__init__" not in vars(kind):
        return kind("what was wrong")
    parameters = list(inspect.signature(kind.__init__).parameters.values())[2:]
    return kind("what was wrong", **{p.name: SAMPLES[str(p.annotation)] for p in parameters})


def with_a_note(kind: type[CactusError]) -> CactusError:
    error = made(kind)
    error.__notes__ = ["seen by a caller"]  # what add_note does, from Python 3.11 on
    return error


@pytest.mark.parametrize("make", [made, with_a_note])
@pytest.mark.parametrize(
    "again",
    [
        *(lambda error, p=p: pickle.loads(pickle.dumps(error, p)) for p in range(6)),
        copy.copy,
        copy.deepcopy,
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_pickle_and_copy(
    kind: type[CactusError], again: Callable[[Any], Any], make: Callable[[Any], CactusError]
) -> None:
    error = make(kind)
    other = again(error)
    assert other is not error and type(other) is kind
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


POOLS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from cactus import errors
from cactus.errors import ContextLengthExceeded, InsufficientMemory

KINDS = {
    ContextLengthExceeded: {"prompt_tokens": 9, "limit": 7},
    InsufficientMemory: {},
    errors.InvalidAudio: {},
}

def fail(kind):
    raise kind("what was wrong", **KINDS[kind])

def check(wait, kind):
    try:
        wait(60)
    except kind as error:
        assert str(error) == "what was wrong" and vars(error) == KINDS[kind]
        print(kind.__name__)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, context.Pool(1) as workers:
        for kind in KINDS:
            check(pool.submit(fail, kind).result, kind)
            check(workers.apply_async(fail, [kind]).get, kind)
"""


def test_process_pools_give_errors_back_and_go_on(tmp_path: Path) -> None:
    script = tmp_path / "pools.py"
    script.write_text(POOLS)
    environment = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    names = ["ContextLengthExceeded", "InsufficientMemory", "InvalidAudio"]
    assert done.stdout.split() == [name for name in names for _ in range(2)]
