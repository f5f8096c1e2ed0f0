"""Child of the speech benchmarks: transcribe files with faster-whisper. Prints one line of JSON."""

import argparse
import json
import time

from faster_whisper import WhisperModel


def main() -> None:
    """Read the arguments, transcribe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--vad", action="store_true")
    parser.add_argument("--encoder", action="store_true", help="only the encoder, on silence")
    parser.add_argument("--compute", default="int8")
    given = parser.parse_intermixed_args()
    model = WhisperModel(
        given.model, device="cpu", compute_type=given.compute, cpu_threads=given.threads
    )
    if given.encoder:
        print(json.dumps({"seconds": encoder(model, given.repeats)}))
        return
    found = {"seconds": [], "segments": []}
    for file in given.files:
        for repeat in range(given.repeats):
            start = time.perf_counter()
            segments, _ = model.transcribe(
                file, language="en", beam_size=given.beams, vad_filter=given.vad
            )
            heard = [(s.start, s.end, s.text) for s in segments]
            found["seconds"].append(time.perf_counter() - start)
            if repeat == 0:
                found["segments"].append(heard)
    print(json.dumps(found))


def encoder(model: WhisperModel, repeats: int) -> list[float]:
    """Seconds that a window of 30 s takes."""
    import numpy as np

    features = np.full((model.feature_extractor.mel_filters.shape[0], 3000), -1.5, np.float32)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        np.asarray(model.encode(features))
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


if __name__ == "__main__":
    main()
