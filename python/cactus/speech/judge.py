"""What an answer is worth: whether it looks wrong, whether anybody speaks, what it repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.audio.segmenter import VadOptions
from cactus.audio.vad import find_speech
from cactus.speech.engine import SpeechEngine
from cactus.speech.options import Options
from cactus.speech.pieces import Piece
from cactus.speech.search import Answer, compression_ratio

SURE_OF_SPEECH = VadOptions(min_speech_duration_ms=250, speech_pad_ms=0)
"""The detector's options where it must be certain that somebody speaks."""
LOOP = 1.4
"""How far above its threshold the compression ratio of text is that nobody says."""
FASTEST = 25.0
"""Letters a second that the fastest speakers reach."""
ECHO = 12
"""Letters of a sentence that is repeated in noise; "yes" may be said again, too short to detect."""


class Judge:
    """Judges the answers of one transcription by its options."""

    def __init__(self, engine: SpeechEngine, options: Options) -> None:
        self._tokenizer, self._vocabulary = engine.tokenizer, engine.vocabulary
        self._options = options

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, or of some of them."""
        return self._tokenizer.decode([id for id in tokens if self._vocabulary.is_text(id)])

    def ratio(self, answer: Answer) -> float:
        """The compression ratio of an answer's text."""
        return compression_ratio(self.text(answer.tokens))

    def looks_wrong(self, answer: Answer) -> bool:
        """Whether an answer repeats itself or is too unlikely, so that another should be tried."""
        if self._is_silent(answer) and self._is_unlikely(answer):
            return False  # nobody speaks: no temperature would help
        return self._is_unlikely(answer) or self._repeats(answer, 1.0)

    def is_loop(self, answer: Answer) -> bool:
        """Whether an answer says the same again and again, far more often than people do."""
        return self._repeats(answer, LOOP)

    def is_silence(self, answer: Answer, samples: F32) -> bool:
        """Whether nobody speaks: both of the model's doubts say it, or one and the detector.

        The no-speech probability has to be half of its threshold at least, whatever else says it.
        """
        threshold, limit = self._options.no_speech_threshold, self._options.log_prob_threshold
        if threshold is None or answer.no_speech <= threshold / 2:
            return False
        silent = self._is_silent(answer)
        unlikely = limit is None or answer.average <= limit
        if silent and unlikely:
            return True
        return (silent or (unlikely and limit is not None)) and not speaks(samples)

    def counts_again(self, answer: Answer, samples: F32) -> bool:
        """Whether an answer counts to what was transcribed already.

        Nothing says it is silence; or it is likely, and somebody speaks as long as its letters
        take.
        """
        if not self._is_silent(answer):
            return True
        letters = said_letters(self.text(answer.tokens))
        return not self._is_unlikely(answer) and speaks(samples, len(letters) / FASTEST)

    def _is_silent(self, answer: Answer) -> bool:
        limit = self._options.no_speech_threshold
        return limit is not None and answer.no_speech > limit

    def _is_unlikely(self, answer: Answer) -> bool:
        limit = self._options.log_prob_threshold
        return limit is not None and answer.average < limit

    def _repeats(self, answer: Answer, times: float) -> bool:
        limit = self._options.compression_ratio_threshold
        return limit is not None and self.ratio(answer) > times * limit


def speaks(samples: F32, seconds: float = 0.0) -> bool:
    """Whether somebody speaks in samples f32 [n], for longer than so many seconds in all."""
    found = find_speech([samples], SURE_OF_SPEECH)
    return sum(each.end - each.start for each in found) > seconds * SAMPLE_RATE


def is_heard(piece: Piece, letters: str, samples: F32) -> bool:
    """Whether somebody speaks where a piece is, for as long as its letters take at least."""
    span = slice(*(round(time * SAMPLE_RATE) for time in (piece.start, piece.end)))
    return speaks(samples[span], len(letters) / FASTEST)


def only_heard(pieces: Sequence[Piece], texts: Iterable[str], samples: F32) -> list[Piece]:
    """The pieces but those where nobody speaks long enough for their letters.

    What is drawn for noise, after all else looked wrong, may be anything.
    """
    return [
        piece
        for piece, text in zip(pieces, texts, strict=True)
        if is_heard(piece, said_letters(text), samples)
    ]


def said_letters(text: str) -> str:
    """A text without case, marks and spaces, to compare what was said."""
    return "".join(each for each in text.lower() if each.isalnum())


def until_repeated(pieces: Sequence[Piece], texts: Iterable[str]) -> list[Piece]:
    """The pieces before the first whose text is that of the one before it."""
    kept: list[Piece] = []
    last = ""
    for piece, text in zip(pieces, texts, strict=True):
        letters = said_letters(text)
        if letters and letters == last:
            break
        kept.append(piece)
        last = letters
    return kept


def before_repetition(words: Sequence[str]) -> int | None:
    """How many words stand before a phrase is said for the second time of three in a row, or more.

    None where nothing is.
    """
    for end in range(1, len(words)):
        for length in range(1, min(end, (len(words) - end) // 2) + 1):
            phrase = words[end - length : end]
            if phrase == words[end : end + length] == words[end + length : end + 2 * length]:
                return end
    return None


def without_echoes(
    pieces: Sequence[Piece], texts: Iterable[str], before: Iterable[str], samples: F32
) -> list[Piece]:
    """The pieces but those that say again what was said, where nobody speaks long enough for it.

    In noise models go on with what they have just written, with times as good as any.
    ``before`` are the letters of what was said in earlier windows, ``samples`` are the window's.
    """
    kept: list[Piece] = []
    known = set(before)
    for piece, text in zip(pieces, texts, strict=True):
        letters = said_letters(text)
        again = len(letters) >= ECHO and letters in known
        if again and not is_heard(piece, letters, samples):
            continue
        kept.append(piece)
        known.add(letters)
    return kept
