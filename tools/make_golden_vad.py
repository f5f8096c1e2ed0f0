"""Makes tests/golden/vad.json: segments of speech as faster-whisper computes them.

    python tools/make_golden_vad.py

The probabilities and options stand in tests/audio/vad_cases.py; faster-whisper's own model is
replaced by them. Needs faster-whisper, which the test suite does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faster_whisper.vad
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.audio.vad_cases import Case, cases  # noqa: E402


def segments(case: Case) -> list[list[int]]:
    """[start, end] of each segment, in samples."""

    def probabilities(samples: np.ndarray) -> np.ndarray:
        return np.array(case.probabilities[: len(samples) // 512])

    faster_whisper.vad.get_vad_model = lambda: probabilities
    options = faster_whisper.vad.VadOptions(**case.options)
    sound = np.zeros(case.length, np.float32)
    found = faster_whisper.vad.get_speech_timestamps(sound, options)
    return [[int(speech["start"]), int(speech["end"])] for speech in found]


def main() -> None:
    golden = [segments(case) for case in cases()]
    (ROOT / "tests" / "golden" / "vad.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
