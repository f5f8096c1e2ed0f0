"""Which language a recording is in."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.calls.stop_flag import StopFlag
from cactus.native import Session
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options
from cactus.speech.search import Search
from cactus.speech.timeline import Timeline
from cactus.speech.window import HOP, Windows, is_silent, stoppable
from cactus.types import DetectedLanguage


def detect_language(
    engine: SpeechEngine, blocks: Iterator[F32], options: Options, stop: StopFlag
) -> Generator[float, None, DetectedLanguage]:
    """The language of a recording, by its first windows; None where nobody speaks in them.

    Yields the seconds that are done, after each window that is not sure.
    """
    if not engine.vocabulary.languages:
        return DetectedLanguage("en", 1.0, {"en": 1.0})
    blocks = stoppable(stop, blocks)
    if options.vad:
        blocks = Timeline().follow(blocks, options.vad_parameters)
    length = engine.window_samples
    windows = Windows(blocks, length)
    several = (windows.at(i * length) for i in range(options.language_detection_segments))
    search = Search(engine.decoder, engine.vocabulary, stop)
    with engine.decoder.session() as session:
        return (yield from of_windows(engine, search, session, several, options))


def of_windows(
    engine: SpeechEngine,
    search: Search,
    session: Session,
    windows: Iterable[F32],
    options: Options,
) -> Generator[float, None, DetectedLanguage]:
    """The language of the first window that is sure of one, else that of most of them.

    Yields the seconds that are done, after each window that is not. Raises Cancelled once the
    search is stopped.
    """
    limit = options.language_detection_threshold
    votes: dict[str, list[DetectedLanguage]] = {}
    done = 0
    for samples in windows:
        done += len(samples)
        if len(samples) < HOP or is_silent(samples):
            continue
        engine.encode(session, samples, stop=search.stop)
        found = likeliest(search.alone(search.detect_language(session)))
        if limit is None or found.probability > limit:
            return found
        votes.setdefault(found.language or "", []).append(found)
        yield done / SAMPLE_RATE
    if not votes:
        return DetectedLanguage(None, 0.0, {})
    most = max(votes.values(), key=len)
    return max(most, key=lambda each: each.probability)


def returned(work: Generator[object, None, DetectedLanguage]) -> DetectedLanguage:
    """What a generator returns, without what it yields."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: DetectedLanguage = end.value
            return found


def likeliest(chances: dict[str, float]) -> DetectedLanguage:
    """The likeliest language of several, with all of them in falling order."""
    ordered = dict(sorted(chances.items(), key=lambda each: -each[1]))
    language = next(iter(ordered))
    return DetectedLanguage(language, ordered[language], ordered)
