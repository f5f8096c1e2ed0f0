"""Child of the speech benchmarks: transcribe files with faster-whisper. Prints one line of JSON."""

import json

import speech_child
from faster_whisper import BatchedInferencePipeline, WhisperModel


def main() -> None:
    """Read the arguments, transcribe, print."""
    parser = speech_child.parser(__doc__)
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

    def hear(file: str) -> list[tuple[float, float, str, float]]:
        language = None if given.language == "auto" else given.language
        options = {"language": language, "beam_size": given.beams}
        if given.batch > 1:
            pipeline = BatchedInferencePipeline(model)
            segments, _ = pipeline.transcribe(file, batch_size=given.batch, **options)
        else:
            segments, _ = model.transcribe(file, vad_filter=given.vad, **options)
        return [(s.start, s.end, s.text, s.temperature) for s in segments]

    seconds, segments = speech_child.timed(given.files, given.repeats, hear)
    found = {
        "seconds": seconds,
        "segments": [[each[:3] for each in file] for file in segments],
        "temperatures": [[each[3] for each in file] for file in segments],
    }
    print(json.dumps(found))


def encoder(model: WhisperModel, repeats: int) -> list[float]:
    """Seconds that a window of 30 s takes."""
    import numpy as np

    features = np.full((model.feature_extractor.mel_filters.shape[0], 3000), -1.5, np.float32)
    return speech_child.timed_encoder(repeats, lambda: np.asarray(model.encode(features)))


if __name__ == "__main__":
    main()
