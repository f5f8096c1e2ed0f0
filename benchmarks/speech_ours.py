"""Child of the speech benchmarks: transcribe files with our engine. Prints one line of JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import speech_child

from cactus import Model, Segment


def main() -> None:
    """Read the arguments, transcribe, print."""
    parser = speech_child.parser(__doc__)
    parser.add_argument("--vad", action="store_true")
    parser.add_argument("--words", action="store_true", help="with the times of words")
    parser.add_argument("--encoder", action="store_true", help="only the encoder, on silence")
    given = parser.parse_intermixed_args()
    if given.encoder:
        print(json.dumps({"seconds": encoder(Path(given.model), given.threads, given.repeats)}))
        return
    model = Model(given.model, threads=given.threads)

    def hear(file: str) -> tuple[Segment, ...]:
        options = {"beam_size": given.beams, "word_timestamps": given.words}
        options |= {"vad": given.vad or given.batch > 1, "batch_size": given.batch}
        return model.transcribe(file, language=given.language, **options).segments

    seconds, heard = speech_child.timed(given.files, given.repeats, hear)
    found = {
        "seconds": seconds,
        "segments": [[(s.start, s.end, s.text) for s in segments] for segments in heard],
        "temperatures": [[s.temperature for s in segments] for segments in heard],
        "spans": [[(w.start, w.end) for s in each for w in s.words or ()] for each in heard],
        "begins": [[w.start for s in segments for w in s.words or (s,)] for segments in heard],
    }
    print(json.dumps(found))


def encoder(folder: Path, threads: int, repeats: int) -> list[float]:
    """Seconds that a window of 30 s takes, without the decoder's keys and values of it."""
    import numpy as np

    from cactus import nn
    from cactus.engine.loading import load
    from cactus.engine.programs import Traced
    from cactus.graph.step import Row
    from cactus.speech.engine import SpeechEngine
    from cactus.speech.parts import ENCODER

    def alone(model: Any) -> Traced:
        # Others compute those when they decode; ours do it at the end of the encoder.
        whisper = model.model
        whisper.encode = lambda: nn.output_rows(whisper.model.encoder())
        return ENCODER.trace(model)

    part = replace(
        ENCODER,
        name="encoder alone",
        file="plan-encoder-alone.bin",
        trace=alone,
        also=b"without keys and values",
    )
    engine = SpeechEngine.of(load(folder, threads=threads))
    program = engine.loaded.programs.start(part).program
    frames, _ = engine.spectrogram(np.zeros(engine.window_samples, np.float32))
    features = frames.reshape(engine.config.source_positions, -1)
    with engine.decoder.session() as session:
        row = Row(session, outputs="none", features=features)
        return speech_child.timed_encoder(repeats, lambda: program.step([row]))


if __name__ == "__main__":
    main()
