"""Hard recordings of a seed, ours against faster-whisper in float32 with the same settings.

    python benchmarks/speech_compare.py --seed 7 --minutes 30
    python benchmarks/speech_compare.py --precisions INT8 --beams 5 --vad on,off

Of each setting: the share of words that differ, the longest stretch of speech for which the
reference has words and ours has none, words where nobody speaks, and segments and words of no
length. What the reference drew at random (at a temperature above 0, where all else looked wrong to
it) is counted by itself: another run of it says something else. faster-whisper's int8 shows how far
two runs of the same weights differ anyway. Where the corpus knows all that is said in a file, the
words that are wrong in either transcription are counted, too. Transcriptions of faster-whisper are
kept in the cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import speech_models
from runner import Progress, cache_folder, environment, finish, run_child
from speech_corpus import Recording, Stretch, corpus

HERE = Path(__file__).resolve().parent
NEEDS = ["faster-whisper==1.2.1", "ctranslate2==4.8.5"]
SCORING = ["whisper-normalizer==0.1.15"]
LOST_SECONDS = 2.0
"""A stretch of the reference that is missing counts as lost when it lasts longer."""
NEAR = 1.0
"""Seconds by which the times of two transcriptions may differ."""


@dataclass(frozen=True)
class Said:
    """A word and about when it was said: a segment's words share its time evenly."""

    word: str
    start: float
    end: float
    drawn: bool = False


@dataclass
class Score:
    """How one transcription compares with another."""

    different: int = 0
    words: int = 0
    drawn: int = 0
    lost: float = 0.0
    longest: float = 0.0
    invented: int = 0
    empty: int = 0
    spoken: int = 0
    wrong: int = 0
    wrong_in_reference: int = 0

    def add(self, other: Score) -> None:
        """Count another file, too."""
        self.different += other.different
        self.words += other.words
        self.drawn += other.drawn
        self.lost += other.lost
        self.longest = max(self.longest, other.longest)
        self.invented += other.invented
        self.empty += other.empty
        self.spoken += other.spoken
        self.wrong += other.wrong
        self.wrong_in_reference += other.wrong_in_reference


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="another seed is another corpus (default: 1)")
    add("--minutes", type=float, default=30, help="of audio (default: 30)")
    add("--precisions", default="FP16,INT8,INT4", help="of ours (default: FP16,INT8,INT4)")
    add("--beams", default="5,1", help="beam sizes (default: 5,1)")
    add("--vad", default="on,off", help="voice activity detection (default: on,off)")
    add("--compute", default="int8", help="of faster-whisper, to compare as well (default: int8)")
    add("--threads", default="2", help="of either side (default: 2)")
    add("--only", default="", help="only these languages, such as en,de")
    add("--detect", action="store_true", help="let either side detect the language")
    add("--words", action="store_true", help="ours with word timestamps")
    add("--verbose", action="store_true", help="print every difference, too")
    return parser.parse_args()


