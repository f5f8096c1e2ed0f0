"""What threads that encode leave in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cactus.tokenizer import write_tokenizer
from tests.tokenizer.conftest import sentencepiece_metadata


def printed(code: str, *arguments: object) -> list[int]:
    """The numbers that a program of its own prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(each) for each in done.stdout.split()]


THREADS, MOST = 8, 16 << 20
"""With the library's own bound it would be 40 MB."""

ENCODE = """
import os, random, sys, threading
from pathlib import Path
from cactus.tokenizer import Tokenizer

threads, folder = int(sys.argv[1]), Path(sys.argv[2])
tokenizer = Tokenizer.load(folder)
begin = threading.Barrier(threads)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def encode(seed):
    chosen = random.Random(seed)
    begin.wait()
    for _ in range(2500):
        tokenizer.encode(" ".join("".join(chosen.choices("abcdefgh", k=9)) for _ in range(10)))

before = resident()
all = [threading.Thread(target=encode, args=(seed,)) for seed in range(threads)]
for each in all:
    each.start()
for each in all:
    each.join()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_words_that_many_threads_have_read_take_little_memory(starter_files: Path) -> None:
    [grown] = printed(ENCODE, THREADS, starter_files)
    assert grown < MOST


LOADS, KEPT = 50, 4 << 20
"""With 1,000 words for each that was loaded it would be 20 MB."""

LOAD = """
import gc, os, sys
from pathlib import Path
from cactus.tokenizer import Tokenizer

loads, folder = int(sys.argv[1]), Path(sys.argv[2])

def load_and_encode():
    tokenizer = Tokenizer.load(folder)
    for number in range(1000):
        tokenizer.encode(f"the time is {number} and no more")

for _ in range(5):
    load_and_encode()
gc.collect()
before = int(Path("/proc/self/statm").read_text().split()[1])
for _ in range(loads):
    load_and_encode()
gc.collect()
now = int(Path("/proc/self/statm").read_text().split()[1])
print((now - before) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.fault("F62")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_tokenizers_that_are_gone_leave_no_words_in_the_thread_that_used_them(
    tmp_path: Path,
) -> None:
    write_tokenizer(sentencepiece_metadata(), tmp_path)
    [grown] = printed(LOAD, LOADS, tmp_path)
    assert grown < KEPT


LARGE = """
import sys
from pathlib import Path
from cactus.tokenizer import Tokenizer

def used(name):
    line = next(each for each in open("/proc/self/status") if each.startswith(name))
    return int(line.split()[1]) << 10

tokenizer = Tokenizer.load(Path(sys.argv[1]))
tokenizer.encode("a")
before = used("VmRSS")
for _ in range(3):
    tokenizer.encode("e\u0301" * 200_000)  # which is not read in pieces
print(used("VmHWM") - before, used("VmRSS") - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems do it by themselves"
)
def test_what_a_long_text_took_is_given_back(starter_files: Path) -> None:
    most, kept = printed(LARGE, starter_files)
    assert most > 50 << 20 and kept < most // 4, f"{kept} of {most}"
