"""Random checkpoints are whole models: published sizes, and each converts, loads and computes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.chat.messages import parse_messages
from cactus.engine.loading import load
from cactus.errors import InvalidRequest
from cactus.inputs.languages import NAMES as LANGUAGES
from cactus.models.abilities import ABILITIES
from cactus.models.base import known_architectures, load_architecture
from cactus.models.vision import vision_config
from cactus.native import Row
from cactus.speech.engine import SpeechEngine
from cactus.vision.processors import Processor
from cactus.weights import catalog
from cactus.weights.convert import convert
from cactus.weights.format.safetensors import FILLER, read_safetensors

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def published(tool: Any) -> list[Any]:
    """The published models whose architecture is there."""
    known = known_architectures()
    return [
        model for model in tool("published_models").PUBLISHED if model.config["model_type"] in known
    ]


def test_the_sizes_are_the_published_ones(tool: Any) -> None:
    for model in published(tool):
        weights = load_architecture(model.config).weights
        counted = sum(math.prod(weight.shape) for weight in weights)
        assert (model.hub_id, counted) == (model.hub_id, model.parameters)


def test_every_architecture_runs(tool: Any, tmp_path: Path) -> None:
    kinds = {model.config["model_type"]: model for model in published(tool)}
    chatting = {kind for kind, able in ABILITIES.items() if "chat" in able and "see" not in able}
    assert set(kinds) == chatting
    for kind, model in kinds.items():
        source, folder = tmp_path / f"{kind}-source", tmp_path / kind
        tool("make_random_checkpoint").write(tool("published_models").tiny(model.config), source)
        convert(source, folder)
        engine = load(folder, threads=1, isa=None, context=None)
        stops = json.loads((source / "config.json").read_text())["eos_token_id"]
        assert engine.end_tokens == frozenset(stops if isinstance(stops, list) else [stops])
        (turn,) = parse_messages([{"role": "user", "content": "the cat"}])
        text = engine.template.render([turn]).text
        assert text == "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
        ids = engine.tokenizer.encode("the cat")
        assert engine.tokenizer.decode(ids) == "the cat"
        (output,) = engine.program.step([Row(engine.program.session(), ids)], want_logits=True)
        assert np.isfinite(output.logits).all(), kind
        scale = model.config.get("logits_scaling", 1)
        assert 0.3 < scale * output.logits.std() < 3, kind


def test_models_that_see_have_the_published_sizes_and_convert(tool: Any, tmp_path: Path) -> None:
    models = tool("published_vision")
    for model in models.VISION:
        counted = sum(math.prod(weight.shape) for weight in models.weights(model.config))
        assert (model.hub_id, counted) == (model.hub_id, model.parameters)
    kinds = {model.config["model_type"]: model for model in models.VISION}
    assert set(kinds) <= {kind for kind, able in ABILITIES.items() if "see" in able}
    for kind, model in kinds.items():
        config = models.tiny(model.config)
        tool("make_random_checkpoint").write(config, tmp_path / kind)
        folder = convert(tmp_path / kind, tmp_path / f"{kind}-weights", "INT4").target
        engine = load(folder, threads=1)
        shown, token = Processor.of(folder), vision_config(config).image_token_id
        assert shown.placeholder in (folder / "chat_template.jinja").read_text()
        assert engine.tokenizer.token_to_id(shown.image_token) == token
        ids = engine.tokenizer.encode("the cat")
        (output,) = engine.program.step([Row(engine.program.session(), ids)], want_logits=True)
        assert 0.3 < output.logits.std() < 3, kind
        processor = json.loads((folder / "preprocessor_config.json").read_text())
        assert processor == models.processor(config)


def test_shards_hold_the_same_values(tool: Any, tmp_path: Path) -> None:
    models, maker = tool("published_models"), tool("make_random_checkpoint")
    config = models.tiny(models.find("qwen3-0.6b").config)
    maker.write(config, tmp_path / "one")
    maker.write(config, tmp_path / "many", shard_bytes=60_000)
    whole = read_safetensors(tmp_path / "one" / "model.safetensors")
    header = (tmp_path / "one" / "model.safetensors").read_bytes()[: whole.data_offset]
    assert FILLER.encode() not in header  # other readers know no fillers
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    places = index["weight_map"]
    assert set(places) == set(whole.tensors)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.tensors.values())
    files = sorted(set(places.values()))
    assert files[-1] == f"model-{len(files):05}-of-{len(files):05}.safetensors"
    for name, place in places.items():
        shard = read_safetensors(tmp_path / "many" / place)
        assert np.array_equal(shard.read(name), whole.read(name))
        assert shard.size < 80_000
        shard.close()
    whole.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "make_random_checkpoint.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert run("smollm2-135m", str(folder), "--tiny").returncode == 0
    again = run("smollm2-135m", str(folder), "--tiny")
    assert (again.returncode, "is not empty" in again.stderr) == (1, True)
    unknown = run("smollm2", str(tmp_path / "other"))
    assert (unknown.returncode, "not clear; known: lfm2-350m" in unknown.stderr) == (1, True)
    assert not (tmp_path / "other").exists()


def test_whispers_have_the_published_sizes(tool: Any) -> None:
    whispers = tool("published_whisper").WHISPERS
    assert len({model.hub_id for model in whispers}) == 11
    for model in whispers:
        weights = load_architecture(model.config).weights
        counted = sum(math.prod(weight.shape) for weight in weights)
        assert (model.hub_id, counted) == (model.hub_id, model.parameters)
        entry = catalog.find(model.hub_id)
        assert entry is None or entry.parameters == round(counted / 1e6), model.hub_id


@pytest.mark.parametrize(
    ("name", "languages", "no_speech"),
    [
        ("whisper-tiny", 99, 50_362),
        ("whisper-tiny.en", 0, 50_361),
        ("whisper-large-v3-turbo", 100, 50_363),
    ],
)
def test_every_vocabulary_of_whisper_listens(
    tool: Any, tmp_path: Path, name: str, languages: int, no_speech: int
) -> None:
    models = tool("published_whisper")
    config = tool("published_models").find(name, models.WHISPERS).config
    tool("make_random_checkpoint").write(models.tiny_whisper(config), tmp_path / "source")
    folder = convert(tmp_path / "source", tmp_path / name, "INT8").target
    # What the published configurations say of the ids, too.
    given = json.loads((tmp_path / "source" / "generation_config.json").read_text())
    assert given["no_timestamps_token_id"] == no_speech + 1
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * 16_000).astype(np.float32)
    plain: dict[str, Any] = {"vad": False, "temperature": 0.0, "no_speech_threshold": None}
    with Model(folder, threads=1) as model:
        engine = SpeechEngine.of(load(folder, threads=1))
        assert len(engine.vocabulary.languages) == languages
        assert engine.vocabulary.no_speech == no_speech
        assert engine.vocabulary.seconds(config["vocab_size"] - 1) == 30.0
        engine.loaded.close()
        result = model.transcribe(noise, **plain, max_new_tokens=8)
        assert result.segments and len(result.segments[0].tokens) <= 8
        if languages:
            assert result.language in LANGUAGES
            model.transcribe(noise, **plain, max_new_tokens=8, task="translate", language="de")
        else:
            assert result.language == "en"
            for wrong in ({"task": "translate"}, {"language": "de"}):
                with pytest.raises(InvalidRequest, match="English only"):
                    model.transcribe(noise, **plain, **wrong)
