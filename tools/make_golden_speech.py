"""Makes tests/golden/speech.json: what transformers hears in recordings, with whisper-base in f32.

    PYTHONPATH=python python tools/make_golden_speech.py CTRANSLATE2_FOLDER RECORDINGS

The folders are those of the fixtures `whisper_base` and `voices` (tests/assets.py). Needs torch and
transformers, which the test suite does not. An entry is one recording, with or without timestamps:

    file, timestamps
    windows   of at most 30 s: `start`, in frames of 10 ms; `tokens`, chosen greedily by Whisper's
              rules up to the end of text; `kept`, how many of them lie before the next window
    lead      by how much a choice beat its runner-up at least, in logits
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.generation import GenerationMixin
from transformers.generation.logits_process import (
    LogitsProcessorList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from cactus.audio.decode import open_audio
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.open import open_source
from cactus.weights.sources.source import Source

ROOT = Path(__file__).resolve().parent.parent
SAMPLES, HOP, FRAMES_PER_TIME = 480_000, 160, 2
MOST = 224
"""Tokens of an answer: half of the context."""


def load(source: Source) -> transformers.WhisperForConditionalGeneration:
    """The model in f32, of the same weights that Cactus converts."""
    config = transformers.AutoConfig.for_model(**source.config)
    model = transformers.WhisperForConditionalGeneration(config).eval().float()
    state = {}
    for tensor in source.tensors:
        count = int(np.prod(tensor.shape[:-1]))
        values = dequantize(tensor.kind, tensor.rows(0, count)).reshape(tensor.shape)
        state[tensor.name] = torch.from_numpy(np.array(values, np.float32))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["proj_out.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    model.generation_config = transformers.GenerationConfig(
        max_length=None,
        **{key: source.config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    return model


class Listener:
    """Greedy answers of transformers to windows of a sound."""

    def __init__(self, folder: Path) -> None:
        source = open_source(folder)
        self.model, self.rules = load(source), source.generation
        self.end, self.start = source.config["eos_token_id"], self.rules["decoder_start_token_id"]
        self.no_times = self.rules["no_timestamps_token_id"]
        self.extractor = transformers.WhisperFeatureExtractor(
            feature_size=source.config["num_mel_bins"]
        )

    def answer(self, samples: np.ndarray[Any, Any], timestamps: bool) -> tuple[list[int], float]:
        """The tokens of a window without the end of text, and the smallest lead."""
        features = self.extractor(samples, sampling_rate=16_000, return_tensors="pt")
        rules = self.rules
        prompt = [
            self.start,
            rules["lang_to_id"]["<|en|>"],
            rules["task_to_id"]["transcribe"],
            *([] if timestamps else [self.no_times]),
        ]
        # What steers is never said; the library's own list lacks the languages.
        steering = set(range(self.end + 1, self.no_times + 1))
        if not timestamps:
            steering |= set(range(self.no_times + 1, self.model.config.vocab_size))
        silent = sorted(set(rules["suppress_tokens"]) | steering)
        processors = [
            SuppressTokensLogitsProcessor(silent),
            SuppressTokensAtBeginLogitsProcessor(rules["begin_suppress_tokens"], len(prompt)),
        ]
        if timestamps:
            setting = transformers.GenerationConfig(
                eos_token_id=self.end,
                bos_token_id=self.end,
                no_timestamps_token_id=self.no_times,
                max_initial_timestamp_index=rules["max_initial_timestamp_index"],
            )
            processors.append(WhisperTimeStampLogitsProcessor(setting, begin_index=len(prompt)))
        with torch.no_grad():
            found = GenerationMixin.generate(
                self.model,
                features.input_features,
                decoder_input_ids=torch.tensor([prompt]),
                logits_processor=LogitsProcessorList(processors),
                do_sample=False,
                num_beams=1,
                max_new_tokens=MOST,
                return_dict_in_generate=True,
                output_scores=True,
            )
        leads = [float(best[0] - best[1]) for best in (s[0].topk(2).values for s in found.scores)]
        tokens = found.sequences[0, len(prompt) :].tolist()
        if tokens[-1] == self.end:
            tokens.pop()
        return tokens, min(leads)

    def windows(self, sound: np.ndarray[Any, Any], timestamps: bool) -> dict[str, Any]:
        """The entry of a sound: a window begins where the one before had its last pair of times."""
        seek, entries, lead = 0, [], float("inf")
        while seek < len(sound) // HOP:
            samples = sound[seek * HOP : seek * HOP + SAMPLES]
            tokens, least = self.answer(samples, timestamps)
            kept, advance = self.split(tokens, len(samples) // HOP)
            entries.append({"start": seek, "tokens": tokens, "kept": kept})
            seek, lead = seek + advance, min(lead, least)
        return {"windows": entries, "lead": round(lead, 4)}

    def split(self, tokens: list[int], frames: int) -> tuple[int, int]:
        """How many tokens are kept, and by how many frames the window moves on."""
        is_time = [token > self.no_times for token in tokens]
        pairs = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
        if not pairs or is_time[-2:] == [False, True]:
            return len(tokens), frames
        last = tokens[pairs[-1] - 1] - self.no_times - 1
        return pairs[-1], FRAMES_PER_TIME * last


def main() -> None:
    """Write the file."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    listener, folder = Listener(Path(sys.argv[1])), Path(sys.argv[2])
    files = [folder / "two_cities.wav", *sorted(folder.glob("librivox_*.wav"))]
    lines = []
    for file in files:
        with open_audio(file) as stream:
            sound = stream.read()
        for timestamps in (True, False):
            if len(sound) > SAMPLES and not timestamps:
                continue  # without times nobody knows where the next window begins
            entry = {"file": file.name, "timestamps": timestamps}
            entry |= listener.windows(sound, timestamps)
            lines.append(json.dumps(entry))
            print(file.name, timestamps, "lead", entry["lead"], flush=True)
    path = ROOT / "tests" / "golden" / "speech.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
