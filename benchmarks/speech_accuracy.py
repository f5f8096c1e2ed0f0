"""Word error rates of our Whisper and of faster-whisper's, with the same settings.

    python benchmarks/speech_accuracy.py --beams 1,5

whisper-base, in all our precisions against faster-whisper in float32 and int8, on recordings whose
words are known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import peer_speech
import speech_clips
import speech_models
from runner import BenchmarkError, Progress, finish, run_child

HERE = Path(__file__).resolve().parent
Texts = dict[str, str]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--precisions", default="FP16,INT8,INT4", help="of ours (default: FP16,INT8,INT4)")
    add("--compute", default="float32,int8", help="of faster-whisper (default: float32,int8)")
    add("--beams", default="1,5", help="beam sizes (default: 1,5)")
    add("--threads", type=int, default=2, help="of either side (default: 2)")
    add("--batch", type=int, default=1, help="passages of a file at a time (default: 1)")
    add("--texts", action="store_true", help="print what was heard, too")
    return parser.parse_args()


def hear(command: list[str | Path], files: list[Path], given: argparse.Namespace) -> Texts:
    """What a child hears in each file."""
    child = run_child([*command, *files, "--threads", str(given.threads)])
    segments = json.loads(child.stdout.splitlines()[-1])["segments"]
    return {
        file.name: " ".join(text.strip() for _, _, text in each)
        for file, each in zip(files, segments, strict=True)
    }


def score(python: Path, said: Texts, heard: dict[str, Texts]) -> dict[str, dict[str, list[int]]]:
    """Wrong and all words of every side, by recording and together."""
    result = subprocess.run(
        [str(python), str(HERE / "speech_score.py")],
        input=json.dumps({"said": said, "heard": heard}),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BenchmarkError(f"speech_score.py failed:\n{result.stderr[-2000:]}")
    found: dict[str, dict[str, list[int]]] = json.loads(result.stdout)
    return found


def run(given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Transcribe with every side and print a table."""
    python = peer_speech.prepare(progress)
    files = [speech_clips.plain(name) for name in speech_clips.TEXTS]
    heard: dict[str, Texts] = {}
    for beams in given.beams.split(","):
        settings = ["--beams", beams, "--batch", str(given.batch)]
        for compute in filter(None, given.compute.split(",")):
            progress.show(f"faster-whisper {compute}, beam {beams}")
            command = [
                python,
                HERE / "speech_faster_whisper.py",
                speech_models.ctranslate2(progress),
            ]
            heard[f"faster-whisper {compute}, beam {beams}"] = hear(
                [*command, *settings, "--compute", compute], files, given
            )
        for precision in filter(None, given.precisions.split(",")):
            progress.show(f"ours {precision}, beam {beams}")
            command = [
                sys.executable,
                HERE / "speech_ours.py",
                speech_models.ours(precision, progress),
            ]
            heard[f"ours {precision}, beam {beams}"] = hear([*command, *settings], files, given)
    progress.close()
    scores = score(python, speech_clips.TEXTS, heard)
    print("| | word error rate, % | wrong words |\n|---|---|---|")
    for side, counts in scores.items():
        wrong, words = counts["all"]
        print(f"| {side} | {100 * wrong / words:.2f} | {wrong} of {words} |")
        if given.texts:
            for name, (count, _) in counts.items():
                if count and name != "all":
                    print(f"    {name}: {count} wrong: {heard[side][name]}")
    return scores


def main() -> int:
    """Run it; errors go to standard error."""
    return finish("speech_accuracy", lambda: run(arguments(), Progress()))


if __name__ == "__main__":
    sys.exit(main())
