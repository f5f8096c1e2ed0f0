"""From a weights folder to all that transcribes: encoder, decoder, tokenizer, spectrogram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32
from cactus.audio.mel import LogMel, MelConfig
from cactus.calls.stop_flag import StopFlag
from cactus.compat import Unpack
from cactus.engine.loading import (
    LoadArguments,
    LoadOptions,
    build_plan,
    prepare,
    start_with_plans,
)
from cactus.engine.plan_cache import ENCODER, NAME, StoredPlan
from cactus.errors import InvalidRequest, UnsupportedModel
from cactus.graph.step import Row
from cactus.inputs.fields import Fields
from cactus.inputs.files import find_json, read_json
from cactus.models.base import load_architecture
from cactus.models.whisper import FRAMES_PER_ROW, Config
from cactus.native import Program, Session
from cactus.speech import alignment
from cactus.speech.alignment import Aligner
from cactus.speech.options import Options
from cactus.speech.vocabulary import Vocabulary
from cactus.speech.window import HOP
from cactus.tokenizer import Tokenizer
from cactus.weights.abilities import check_ability
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.locate import model_type_of, name_of


@dataclass(frozen=True)
class SpeechEngine:
    """A loaded speech model.

    ``encoder`` and ``decoder`` are programs that share sessions: a step of the encoder fills the
    memory that the decoder's tokens attend to. ``spectrogram`` makes log-mel frames.
    ``make_aligner`` builds what finds the times of words.
    """

    name: str
    architecture: str
    encoder: Program
    decoder: Program
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    spectrogram: LogMel
    config: Config
    make_aligner: Callable[[], Aligner]

    @cached_property
    def aligner(self) -> Aligner:
        """Says where the decoder attends; built when it is first needed."""
        return self.make_aligner()

    @property
    def context_length(self) -> int:
        """The most tokens that a prompt and its answer may have together, in a window."""
        return self.config.context_length

    @property
    def window_samples(self) -> int:
        """Samples of a window: 30 seconds."""
        return self.spectrogram.config.samples

    @property
    def program(self) -> Program:
        """What tokens go through."""
        return self.decoder

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

    def close(self) -> None:
        """Free the programs and their memory."""
        if "aligner" in vars(self):
            self.aligner.close()
        self.encoder.close()
        self.decoder.close()


def load_speech_engine(folder: Path, **arguments: Unpack[LoadArguments]) -> SpeechEngine:
    """Load the weights folder of a speech model into the native core; `Model` has the options.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError, InvalidRequest.
    """
    options = LoadOptions(**arguments)
    if options.context is not None:
        raise InvalidRequest("context: a speech model has windows of 30 seconds")
    name, architecture = name_of(folder), model_type_of(folder)
    check_ability(name, architecture, "transcribe")
    prepare(folder)
    data = folder / "model.safetensors"

    def start(plans: Sequence[StoredPlan]) -> tuple[Program, Program]:
        words, sound = (options.apply(plan.blob) for plan in plans)
        decoder = Program(words, data, **options.of_program)
        try:
            encoder = Program(sound, data, shares=decoder, chunk=plans[1].context_length)
        except BaseException:
            decoder.close()
            raise
        return decoder, encoder

    decoder, encoder = start_with_plans(
        folder, architecture, [NAME, ENCODER], lambda: _make_plans(folder), start
    )
    try:
        config = Config.parse(Fields(read_json(folder / "config.json")))
        mel = _spectrogram(folder, config)
        tokenizer = Tokenizer.load(folder, name)
        generation = find_json(folder / "generation_config.json") or {}
        vocabulary = Vocabulary.of(tokenizer, generation, config.vocab_size)
        heads = alignment.alignment_heads(generation, config)
    except BaseException:
        encoder.close()
        decoder.close()
        raise

    def make_aligner() -> Aligner:
        with WeightsFolder.open(folder) as weights:
            model = load_architecture(weights.config)
            graph = alignment.with_scores(model.build(), heads, config.source_positions)
            scoring = build_plan(graph, weights.tensors, config.vocab_size, config.context_length)
        scoring = replace(scoring, blob=options.apply(scoring.blob))
        program = Program(scoring.blob, data, shares=decoder, chunk=alignment.CHUNK)
        return Aligner(program, scoring, heads)

    return SpeechEngine(
        name, architecture, encoder, decoder, tokenizer, vocabulary, mel, config, make_aligner
    )


def _make_plans(folder: Path) -> list[StoredPlan]:
    """The plans of the decoder and of the encoder."""
    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors, config = weights.tensors, architecture.config
        architecture.check({name: tensor.shape for name, tensor in tensors.items()})
        encoding = architecture.build_encoder()
        if encoding is None or not isinstance(config, Config):
            raise UnsupportedModel(f"{name_of(folder)} ({config.model_type}) is not a speech model")
        parts = (
            (architecture.build(), config.vocab_size, config.context_length),
            (encoding, 0, config.source_positions),
        )
        return [
            StoredPlan(config.model_type, length, build_plan(graph, tensors, size, length).blob)
            for graph, size, length in parts
        ]


def _spectrogram(folder: Path, config: Config) -> LogMel:
    path = folder / "preprocessor_config.json"
    found = find_json(path)
    mel = MelConfig(bins=config.mel_bins) if found is None else MelConfig.parse(found, str(path))
    frames = FRAMES_PER_ROW * config.source_positions
    if mel.bins != config.mel_bins or mel.frames != frames or mel.hop != HOP:
        raise UnsupportedModel(
            f"{name_of(folder)}: the spectrogram has {mel.bins} bins and {mel.frames} frames, "
            f"the encoder takes {config.mel_bins} and {frames}"
        )
    return LogMel(mel)
