"""Floats from outside the graph: towers of a picture's patches, projectors, rows among tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cactus import nn
from cactus.errors import InvalidRequest, NativeError
from cactus.graph.node import Graph
from cactus.graph.plan import build, with_int8_activations
from cactus.graph.reference import ReferenceProgram
from cactus.graph.trace import trace
from cactus.native import Program, Row
from tests.native import programs
from tests.native.programs import BF16_TIERS, EXACT_TIERS, TIERS, Store
from tests.tolerances import assert_close

Array = NDArray[np.float32]

PATCH, WIDTH, HIDDEN, VOCABULARY, PATCHES = 48, 64, 32, 90, 400
ROTARY = nn.RoPE(nn.RoPE.of(16, 1e4).inv_freq, axes=(0, 0, 0, 0, 1, 1, 1, 1))
SECTIONS = nn.RoPE(nn.RoPE.of(16, 1e4).inv_freq, axes=(0, 1, 2, 0, 1, 2, 0, 0))


class TowerLayer(nn.Module):
    """A layer of SigLIP, with the rotation and the windows of Qwen's towers."""

    def __init__(self, rope: nn.RoPE | None, within: int | None = None) -> None:
        biases = {"qkv_bias": True, "out_bias": True}
        self.attention = nn.Attention(WIDTH, 4, 4, 16, rope, **biases, reach=0, within=within)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-6), nn.LayerNorm(WIDTH, 1e-6)
        self.mlp = nn.MLP(WIDTH, 96, nn.gelu)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tower(nn.Module):
    """Patches and their position embeddings, which both come from outside."""

    def __init__(self, within: int | None = None) -> None:
        self.patches = nn.Linear(PATCH, WIDTH, True)
        self.layers = [TowerLayer(None), TowerLayer(ROTARY, within)]

    def forward(self) -> nn.Tensor:
        x = self.patches(nn.features(PATCH)) + nn.features(WIDTH, start=PATCH)
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(x)


class Projector(nn.Module):
    """Four rows of states side by side -> three values of a row among tokens."""

    def __init__(self) -> None:
        self.first = nn.Linear(4 * WIDTH, 96, True)
        self.second = nn.Linear(96, 2 * HIDDEN, True)

    def forward(self) -> nn.Tensor:
        return nn.output_rows(self.second(nn.gelu_erf(self.first(nn.features(4 * WIDTH)))))


class DecoderLayer(nn.Module):
    """Attention and a convolution, whose past is kept."""

    def __init__(self, rope: nn.RoPE, blocks: bool = False) -> None:
        sight = {"window": 9, "blocks": True} if blocks else {}
        self.attention = nn.Attention(HIDDEN, 2, 1, 16, rope, 1e-6, **sight)
        self.conv = nn.CausalConv1d(HIDDEN, 3)
        self.mlp = nn.GatedMLP(HIDDEN, 64)
        self.norm = nn.RMSNorm(HIDDEN, 1e-6)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attention(self.norm(x))
        x = x + self.conv(x)
        return x + self.mlp(x)


class Decoder(nn.Module):
    """Tokens with rows of features among them, whose second half comes after the first layer."""

    def __init__(self, blocks: bool = False) -> None:
        self.words = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = [DecoderLayer(nn.RoPE.of(16, 1e4), blocks), DecoderLayer(SECTIONS)]
        self.head = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self) -> nn.Tensor:
        x = nn.with_features(self.words())
        x = nn.add_features(self.layers[0](x), 0)
        return self.head(nn.output_rows(self.layers[1](x)))


class All(nn.Module):
    """Programs over one file."""

    def __init__(self) -> None:
        self.decoder, self.tower, self.projector = Decoder(), Tower(), Projector()
        self.blocks, self.windows = Decoder(blocks=True), Tower(within=2)

    def forward(self) -> nn.Tensor:
        raise NotImplementedError


