"""whisper-base against transformers and faster-whisper, on recordings of speech.

tests/golden/speech.json is made by tools/make_golden_speech.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.engine.loading import load
from cactus.engine.programs import TOKENS
from cactus.graph.plan import SLOT, SLOTS, _table
from cactus.speech.parts import ENCODER
from tests.assets import TRANSCRIPTS, TWO_CITIES
from tests.native.programs import AMX_BF16, EXACT_TIERS, TIERS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "speech.json").read_text())
# One greedy answer to each window, whatever it looks like.
GREEDY: dict[str, Any] = {
    "language": "en",
    "beam_size": 1,
    "temperature": 0.0,
    "compression_ratio_threshold": None,
    "log_prob_threshold": None,
    "no_speech_threshold": None,
    "condition_on_previous_text": False,
    "vad": False,
}


@pytest.fixture(scope="module")
def model(whisper_folder: Path) -> Iterator[Model]:
    with Model(whisper_folder) as loaded:
        yield loaded


SAID = {"two_cities.wav": TWO_CITIES}
SAID |= {name: text for name, text in TRANSCRIPTS.items() if name.startswith("librivox")}


def words(text: str) -> list[str]:
    """What is said, whatever the spelling."""
    return re.findall("[a-z]+", text.lower().replace("mr.", "mister"))


@pytest.mark.parametrize(
    "golden", GOLDEN, ids=[f"{each['file'][:-4]}-{each['timestamps']}" for each in GOLDEN]
)
def test_greedy_tokens_are_those_of_transformers(
    model: Model, voices: Path, golden: dict[str, Any]
) -> None:
    path = voices / golden["file"]
    found = model.transcribe(path, **GREEDY, timestamps=golden["timestamps"])
    want = [token for each in golden["windows"] for token in each["tokens"][: each["kept"]]]
    assert [token for segment in found.segments for token in segment.tokens] == want


@pytest.mark.parametrize("name", SAID)
def test_five_beams_hear_every_word(model: Model, voices: Path, name: str) -> None:
    """Of the 189 words faster-whisper, with five beams and the same weights in f32, misses one."""
    result = model.transcribe(voices / name)
    assert words(result.text) == words(SAID[name])
    assert result.language == "en"


@pytest.mark.parametrize("name", ["librivox_0870.wav", "librivox_0880.wav"])
def test_four_bits_hear_every_word(whisper_base_int4: Path, voices: Path, name: str) -> None:
    with Model(whisper_base_int4) as model:
        result = model.transcribe(voices / name, beam_size=1)
    assert words(result.text) == words(SAID[name])


@pytest.mark.parametrize(
    ("precision", "rounded", "int8"),
    [("FP16", False, False), ("INT8", True, True), ("INT4", True, False)],
)
def test_rounding_follows_the_weights(
    precision: str, rounded: bool, int8: bool, request: pytest.FixtureRequest
) -> None:
    """An encoder is multiplied in bf16 where its weights are quantised, if there is AMX; with
    weights of 8 bits its states are remembered in int8."""
    name = {"FP16": "whisper_folder"}.get(precision, f"whisper_base_{precision.lower()}")
    exact = EXACT_TIERS[-1]
    with closing(load(request.getfixturevalue(name))) as loaded:
        encoder, decoder = (loaded.programs.start(part) for part in (ENCODER, TOKENS))
        assert encoder.program.info.isa == (AMX_BF16 if rounded and AMX_BF16 in TIERS else exact)
        assert decoder.program.info.isa == exact
        for running in (encoder, decoder):
            slots = SLOT.iter_unpack(running.blob[_table(running.blob, SLOT)])
            assert {flag for kind, *_, flag in slots if kind == SLOTS["memory"]} == {int(int8)}
