"""Child of the speech benchmarks: transcribe files with our engine. Prints one line of JSON."""

import argparse
import json
import time
from pathlib import Path

from cactus import Model


def main() -> None:
    """Read the arguments, transcribe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--vad", action="store_true")
    parser.add_argument("--words", action="store_true", help="with the times of words")
    parser.add_argument("--encoder", action="store_true", help="only the encoder, on silence")
    given = parser.parse_intermixed_args()
    if given.encoder:
        print(json.dumps({"seconds": encoder(given.model, given.threads, given.repeats)}))
        return
    model = Model(given.model, threads=given.threads)
    found = {"seconds": [], "segments": [], "begins": []}
    for file in given.files:
        for repeat in range(given.repeats):
            start = time.perf_counter()
            result = model.transcribe(
                file,
                language="en",
                beam_size=given.beams,
                vad=given.vad,
                word_timestamps=given.words,
            )
            found["seconds"].append(time.perf_counter() - start)
            if repeat == 0:
                found["segments"].append([(s.start, s.end, s.text) for s in result.segments])
                begins = [each.start for s in result.segments for each in s.words or (s,)]
                found["begins"].append(begins)
    print(json.dumps(found))


def encoder(folder: Path, threads: int, repeats: int) -> list[float]:
    """Seconds that a window of 30 s takes, without the decoder's keys and values of it."""
    import numpy as np

    from cactus import nn
    from cactus.graph.step import Row
    from cactus.models import whisper
    from cactus.speech.engine import load_speech_engine

    # Others compute those when they decode; ours do it at the end of the encoder.
    whisper.Whisper.encode = lambda self: nn.output_rows(self.model.encoder())
    engine = load_speech_engine(folder, threads=threads)
    frames, _ = engine.spectrogram(np.zeros(engine.window_samples, np.float32))
    features = frames.reshape(engine.config.source_positions, -1)
    seconds = []
    with engine.decoder.session() as session:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            engine.encoder.step([Row(session, outputs="none", features=features)])
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


if __name__ == "__main__":
    main()
