"""Models that see against transformers on tiny random checkpoints: in NumPy and on every tier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.engine.options import BF16_ISAS
from cactus.errors import ModelFormatError
from cactus.graph.node import Graph
from cactus.graph.plan import Plan, build, with_int8_activations
from cactus.graph.reference import ReferenceProgram
from cactus.native import Program
from cactus.vision.parts import tower_graph
from cactus.weights.convert import convert
from tests.models import vision
from tests.models.golden import fused
from tests.native.programs import TIERS, store
from tests.tolerances import assert_close

names = pytest.mark.parametrize("name", vision.NAMES)


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, vision.Golden]:
    home = tmp_path_factory.mktemp("vision")
    return {name: vision.load(name, home) for name in vision.NAMES}


def reference(golden: vision.Golden, graph: Graph, **options: Any) -> ReferenceProgram:
    return ReferenceProgram(graph, golden.tensors, **options)


@names
@pytest.mark.parametrize(("dtype", "allowed"), [("", "f32"), ("f32", "f32"), ("q8", "q12")])
def test_states_features_and_logits_in_numpy(
    name: str, dtype: str, allowed: str, goldens: dict[str, vision.Golden]
) -> None:
    golden, arrays = goldens[name], goldens[name].arrays

    def program(graph: Graph, **options: Any) -> ReferenceProgram:
        return ReferenceProgram(fused(graph, dtype) if dtype else graph, golden.tensors, **options)

    tower = program(tower_graph(golden.architecture), vocab_size=0)
    states = vision.states(tower, golden)
    assert_close(states, arrays["states"], allowed, f"{name}: states")
    deep = [tower.dump[node.name] for node in tower.graph.outputs[1:]]
    parts = [
        vision.features(program(graph, vocab_size=0), golden, of)
        for graph, of in zip(projectors(golden), [states, *deep], strict=True)
    ]
    features = np.concatenate(parts, axis=1)
    assert_close(features, arrays["features"], allowed, f"{name}: features")
    got = vision.logits(program(golden.architecture.build()), golden, features)
    assert_close(got, arrays["logits"], allowed, f"{name}: logits")


def projectors(golden: vision.Golden) -> list[Graph]:
    """That of the tower's last states, and those of the deepstack."""
    deep = range(len(golden.vision.deepstack))
    model = golden.architecture
    return [model.build_projector(), *(model.build_deepstack(index) for index in deep)]


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@names
def test_states_features_and_logits_on_every_tier(
    name: str, dtype: str, isa: str, goldens: dict[str, vision.Golden], tmp_path: Path
) -> None:
    golden, arrays = goldens[name], goldens[name].arrays
    allowed = "bf16 model" if isa in BF16_ISAS else {"f32": "f16", "f16": "q12"}[dtype]
    what = f"{name} {dtype} {isa}"
    loaded = 0

    def load(graph: Graph, vocabulary: int = 0) -> tuple[Program, Plan]:
        nonlocal loaded
        loaded += 1
        packed = store(graph, golden.tensors, tmp_path / str(loaded), dtype)
        plan = build(fused(graph, dtype), packed.tensors, vocab_size=vocabulary, context_length=512)
        blob = with_int8_activations(plan.blob) if isa in BF16_ISAS else plan.blob
        return Program(blob, packed.path, isa=isa, chunk=256), plan

    tower, plan = load(tower_graph(golden.architecture))
    with tower:
        states = vision.states(tower, golden)
        assert_close(states, arrays["states"], allowed, f"{what}: states")
        names = [f"vision_tower.blocks.{index}.add_2" for index in golden.vision.deepstack]
        width = golden.vision.hidden_size
        deep = [tower.read(plan.places[each][0], len(states), width) for each in names]
    parts = []
    for graph, of in zip(projectors(golden), [states, *deep], strict=True):
        with load(graph)[0] as projector:
            parts.append(vision.features(projector, golden, of))
    features = np.concatenate(parts, axis=1)
    assert_close(features, arrays["features"], allowed, f"{what}: features")
    with load(golden.architecture.build(), golden.architecture.config.vocab_size)[0] as program:
        whole = vision.logits(program, golden, features)
        assert_close(whole, arrays["logits"], allowed, f"{what}: logits")
        assert np.array_equal(vision.logits(program, golden, features, chunk=7), whole)


@names
def test_a_table_that_is_missing_is_named(name: str, goldens: dict[str, vision.Golden]) -> None:
    golden = goldens[name]
    shapes = {each: table.shape for each, table in golden.tables.items()}
    golden.architecture.check_tables(shapes)
    for each in shapes:
        with pytest.raises(ModelFormatError, match=f"table {each}: want .*, it is missing"):
            golden.architecture.check_tables({})
        with pytest.raises(ModelFormatError, match=f"table {each}: want .*, got"):
            golden.architecture.check_tables(shapes | {each: (3, 3)})


@names
def test_the_files_of_the_processor_stay(name: str, tmp_path: Path) -> None:
    source = vision.write(name, tmp_path / name)
    for file in ("preprocessor_config.json", "processor_config.json"):
        (source / file).write_text(json.dumps({"of": file}))
    convert(source, tmp_path / "weights")
    for file in ("preprocessor_config.json", "processor_config.json"):
        assert json.loads((tmp_path / "weights" / file).read_text()) == {"of": file}
