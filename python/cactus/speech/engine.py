"""A loaded speech model: encoder, decoder, vocabulary, spectrogram."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32
from cactus.audio.mel import LogMel, MelConfig
from cactus.calls.stop_flag import StopFlag
from cactus.compat import Self
from cactus.engine.loaded import Loaded
from cactus.errors import InvalidRequest, UnsupportedModel
from cactus.graph.step import Row
from cactus.inputs.fields import Fields
from cactus.inputs.files import find_json
from cactus.models.whisper import FRAMES_PER_ROW, Config
from cactus.native import Program, Session
from cactus.speech.alignment import Aligner, alignment_heads
from cactus.speech.options import Options
from cactus.speech.parts import ENCODER, Head, scores_of
from cactus.speech.vocabulary import Vocabulary
from cactus.speech.window import HOP
from cactus.tokenizer import Tokenizer


@dataclass(frozen=True)
class SpeechEngine:
    """What a speech model is made of.

    ``encoder`` and ``decoder`` are programs that share sessions: a step of the encoder fills the
    memory that the decoder's tokens attend to. ``spectrogram`` makes log-mel frames. ``heads`` are
    those of the decoder that follow the audio.
    """

    loaded: Loaded
    config: Config
    vocabulary: Vocabulary
    spectrogram: LogMel
    heads: tuple[Head, ...]

    @classmethod
    def of(cls, loaded: Loaded) -> Self:
        """The parts of a loaded speech model.

        Raises ModelFormatError and UnsupportedModel for what its files say of audio and languages.
        """
        config = Config.parse(Fields(loaded.config))
        generation = find_json(loaded.folder / "generation_config.json") or {}
        return cls(
            loaded,
            config,
            Vocabulary.of(loaded.tokenizer, generation, config.vocab_size),
            _spectrogram(loaded, config),
            alignment_heads(generation, config),
        )

    @cached_property
    def decoder(self) -> Program:
        """What tokens go through."""
        return self.loaded.tokens

    @cached_property
    def encoder(self) -> Program:
        """What features go through; made when the first window is heard."""
        return self.loaded.programs.start(ENCODER).program

    @cached_property
    def aligner(self) -> Aligner:
        """Says where the decoder attends; made when it is first needed."""
        scores = self.loaded.programs.start(scores_of(self.heads))
        return Aligner(scores.program, scores.reads, self.config.source_positions)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        return self.loaded.tokenizer

    @property
    def context_length(self) -> int:
        """The most tokens that a prompt and its answer may have together, in a window."""
        return self.config.context_length

    @property
    def window_samples(self) -> int:
        """Samples of a window: 30 seconds."""
        return self.spectrogram.config.samples

    def check(self, options: Options) -> None:
        """InvalidRequest for a language, a task or a token that this model does not have."""
        size = self.vocabulary.size
        for token in options.suppress_tokens:
            if token >= size:
                raise InvalidRequest(f"suppress_tokens: {token} is not a token of the {size:,}")
        some = next(iter(self.vocabulary.languages), None)
        self.vocabulary.prompt(options.language or some, options.task, True)

    def encode(
        self,
        session: Session,
        samples: F32,
        *,
        states: bool = False,
        stop: StopFlag | None = None,
    ) -> NDArray[np.float32] | None:
        """Make a window of at most 30 seconds the session's memory, silence behind its end.

        ``states`` also returns what the encoder says, 50 rows a second, ``[1500, hidden_size]``.
        Raises Cancelled once ``stop`` is set.
        """
        frames, _ = self.spectrogram(samples)
        features = frames.reshape(self.config.source_positions, -1)
        row = Row(session, outputs="all" if states else "none", features=features)
        outputs = self.encoder.step([row], want_logits=states, stop=stop)
        given = [output.logits for output in outputs if output.logits is not None]
        return np.stack(given) if states else None


def _spectrogram(loaded: Loaded, config: Config) -> LogMel:
    path = loaded.folder / "preprocessor_config.json"
    found = find_json(path)
    mel = MelConfig(bins=config.mel_bins) if found is None else MelConfig.parse(found, str(path))
    frames = FRAMES_PER_ROW * config.source_positions
    if mel.bins != config.mel_bins or mel.frames != frames or mel.hop != HOP:
        raise UnsupportedModel(
            f"{loaded.name}: the spectrogram has {mel.bins} bins and {mel.frames} frames, "
            f"the encoder takes {config.mel_bins} and {frames}"
        )
    return LogMel(mel)
