"""Everything that we show runs: the blocks of the documentation, the examples, the full example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "python-api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def home(starter_folder: Path, tmp_path: Path) -> Path:
    """A folder with `weights/smollm2-135m-instruct` in it."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "smollm2-135m-instruct").symlink_to(starter_folder)
    return tmp_path


def run(arguments: list[str], home: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


EXPECTED = [
    "The answer to this classic math problem is 4.",
    "The answer to this classic math problem is 4.",
    "Hello!",
    "The answer to this classic math problem is 4. None\nThe answer to this",
    "a larger model should be asked: 0.",
    "The capital of France is Paris.\nstop 0.9",
    "smollm2-135m-instruct\n",
    "tokens/s",
    "The answer to this classic math problem is 4.\nHello!",
    "The -1.57",
    "5 messages\n3 messages",
    "Paris",
    "What is the capital of France? The capital of France is Paris.\n2 stop\n",
    "Completion('",
]


def test_every_block_of_the_page_has_an_expectation() -> None:
    assert len(BLOCKS) == len(EXPECTED)


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_the_blocks_of_the_documentation(home: Path, index: int) -> None:
    assert EXPECTED[index] in run(["-c", BLOCKS[index]], home)


SAYS = {
    "async_chat.py": "That took too long; the model is free again.",
    "complete.py": "The capital of France is Paris",
    "chat.py": "The capital of France is Paris.",
    "conversation.py": "The capital of Italy is Rome.\n15 tokens read, 44 already known\nuser:",
    "errors.py": "ContextLengthExceeded: 131 tokens, room for 64",
    "logprobs.py": "%, of ",
    "many.py": "1 ContextLengthExceeded: the prompt has",
    "sampling.py": "seed 2:",
    "stop.py": "length - The night was a dark",
    "stream.py": "60 tokens, ",
}


def test_every_example_has_an_expectation() -> None:
    assert [path.name for path in EXAMPLES] == sorted(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples(home: Path, path: Path) -> None:
    assert SAYS[path.name] in run([str(path)], home)
    assert len(path.read_text("utf-8").splitlines()) <= 40, "one idea a file"


def test_sampling_repeats_with_its_seed(home: Path) -> None:
    lines = run([str(ROOT / "examples" / "sampling.py")], home).splitlines()
    one = [line for line in lines if line.startswith("seed 1:")]
    assert len(one) == 2 and one[0] == one[1]


def test_the_full_example(home: Path) -> None:
    said = run([str(ROOT / "python" / "example.py")], home)
    assert "The capital of France is Paris." in said
    assert "The capital of Italy is Rome.\n15 tokens of the prompt were new" in said
    assert "[19556, 905]" in said
    assert "messages[0].content" in said and 'no model "weights/no-such-model"' in said
    assert said.rstrip().endswith("The answer to this classic math problem is 4.")


def test_the_full_example_says_what_is_missing(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "python" / "example.py"), "no-such-model"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 1 and 'no model "no-such-model"' in done.stderr
