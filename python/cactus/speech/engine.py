"""From a weights folder to everything that hears: encoder, decoder, tokenizer, spectrogram."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32
from cactus.audio.mel import LogMel, MelConfig
from cactus.engine import build_plan, check_memory, check_types, with_types
from cactus.errors import UnsupportedModel
from cactus.graph.node import Graph
from cactus.graph.plan import Plan
from cactus.graph.step import Row
from cactus.machine import choose_threads
from cactus.models.base import load_architecture
from cactus.models.whisper import FRAMES_PER_ROW, Config
from cactus.native import Program
from cactus.speech import alignment
from cactus.speech.alignment import Aligner
from cactus.speech.options import Options
from cactus.speech.vocabulary import Vocabulary
from cactus.speech.window import HOP
from cactus.stop_flag import StopFlag
from cactus.tokenizer import Tokenizer
from cactus.weights.files import find_json
from cactus.weights.folder import PackedTensor, WeightsFolder


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
        """InvalidRequest for a language or a task that this model does not have."""
        some = next(iter(self.vocabulary.languages), None)
        self.vocabulary.prompt(options.language or some, options.task, True)

    def hear(
        self,
        session: Any,
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


def load_speech_engine(
    folder: Path,
    *,
    threads: int | None = None,
    isa: str | None = None,
    kv: str = "f16",
    activations: str = "int12",
    preload: bool = False,
) -> SpeechEngine:
    """Load the weights folder of a speech model into the native core; `Model` has the options.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError.
    """
    threads = choose_threads(threads)
    check_types(kv, activations)
    check_memory(folder)
    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors, config = weights.tensors, architecture.config
        architecture.check({name: tensor.shape for name, tensor in tensors.items()})
        encoding = architecture.build_encoder()
        if encoding is None or not isinstance(config, Config):
            raise UnsupportedModel(f"{folder.name} ({config.model_type}) is no speech model")
        make_plan = partial(_plan, tensors, kv, activations)
        words = make_plan(architecture.build(), config.vocab_size, config.context_length)
        sound = make_plan(encoding, 0, config.source_positions)
    mel = _spectrogram(folder, config)
    tokenizer = Tokenizer.load(folder)
    generation = _generation(folder)
    vocabulary = Vocabulary.of(tokenizer, generation, config.vocab_size)
    heads = alignment.alignment_heads(generation, config)
    data = folder / "model.safetensors"
    decoder = Program(words.blob, data, threads=threads, isa=isa, preload=preload)
    try:
        encoder = Program(sound.blob, data, shares=decoder, chunk=config.source_positions)
    except BaseException:
        decoder.close()
        raise

    def make_aligner() -> Aligner:
        graph = alignment.with_scores(architecture.build(), heads, config.source_positions)
        scoring = make_plan(graph, config.vocab_size, config.context_length)
        program = Program(scoring.blob, data, shares=decoder, chunk=alignment.CHUNK)
        return Aligner(program, scoring, heads)

    return SpeechEngine(
        folder.name,
        config.model_type,
        encoder,
        decoder,
        tokenizer,
        vocabulary,
        mel,
        config,
        make_aligner,
    )


def _plan(
    tensors: Mapping[str, PackedTensor],
    kv: str,
    activations: str,
    graph: Graph,
    vocab_size: int,
    context_length: int,
) -> Plan:
    built = build_plan(graph, tensors, vocab_size, context_length)
    return replace(built, blob=with_types(built.blob, kv, activations))


def _spectrogram(folder: Path, config: Config) -> LogMel:
    path = folder / "preprocessor_config.json"
    found = find_json(path)
    mel = MelConfig(bins=config.mel_bins) if found is None else MelConfig.parse(found, str(path))
    frames = FRAMES_PER_ROW * config.source_positions
    if mel.bins != config.mel_bins or mel.frames != frames or mel.hop != HOP:
        raise UnsupportedModel(
            f"{folder.name}: the spectrogram has {mel.bins} bins and {mel.frames} frames, "
            f"the encoder takes {config.mel_bins} and {frames}"
        )
    return LogMel(mel)


def _generation(folder: Path) -> Mapping[str, Any]:
    return find_json(folder / "generation_config.json") or {}