@pytest.fixture(scope="module")
def model() -> tuple[dict[str, Graph], dict[str, Array]]:
    whole = All()
    whole.bind()
    draw = np.random.default_rng(11)
    tensors: dict[str, Array] = {}
    for parameter in whole.parameters():
        values = draw.standard_normal(parameter.shape) / np.sqrt(parameter.shape[-1])
        tensors[parameter.name] = (values + (len(parameter.shape) == 1)).astype(np.float32)
    names = ("decoder", "tower", "projector", "blocks", "windows")
    return {name: trace(getattr(whole, name)) for name in names}, tensors


@pytest.fixture(scope="module")
def stores(
    model: tuple[dict[str, Graph], dict[str, Array]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Store]:
    folder, (graphs, tensors) = tmp_path_factory.mktemp("features"), model

    def make(kind: str) -> Store:
        graph = next(iter(graphs.values()))
        shapes = {name: shape for each in graphs.values() for name, shape in each.weights.items()}
        nodes = tuple(node for each in graphs.values() for node in each.nodes)
        return programs.store(Graph(nodes, graph.outputs, (), shapes), tensors, folder / kind, kind)

    return lru_cache(make)


DECODERS = ("decoder", "blocks")


class Loader:
    """Opens the programs of one store."""

    def __init__(self, graphs: Mapping[str, Graph], store: Store, kind: str) -> None:
        self.graphs = {name: programs.fused(graph, kind) for name, graph in graphs.items()}
        self.store = store

    def blob(self, name: str) -> bytes:
        """A program's plan."""
        vocabulary, context = (VOCABULARY, 2000) if name in DECODERS else (0, PATCHES)
        graph = self.graphs[name]
        return build(graph, self.store.tensors, vocab_size=vocabulary, context_length=context).blob

    def open(self, name: str, **options: Any) -> Program:
        """A program of its own, or beside another."""
        return Program(self.blob(name), self.store.path, chunk=1000, **options)

    @contextmanager
    def beside(self, name: str, isa: str | None, base: str, threads: int) -> Iterator[Program]:
        """A program beside the decoder, which runs on tier `base`, on a tier of its own."""
        with (
            self.open("decoder", isa=base, threads=threads) as decoder,
            self.open(name, shares=decoder, isa=isa) as program,
        ):
            yield program

    def reference(self, name: str) -> ReferenceProgram:
        """The same as the living definition runs it."""
        vocabulary = VOCABULARY if name in DECODERS else 0
        return ReferenceProgram(
            self.graphs[name],
            self.store.values,
            chunk=1000,
            kv_dtype="f16",
            vocab_size=vocabulary,
        )


@pytest.fixture
def loader(
    request: pytest.FixtureRequest,
    model: tuple[dict[str, Graph], dict[str, Array]],
    stores: Callable[[str], Store],
) -> Loader:
    kind = getattr(request, "param", "f32")
    return Loader(model[0], stores(kind), kind)


def picture(rows: int, columns: int, seed: int = 0) -> tuple[Array, NDArray[np.int32]]:
    """Features of its patches, and where they are."""
    draw = np.random.default_rng((rows, columns, seed))
    features = draw.standard_normal((rows * columns, PATCH + WIDTH)).astype(np.float32)
    places = np.indices((rows, columns)).reshape(2, -1).T
    return features, places.astype(np.int32)


PICTURES = [picture(*size) for size in ((1, 1), (3, 7), (20, 20), (1, 64), (13, 10), (5, 13))]


def states(program: Any, *pictures: Any, outputs: Any = "all") -> Array:
    rows = [
        Row(program.session(), outputs=outputs, features=each[0], positions=each[1])
        for each in pictures
    ]
    found = program.step(rows, want_logits=True)
    assert {row.session.length for row in rows} == {0}
    return np.stack([output.logits for output in found])


@pytest.mark.parametrize("loader", ["f32", "q8", "q4"], indirect=True)
def test_the_states_of_a_tower_are_the_references(loader: Loader) -> None:
    want = states(loader.reference("tower"), *PICTURES)
    allowed = "q12" if "q" in loader.store.path.name else "f16"
    for isa in EXACT_TIERS:
        with loader.open("tower", isa=isa, threads=2) as program:
            assert_close(states(program, *PICTURES), want, allowed, f"states on {isa}")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("loader", ["f32", "q8"], indirect=True)
def test_a_picture_has_the_same_bits_in_any_company(loader: Loader, isa: str) -> None:
    with loader.open("tower", isa=isa, threads=1) as one:
        alone = [states(one, each) for each in PICTURES]
        assert np.array_equal(np.concatenate(alone), states(one, *PICTURES))
        sums = [states(one, each, outputs="sum")[0] for each in PICTURES]
    with loader.beside("tower", isa, EXACT_TIERS[0], 3) as three:
        assert (three.info.isa, three.info.threads) == (isa, 3)
        assert np.array_equal(np.concatenate(alone[::-1]), states(three, *PICTURES[::-1]))
        assert np.array_equal(np.stack(sums), states(three, *PICTURES, outputs="sum"))


@pytest.mark.parametrize("isa", BF16_TIERS)
@pytest.mark.parametrize("loader", ["f16", "q8"], indirect=True)
def test_a_tower_in_bf16_is_nearly_the_exact_one(loader: Loader, isa: str) -> None:
    loader_blob = loader.blob("tower")
    with Program(loader_blob, loader.store.path, chunk=1000, isa=EXACT_TIERS[-1]) as exact:
        want = states(exact, *PICTURES)
    blob = with_int8_activations(loader_blob)
    with Program(blob, loader.store.path, chunk=1000, isa=isa, threads=1) as rounded:
        found = states(rounded, *PICTURES)
        assert_close(found, want, "bf16 model", "states")
        alone = [states(rounded, each) for each in PICTURES]
    assert np.array_equal(np.concatenate(alone), found)
    with Program(blob, loader.store.path, chunk=1000, isa=isa, threads=2) as two:
        assert np.array_equal(np.concatenate([states(two, each) for each in PICTURES]), found)
        assert np.array_equal(states(two, *PICTURES), found)


@pytest.mark.parametrize("isa", TIERS)
def test_a_projector_keeps_nothing_and_sees_only_its_row(loader: Loader, isa: str) -> None:
    given = np.random.default_rng(1).standard_normal((70, 4 * WIDTH)).astype(np.float32)
    want = states(loader.reference("projector"), (given, None))
    with loader.beside("projector", None, isa, 2) as program:
        found = states(program, (given, None))
        assert_close(found, want, "f32", "rows of a projector")
        parts = [states(program, (given[i : i + 9], None)) for i in range(0, 70, 9)]
        assert np.array_equal(found, np.concatenate(parts))


def prompt(count: int, seed: int = 0) -> tuple[list[int], Array, NDArray[np.int32]]:
    """Tokens and two runs of rows of features, out of order; these; positions on three axes."""
    draw = np.random.default_rng((count, seed))
    tokens = draw.integers(0, VOCABULARY, count).tolist()
    features = draw.standard_normal((40, 2 * HIDDEN)).astype(np.float32)
    tokens[2:30] = [-1 - k for k in range(12, 40)]
    tokens[count // 2 : count // 2 + 12] = [-1 - k for k in range(12)]
    return tokens, features, draw.integers(0, 3 * count, (count, 3), np.int32)


PROMPTS = [prompt(70), prompt(300), prompt(131)]


def fed(program: Any, session: Any, given: Any, first: int, last: int, outputs: Any = "all") -> Row:
    tokens, features, positions = given
    return Row(
        session, tokens[first:last], outputs, features=features, positions=positions[first:last]
    )


def logits(program: Any, given: Any, chunk: int = 1000) -> Array:
    session = program.session()
    rows = [
        output.logits
        for first in range(0, len(given[0]), chunk)
        for output in program.step(
            [fed(program, session, given, first, first + chunk)], want_logits=True
        )
    ]
    return np.stack(rows)


@pytest.mark.parametrize("loader", ["f32", "q8", "q4_64"], indirect=True)
def test_rows_of_features_stand_among_tokens(loader: Loader) -> None:
    allowed = "q12" if "q" in loader.store.path.name else "f16"
    want = logits(loader.reference("decoder"), PROMPTS[1])
    for isa in EXACT_TIERS:
        with loader.open("decoder", isa=isa, threads=2) as program:
            assert_close(logits(program, PROMPTS[1]), want, allowed, f"logits on {isa}")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("loader", ["f32", "q8"], indirect=True)
def test_rows_of_features_have_the_same_bits_in_any_step(loader: Loader, isa: str) -> None:
    with loader.open("decoder", isa=isa, threads=1) as one:
        want = [logits(one, each) for each in PROMPTS]
    with loader.open("decoder", isa=isa, threads=2) as two:
        for chunk in (1, 13, 64):
            assert np.array_equal(logits(two, PROMPTS[0], chunk), want[0])
        assert np.array_equal(logits(two, PROMPTS[2], 50), want[2])
        rows = [fed(two, two.session(), each, 0, 1000) for each in PROMPTS]
        plain = [5, 6, 7]
        places = np.arange(9, dtype=np.int32).reshape(3, 3)
        rows.insert(1, Row(two.session(), plain, "all", positions=places))
        both = np.stack([output.logits for output in two.step(rows, want_logits=True)])
        text = two.step([Row(two.session(), plain, "all", positions=places)], want_logits=True)
        found = [want[0], np.stack([output.logits for output in text]), *want[1:]]
        assert np.array_equal(both, np.concatenate(found))


def test_text_without_positions_has_those_of_its_session_on_every_axis(loader: Loader) -> None:
    text = np.random.default_rng(2).integers(0, VOCABULARY, 40).tolist()
    places = np.repeat(np.arange(40, dtype=np.int32)[:, None], 3, axis=1)
    with loader.open("decoder") as program:
        for each in (program, loader.reference("decoder")):
            row = Row(each.session(), text, "all", positions=places)
            given = each.step([row], want_logits=True)
            session = each.session()
            alone = [
                output
                for part in (text[:17], text[17:])
                for output in each.step([Row(session, part, "all")], want_logits=True)
            ]
            for one, other in zip(given, alone, strict=True):
                assert each is not program or np.array_equal(one.logits, other.logits)
                assert_close(one.logits, other.logits, "f16", "logits")


def test_rows_of_features_see_their_whole_block(loader: Loader) -> None:
    given = PROMPTS[0]
    want = logits(loader.reference("blocks"), given)
    ends = [0, 1, 2, 30, 33, 35, 47, 70]  # no block is cut
    for isa in TIERS:
        with loader.open("blocks", isa=isa, threads=2) as program:
            whole, session = logits(program, given), program.session()
            assert_close(whole, want, "f16", f"logits on {isa}")
            parts = [
                program.step([fed(program, session, given, *cut)], want_logits=True)
                for cut in pairwise(ends)
            ]
            assert np.array_equal(whole, np.stack([o.logits for part in parts for o in part]))
            assert not np.array_equal(whole, logits(program, given, 20))


def windowed(rows: int, columns: int, size: int) -> tuple[Array, NDArray[np.int32]]:
    """A picture whose rows are sorted by windows of `size` patches squared."""
    features, places = picture(rows, columns)
    window = places[:, 0] // size * 100 + places[:, 1] // size
    order = np.argsort(window, kind="stable")
    return features[order], np.column_stack([places, window])[order].astype(np.int32)


@pytest.mark.parametrize("loader", ["f32", "q8"], indirect=True)
def test_a_patch_sees_its_window(loader: Loader) -> None:
    given = [windowed(20, 20, 7), windowed(1, 1, 4), windowed(9, 30, 30), windowed(6, 7, 1)]
    want = states(loader.reference("windows"), *given)
    for isa in TIERS:
        with loader.open("windows", isa=isa, threads=1) as one:
            alone = [states(one, each) for each in given]
        with loader.open("windows", isa=isa, threads=3) as three:
            assert np.array_equal(np.concatenate(alone), states(three, *given))
        kind = (
            "bf16 model" if isa in BF16_TIERS else "q12" if "q" in loader.store.path.name else "f16"
        )
        assert_close(np.concatenate(alone), want, kind, f"states on {isa}")


def test_a_session_goes_back_into_rows_of_features(loader: Loader) -> None:
    with loader.open("decoder", threads=2) as program:
        want, session = logits(program, PROMPTS[1]), program.session()
        program.step([fed(program, session, PROMPTS[1], 0, 300, "none")])
        reached = session.truncate(20)
        twin = session.fork()
        for each in (session, twin):
            row = fed(program, each, PROMPTS[1], reached, 300)
            again = program.step([row], want_logits=True)
            assert np.array_equal(np.stack([o.logits for o in again]), want[reached:])


def test_tiers_rotate_by_given_positions_alike(loader: Loader) -> None:
    found = set()
    for isa in EXACT_TIERS:
        with loader.open("tower", isa=isa) as program:
            found |= {states(program, *PICTURES).tobytes()} if isa != "scalar" else set()
    assert len(found) <= 1


def test_what_does_not_fit_is_refused_and_changes_nothing(loader: Loader) -> None:
    tokens, features, positions = PROMPTS[0]
    with loader.open("decoder") as decoder, loader.open("tower", shares=decoder) as tower:
        assert (decoder.info.features, decoder.info.axes) == (2 * HIDDEN, 3)
        assert (tower.info.features, tower.info.axes) == (PATCH + WIDTH, 2)
        session = decoder.session()
        decoder.step([fed(decoder, session, PROMPTS[0], 0, 5)])
        patches, places = PICTURES[1]
        for program, row, match in (
            (decoder, {"features": features[:39]}, "token -40 is none of the 39 rows of features"),
            (decoder, {"features": None}, "token -[0-9]+ is none of the 0 rows of features"),
            (decoder, {"tokens": [-(1 << 31)] * 70}, "token -2147483648 is none of the 40"),
            (decoder, {"tokens": [VOCABULARY] * 70}, "token 90 is not in the vocabulary of 90"),
            (decoder, {"features": features[:, :-1]}, r"expected float32 \[rows, 64\]"),
            (decoder, {"features": features.astype(np.float64)}, "features are float64"),
            (decoder, {"positions": positions[:, :2]}, r"positions are .*expected int32 \[70, 3\]"),
            (decoder, {"positions": positions[1:]}, r"\[69, 3\], expected int32 \[70, 3\]"),
            (decoder, {"positions": positions.astype(np.int64)}, "positions are int64"),
            (tower, {"tokens": ()}, "features are"),
            (tower, {"tokens": (), "features": None, "positions": None}, "rows.0. is empty"),
            (tower, {"features": patches, "positions": positions}, r"expected int32 \[70, 2\]"),
        ):
            given = {"tokens": tokens, "features": features, "positions": positions, **row}
            with pytest.raises(InvalidRequest, match=match):
                program.step([Row(session, **given)])
        with pytest.raises(InvalidRequest, match="has tokens, and the program's rows are features"):
            tower.step([Row(session, tokens[:21], features=patches, positions=places)])
        with pytest.raises(InvalidRequest, match="401 tokens do not fit the context of 400"):
            states(tower, picture(1, 401))
        assert session.length == 5
        states(tower, (patches, places))
        assert session.length == 5


def test_only_what_keeps_nothing_may_have_no_slots_beside_others(loader: Loader) -> None:
    with (
        loader.open("tower") as tower,
        pytest.raises(NativeError, match="slots are not those of the program that it shares"),
    ):
        loader.open("decoder", shares=tower)
