"""Everything that we show runs: the blocks of the documentation, the examples, the full example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.images.made import video
from tests.vision.tiny import png

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name if page.parent == ROOT else f'docs/{page.name}'}-{number}": block
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    )
}
EXAMPLES = {path.name: path for path in sorted((ROOT / "examples").glob("*.py"))}


def furnish(home: Path, starter: Path) -> Path:
    """Put `weights/smollm2-135m-instruct` into a folder."""
    (home / "weights").mkdir()
    (home / "weights" / "smollm2-135m-instruct").symlink_to(starter)
    return home


@pytest.fixture
def home(starter_folder: Path, tmp_path: Path) -> Path:
    return furnish(tmp_path, starter_folder)


def run(arguments: list[str], home: Path, **variables: str) -> str:
    """What a program prints; it must end well and say nothing on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *arguments],
        cwd=home,
        env=environment | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def prints(
    request: pytest.FixtureRequest, starter_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """What a block or example prints; those of all tests run two at a time, of one thread each."""
    tests = [item for item in request.session.items if "prints" in item.fixturenames]
    with ThreadPoolExecutor(2) as pool:
        running = {}
        for name in (item.callspec.params["name"] for item in tests):
            home = furnish(tmp_path_factory.mktemp("home"), starter_folder)
            block = BLOCKS.get(name, "")
            if "whisper" in block or ".mp3" in block:
                whisper = request.getfixturevalue("whisper_base_int8")
                (home / "weights" / "whisper-base").symlink_to(whisper)
                for sound in ("talk.mp3", "audio.wav", "call.wav"):  # the content says what it is
                    voice = request.getfixturevalue("voices") / "beckett.wav"
                    (home / sound).symlink_to(voice)
            if "lfm2-vl" in block or name == "vision.py":
                seeing = request.getfixturevalue("tiny_vlm")
                (home / "weights" / "lfm2-vl-450m").symlink_to(seeing)
                (home / "path" / "to").mkdir(parents=True)
                (home / "path" / "to" / "image.png").write_bytes(png("square"))
            if "clip.mp4" in block:
                (home / "clip.mp4").write_bytes(video(5))
            if "minilm" in block:
                minilm = request.getfixturevalue("minilm")
                (home / "weights" / "all-minilm-l6-v2").symlink_to(minilm)
            program = ["-c", block] if block else [str(EXAMPLES[name])]
            settings = {"CACTUS_THREADS": "1"}
            if "documents" in (block or name):
                settings["XDG_CACHE_HOME"] = str(home)  # of an index of documents that go
            running[name] = pool.submit(run, program, home, **settings)
        yield lambda name: running[name].result()


FOUR = "The answer to this classic math problem is 4."
PARIS = "The capital of France is Paris."
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."

# What each block of each page prints, in the order of the page.
EXPECTED = {
    "README.md": [
        "The capital of Italy is Rome.\n" + FOUR,
        "-->",
        " 0\n",
        "[1.   0.6",
        "21 degrees and sunny\nPerson(name='Ada', age=36)",
        FOUR,
    ],
    "docs/audio-files.md": ["WEBVTT", "1 0.0  Never tried"],
    "docs/batch.md": ["2 0\n"],
    "docs/chat.md": [
        PARIS + "\nstop 0.9",
        "Paris",
        "5 messages\n3 messages",
        "A cactus is a plant that belongs",
        "SamplingDefaults(temperature=0.02,",
        "stop - The night was a dark",
        FOUR + " None\nThe answer to this",
    ],
    "docs/cloud.md": [" None\n"],
    "docs/confidence.md": ["0.92 stop\nScores(content_tokens=", " 0."],
    "docs/documents.md": [
        " 1 of 1 chunk\n",
        " walrus.md 1 Walruses\n",
    ],
    "docs/embeddings.md": ["(3, 384) float32\n[1."],
    "docs/errors.md": ["131 tokens, room for 64\ntemperature must be a number from 0 to 100"],
    "docs/flat-functions.md": [
        FOUR,
        FOUR,
        "Machine learning is the study",
        "Hello!",
        "a larger model should be asked: 0.",
        "Try again. Fail again.",
    ],
    "docs/images.md": ["4 frames: "],
    "docs/many.md": [PARIS + "\n2 stop\n"],
    "docs/mcp.md": ["['embed']\n1 step\n"],
    "docs/models.md": ["smollm2-135m-instruct\n"],
    "docs/python-api.md": ["<Model smollm2-135m-instruct (llama, 8192 tokens)>", "Completion("],
    "docs/raw-text.md": ["Paris", "[19556, 905] 'Hello world'\n2\n32\n", "The -1.5", "Rome. -22."],
    "docs/speech-live.md": ["Fail better.", "Fail better.", "0.0 1."],
    "docs/speech.md": [
        "No matter, try again",
        "again",
        "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
        "en 0.9",
    ],
    "docs/tools.md": [
        "length The weather in Paris is",
        "'name': 'get_weather', 'description': 'Get the current weather.'",
        "get_weather {'city': 'Paris'}",
        "1 get_time {'city': 'Rome'}\n1 12:30",
        "The time now is 12:15.",
    ],
    "docs/structured-output.md": ["True True\nTrue\n", "Review(product="],
    "docs/vision.md": ["16 tokens in 1 tile", "True", "1 0"],
    "docs/streaming-and-async.md": ["tokens/s", FOUR + "\nHello!", "cancelled "],
}


def test_every_block_has_an_expectation() -> None:
    expected = [f"{page}-{n}" for page, each in EXPECTED.items() for n in range(len(each))]
    assert sorted(BLOCKS) == sorted(expected)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_blocks_of_the_documentation(prints: Callable[[str], str], name: str) -> None:
    page, _, number = name.rpartition("-")
    assert EXPECTED[page][int(number)] in prints(name)


SAYS = {
    "agent.py": "1: get_price {'fruit': 'melon'}\n   = 3.0\nstop - The melon costs 3.0",
    "async_chat.py": "That took too long; the model is free again.",
    "complete.py": "The capital of France is Paris",
    "chat.py": "The capital of France is Paris.",
    "conversation.py": "The capital of Italy is Rome.\n15 tokens read, 44 already known\nuser:",
    "extract.py": "Lum",
    "documents.py": " ice.md: '# Home",
    "errors.py": "ContextLengthExceeded: 131 tokens, room for 64",
    "hand_off.py": "What is the capital of France? the local model (confidence 0.9",
    "logprobs.py": "%, of ",
    "many.py": "1 ContextLengthExceeded: the prompt has",
    "sampling.py": "seed 2:",
    "stop.py": "length - The night was a dark",
    "stream.py": "60 tokens, ",
    "tools.py": "{'name': 'get_weather', 'arguments': {'location': 'Paris'}}\n22 degrees and sunny",
    "vision.py": "\n0 tiles encoded, ",
}


def test_every_example_has_an_expectation() -> None:
    assert list(EXAMPLES) == sorted(SAYS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples(prints: Callable[[str], str], name: str) -> None:
    assert SAYS[name] in prints(name)
    assert len(EXAMPLES[name].read_text("utf-8").splitlines()) <= 40, "one idea a file"


def test_sampling_repeats_with_its_seed(home: Path) -> None:
    lines = run([str(ROOT / "examples" / "sampling.py")], home).splitlines()
    one = [line for line in lines if line.startswith("seed 1:")]
    assert len(one) == 2 and one[0] == one[1]


def test_the_full_example(home: Path, tiny_vlm: Path) -> None:
    (home / "weights" / "lfm2-vl-450m").symlink_to(tiny_vlm)
    said = run(
        [str(ROOT / "python" / "example.py")],
        home,
        XDG_CACHE_HOME=str(home),
        XDG_DATA_HOME=str(home),
    )
    assert re.search(r"Score: [01]\.\d\d - facts\.txt: The walrus eats clams", said)
    assert "The capital of France is Paris." in said
    assert "The capital of Italy is Rome.\n15 tokens of the prompt were new" in said
    assert "[19556, 905]" in said
    assert "messages[0].content" in said and 'no model "weights/no-such-model"' in said
    assert "get_weather {'location': 'Paris'}" in said
    assert re.search(r"^== Vision\n.+\n\n== Image embedding\n\d+ dimensions$", said, re.M)
    for missing in ("all-minilm-l6-v2", "openai/whisper-small"):
        assert f"To get one: cactus download {missing}\n" in said
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