class Sides:
    """Runs either side on a recording; each in a process of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given, self._progress = given, Progress()
        self._python = environment("faster-whisper", [*NEEDS, *SCORING], self._progress)

    def reference(self, recording: Recording, compute: str, beams: str, vad: str) -> Any:
        """The segments that faster-whisper gives; kept for the next time."""
        settings = self._settings(recording, beams, vad)
        content = recording.path.read_bytes() + repr([2, NEEDS, compute, settings[:-2]]).encode()
        kept = cache_folder() / "speech" / "references"
        path = kept / f"{hashlib.sha256(content).hexdigest()[:24]}.json"
        if not path.exists():
            self._progress.show(f"faster-whisper {compute}: {recording.language} {settings}")
            model = speech_models.ctranslate2(self._progress)
            command = [self._python, HERE / "speech_faster_whisper.py", model, recording.path]
            child = run_child([*command, "--compute", compute, *settings])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(child.stdout.splitlines()[-1])
        return json.loads(path.read_text())

    def ours(self, recording: Recording, precision: str, beams: str, vad: str) -> Any:
        """The segments that we give, and words where they are wanted."""
        model = speech_models.ours(precision, self._progress)
        settings = self._settings(recording, beams, vad)
        settings += ["--words"] if self._given.words else []
        child = run_child(
            [sys.executable, HERE / "speech_ours.py", model, recording.path, *settings]
        )
        return json.loads(child.stdout.splitlines()[-1])

    def words_of(self, found: Any, language: str) -> list[Said]:
        """The words of a file without case and marks; English ones are spelled one way."""
        texts = [text for _, _, text in found["segments"][0]]
        split = [list(plain(text)) for text in texts]
        if language == "en":
            child = subprocess.run(
                [self._python, HERE / "speech_plain.py"],
                input=json.dumps(texts),
                capture_output=True,
                text=True,
                check=True,
            )
            split = json.loads(child.stdout)
        said = []
        for (start, end, _), words, temperature in zip(
            found["segments"][0], split, found["temperatures"][0], strict=True
        ):
            step = (end - start) / max(1, len(words))
            for i, word in enumerate(words):
                at = start + i * step
                said.append(Said(word, at, at + step, temperature > 0))
        return said

    def _settings(self, recording: Recording, beams: str, vad: str) -> list[str]:
        language = "auto" if self._given.detect else recording.language
        settings = ["--language", language, "--beams", beams, *(["--vad"] if vad == "on" else [])]
        return [*settings, "--threads", self._given.threads]


def plain(text: str) -> Iterator[str]:
    """The words of a text in lower case, without marks."""
    for word in unicodedata.normalize("NFKC", text).lower().replace("-", " ").split():
        kept = "".join(each for each in word if each.isalnum())
        if kept:
            yield kept


def compare(
    reference: list[Said], ours: list[Said], stretches: Sequence[Stretch]
) -> tuple[Score, list[str]]:
    """The score of ``ours`` (but what segments alone show), and its differences to read."""
    certain = sum(not each.drawn for each in reference)
    score, notes = Score(words=certain, drawn=len(reference) - certain), []
    speech = [(each.start - NEAR, each.end + NEAR) for each in stretches if each.kind == "speech"]
    matcher = SequenceMatcher(
        None, [each.word for each in reference], [each.word for each in ours], autojunk=False
    )
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        beside = reference[max(0, a - 1) : b + 1]
        if any(each.drawn for each in beside):
            continue
        score.different += max(b - a, d - c)
        gap = _gap(reference[a:b], ours, speech)
        if gap > LOST_SECONDS:
            score.lost += gap
            score.longest = max(score.longest, gap)
        at = (reference[a:b] or ours[c:d])[0].start
        theirs, own = (" ".join(each.word for each in s) for s in (reference[a:b], ours[c:d]))
        mark = f"LOST {gap:.1f} s" if gap > LOST_SECONDS else ""
        notes.append(f"    {at:7.2f} {mark}\n        theirs: {theirs}\n        ours:   {own}")
    for said in ours:
        if not any(said.end > start and said.start < end for start, end in speech):
            score.invented += 1
            notes.append(f"    {said.start:7.2f} INVENTED {said.word}")
    return score, notes


def _gap(theirs: list[Said], ours: list[Said], speech: Sequence[tuple[float, float]]) -> float:
    """Seconds of a passage of theirs in which somebody speaks and ours has no word, the longest.

    What the reference writes where nobody speaks cannot be lost.
    """
    if not theirs:
        return 0.0
    longest = 0.0
    for first, last in speech:
        start, end = max(theirs[0].start, first), min(theirs[-1].end, last)
        busy = sorted((o.start, o.end) for o in ours if o.end > start and o.start < end)
        at = start
        for word_start, word_end in [*busy, (end, end)]:
            longest, at = max(longest, word_start - at), max(at, word_end)
    return longest


def score_of(
    sides: Sides, found: Any, reference: Any, recording: Recording
) -> tuple[Score, list[str]]:
    """The score of one file."""
    words = [sides.words_of(each, recording.language) for each in (reference, found)]
    score, notes = compare(*words, recording.stretches)
    spans = [*((s, e) for s, e, _ in found["segments"][0]), *found.get("spans", [[]])[0]]
    score.empty = sum(start >= end for start, end in spans)
    texts = [each.text for each in recording.stretches if each.kind == "speech"]
    if all(texts):
        spoken = [word for text in texts for word in plain(text)]
        theirs, own = ([each.word for each in said] for said in words)
        score.spoken = len(spoken)
        score.wrong_in_reference = wrong_words(spoken, theirs)
        score.wrong = wrong_words(spoken, own)
    return score, notes


def wrong_words(spoken: Sequence[str], found: Sequence[str]) -> int:
    """The fewest words that have to be changed, removed or added to get what was said."""
    costs = list(range(len(found) + 1))
    for i, word in enumerate(spoken, 1):
        before, costs[0] = costs[0], i
        for j, other in enumerate(found, 1):
            cost = min(costs[j] + 1, costs[j - 1] + 1, before + (word != other))
            before, costs[j] = costs[j], cost
    return costs[-1]


def run(given: argparse.Namespace) -> None:
    """Compare all settings and print a table."""
    recordings = corpus(given.seed, given.minutes)
    wanted = given.only.split(",") if given.only else [each.language for each in recordings]
    recordings = [each for each in recordings if each.language in wanted]
    sides = Sides(given)
    print(
        "| | words that differ | drawn | lost (longest) | invented | of no length "
        "| wrong, of what is known (reference) | by language |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for vad in given.vad.split(","):
        for beams in given.beams.split(","):
            names = [(f"faster-whisper {each}", each) for each in given.compute.split(",") if each]
            names += [(f"ours {each}", each) for each in given.precisions.split(",") if each]
            for name, kind in names:
                total, shares, notes = Score(), [], []
                for recording in recordings:
                    reference = sides.reference(recording, "float32", beams, vad)
                    run_side = sides.reference if name.startswith("faster") else sides.ours
                    found = run_side(recording, kind, beams, vad)
                    score, differences = score_of(sides, found, reference, recording)
                    total.add(score)
                    share = 100 * score.different / max(1, score.words)
                    shares.append(f"{recording.language} {share:.1f}")
                    notes += [f"  {recording.language} {recording.path}", *differences]
                share = 100 * total.different / max(1, total.words)
                print(
                    f"| {name}, beam {beams}, VAD {vad} | {share:.2f} % of {total.words} "
                    f"| {total.drawn} "
                    f"| {total.lost:.1f} s ({total.longest:.1f}) | {total.invented} "
                    f"| {total.empty} | {total.wrong} ({total.wrong_in_reference}) "
                    f"of {total.spoken} | {', '.join(shares)} |",
                    flush=True,
                )
                if given.verbose:
                    print("\n".join(notes), flush=True)


def main() -> int:
    """Run it; errors go to standard error."""
    return finish("speech_compare", lambda: run(arguments()))


if __name__ == "__main__":
    sys.exit(main())
