"""Half an hour of known recordings with silence between them: nothing lost, repeated or misplaced.

    python benchmarks/speech_long.py            with and without voice activity detection
    python benchmarks/speech_long.py --seconds 180

Compared are the words with those that every recording gives by itself, the moments at which
somebody begins to speak in a recording with the beginnings of segments (`--words`: of words), and
the peak memory with that of a file of one minute.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import peer_speech
import speech_clips
import speech_models
from runner import BenchmarkError, Child, Progress, run_child
from speech_accuracy import score

from cactus.errors import CactusError

HERE = Path(__file__).resolve().parent
Segments = list[tuple[float, float, str]]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=int, default=1800, help="length of the file (default: 1800)")
    add("--precision", default="INT8", help="of the model (default: INT8)")
    add("--beams", default="5", help="beam size (default: 5)")
    add("--threads", default="2", help="threads (default: 2)")
    add("--words", action="store_true", help="compare the beginnings of words")
    add("--verbose", action="store_true", help="print the segments, too")
    return parser.parse_args()


def hear(
    given: argparse.Namespace, files: list[Path], vad: bool
) -> tuple[list[Segments], list[list[float]], Child]:
    """Of every file its segments and where they begin, or their words; and the child process."""
    model = speech_models.ours(given.precision, Progress())
    settings = ["--threads", given.threads, "--beams", given.beams, *(["--vad"] if vad else [])]
    settings += ["--words"] if given.words else []
    child = run_child([sys.executable, HERE / "speech_ours.py", model, *files, *settings])
    found = json.loads(child.stdout.splitlines()[-1])
    return found["segments"], found["begins"], child


def offsets(begins: list[float], starts: list[float]) -> list[float]:
    """How far the nearest of ``begins`` lies from each of ``starts``."""
    return [min(abs(begin - start) for begin in begins) for start in starts]


def words(segments: Segments) -> str:
    """The text of all segments."""
    return " ".join(text.strip() for _, _, text in segments)


def main() -> int:
    """Run it; errors go to standard error."""
    given, progress = arguments(), Progress()
    try:
        python = peer_speech.prepare(progress)
        names = list(speech_clips.TEXTS)
        alone, *_ = hear(given, [speech_clips.plain(name) for name in names], vad=False)
        path, places = speech_clips.with_silence(given.seconds)
        minute, _ = speech_clips.with_silence(60)
        own = dict(zip(names, alone, strict=True))
        onsets = {name: speech_clips.onset(name) for name in names}
        said = " ".join(words(own[name]) for name, _, _ in places)
        starts = [start + onsets[name] for name, start, _ in places]
        for vad in (True, False):
            progress.show(f"vad {vad}")
            (found,), (begins,), child = hear(given, [path], vad)
            *_, short = hear(given, [minute], vad)
            counts = score(python, {"long": said}, {"ours": {"long": words(found)}})
            wrong, all_words = counts["ours"]["all"]
            times = [time for start, end, _ in found for time in (start, end)]
            far = offsets(begins, starts)
            print(
                f"vad {'on' if vad else 'off'}: {len(found)} segments, {wrong} of {all_words} "
                f"words differ ({100 * wrong / all_words:.2f} %); times in order: "
                f"{times == sorted(times)}; beginnings off by {sorted(far)[len(far) // 2]:.2f} s, "
                f"at most {max(far):.2f} s; peak {child.peak_rss / 1e6:.0f} MB, of a minute "
                f"{short.peak_rss / 1e6:.0f} MB; {child.seconds:.0f} s"
            )
            for (name, start, _), off in zip(places, far, strict=True):
                if off > 0.3:
                    print(f"    {name} at {start:.2f} s: no segment begins within {off:.2f} s")
            if given.verbose:
                for start, end, text in found:
                    print(f"    [{start:8.2f} {end:8.2f}]{text}")
    except (BenchmarkError, CactusError) as error:
        progress.close()
        print(f"speech_long: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
