"""From a weights folder to everything that hears: encoder, decoder, tokenizer, spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32
from cactus.audio.mel import LogMel, MelConfig
from cactus.engine import check_memory, check_types
from cactus.errors import UnsupportedModel
from cactus.graph import passes, plan
from cactus.graph.node import Graph
from cactus.graph.step import Row
from cactus.machine import choose_threads
from cactus.models.base import load_architecture
from cactus.models.whisper import FRAMES_PER_ROW, Config
from cactus.native import Program
from cactus.speech.options import Options
from cactus.speech.vocabulary import Vocabulary
from cactus.speech.window import HOP
from cactus.stop_flag import StopFlag
from cactus.tokenizer import Tokenizer
from cactus.weights.files import read_json
from cactus.weights.folder import PackedTensor, WeightsFolder


@dataclass(frozen=True)
class SpeechEngine:
    """A loaded speech model.

    ``encoder`` and ``decoder`` are programs that share sessions: a step of the encoder fills the
    memory that the decoder's tokens attend to. ``spectrogram`` makes log-mel frames.
    """

    name: str
    architecture: str
    encoder: Program
    decoder: Program
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    spectrogram: LogMel
    config: Config

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
        """Free both programs and their memory."""
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
        words = _plan(architecture.build(), tensors, config.vocab_size, config.context_length)
        sound = _plan(encoding, tensors, 0, config.source_positions)
    mel = _spectrogram(folder, config)
    tokenizer = Tokenizer.load(folder)
    vocabulary = Vocabulary.of(tokenizer, _generation(folder), config.vocab_size)
    if kv == "int8":
        words, sound = plan.with_int8_kv(words), plan.with_int8_kv(sound)
    if activations == "int8":
        words, sound = plan.with_int8_activations(words), plan.with_int8_activations(sound)
    data = folder / "model.safetensors"
    decoder = Program(words, data, threads=threads, isa=isa, preload=preload)
    try:
        encoder = Program(sound, data, shares=decoder, chunk=config.source_positions)
    except BaseException:
        decoder.close()
        raise
    return SpeechEngine(
        folder.name, config.model_type, encoder, decoder, tokenizer, vocabulary, mel, config
    )


def _plan(
    graph: Graph, tensors: Mapping[str, PackedTensor], vocab_size: int, context_length: int
) -> bytes:
    graph = passes.optimize(
        graph, lambda name: tensors[name].dtype, lambda name: tensors[name].rows
    )
    built = plan.build(graph, tensors, vocab_size=vocab_size, context_length=context_length)
    return built.blob


def _spectrogram(folder: Path, config: Config) -> LogMel:
    path = folder / "preprocessor_config.json"
    mel = MelConfig(bins=config.mel_bins)
    if path.exists():
        mel = MelConfig.parse(read_json(path), str(path))
    frames = FRAMES_PER_ROW * config.source_positions
    if mel.bins != config.mel_bins or mel.frames != frames or mel.hop != HOP:
        raise UnsupportedModel(
            f"{folder.name}: the spectrogram has {mel.bins} bins and {mel.frames} frames, "
            f"the encoder takes {config.mel_bins} and {frames}"
        )
    return LogMel(mel)


def _generation(folder: Path) -> Mapping[str, Any]:
    path = folder / "generation_config.json"
    return read_json(path) if path.exists() else {}
