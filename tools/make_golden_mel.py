"""Makes tests/golden/mel.npz: Whisper's features as transformers computes them.

    python tools/make_golden_mel.py

The sounds and which frames are kept stand in tests/audio/mel_cases.py. Needs transformers and
torch, which the test suite does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from transformers import WhisperFeatureExtractor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.audio.mel_cases import kept_frames, sounds  # noqa: E402


def main() -> None:
    golden = {}
    for bins in (80, 128):
        extractor = WhisperFeatureExtractor(feature_size=bins)
        for name, sound in sounds().items():
            found = extractor(
                sound, sampling_rate=16_000, return_tensors="np", return_attention_mask=True
            )
            real = int(found["attention_mask"].sum())
            features = found["input_features"][0].T
            golden[f"{name}.{bins}"] = features[kept_frames(real)].astype(np.float32)
            golden[f"{name}.frames"] = np.int64(real)
    np.savez_compressed(ROOT / "tests" / "golden" / "mel.npz", **golden)


if __name__ == "__main__":
    main()
