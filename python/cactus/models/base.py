"""What all model files share: the common config, the head, and finding a checkpoint's file.

A model file is named after the checkpoint's ``model_type``. It defines ``Config``, whose
classmethod ``parse`` reads config.json, and ``Model``, the decoder of a CausalLM; where the whole
is something else, ``build(config)`` instead. Its ``ABILITIES`` are what `cactus.Model` can be asked
for; ``python tools/gen_abilities.py`` collects them in one table. A ``model_type`` that is no name
of a file it states as ``MODEL_TYPE``.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any, Literal, NamedTuple

from cactus.inputs.fields import Fields

from .. import nn
from ..errors import ModelFormatError, UnsupportedModel
from ..graph.node import Graph
from ..graph.trace import trace
from .abilities import ABILITIES

_log = logging.getLogger(__name__)

# Caps that no known model comes near; they stand before anything is allocated from a lying config.
MAX_WIDTH = 1 << 17
MAX_VOCAB = 1 << 22
MAX_LAYERS = 1 << 10
MAX_HEADS = 1 << 10
MAX_HEAD_DIM = 1 << 9
MAX_CONTEXT = 1 << 24

FORMER_TYPES = {"lfm2-vl": "lfm2_vl"}
"""By the ``model_type`` of the first checkpoints of a family: the one that it has now."""

LANE = 16
"""Widths and head sizes are multiples of this: rows of a weight tile, lanes of a wide vector."""


@dataclass(frozen=True)
class Config:
    """What every causal language model says of itself, checked. Sizes in floats or tokens."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    tied: bool
    norm_eps: float
    rope: nn.RoPE


def common(fields: Fields, *, theta: float, eps_key: str, tied: bool) -> dict[str, Any]:
    """The arguments of ``Config`` that are spelled alike in every checkpoint.

    ``theta`` and ``tied`` are the architecture's defaults, ``eps_key`` its word for the norms'
    epsilon.
    """
    hidden_size = fields.integer("hidden_size", LANE, MAX_WIDTH, multiple=LANE)
    heads = fields.integer("num_attention_heads", 1, MAX_HEADS)
    kv_heads = fields.integer("num_key_value_heads", 1, MAX_HEADS, default=heads)
    if heads % kv_heads:
        want = f"a divisor of num_attention_heads {heads}"
        raise fields.error("num_key_value_heads", want, kv_heads)
    if not fields.has("head_dim") and hidden_size % heads:
        raise fields.error("num_attention_heads", f"a divisor of hidden_size {hidden_size}", heads)
    head_dim = fields.integer("head_dim", LANE, MAX_HEAD_DIM, hidden_size // heads, multiple=LANE)
    return {
        "model_type": fields.raw["model_type"],
        "vocab_size": fields.integer("vocab_size", 1, MAX_VOCAB),
        "hidden_size": hidden_size,
        "intermediate_size": fields.integer("intermediate_size", LANE, MAX_WIDTH, multiple=LANE),
        "layers": fields.integer("num_hidden_layers", 1, MAX_LAYERS),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "context_length": context_length(fields),
        "tied": fields.flag("tie_word_embeddings", tied),
        "norm_eps": fields.number(eps_key, 1e-12, 1e-1),
        "rope": rope(fields, head_dim, theta),
    }


def context_length(fields: Fields) -> int:
    """``max_position_embeddings``, or what YaRN stretches the original context to.

    Models that are stretched on request keep the number of their original context there.
    """
    length = fields.integer("max_position_embeddings", 1, MAX_CONTEXT)
    inner = _rotary(fields)
    if inner is None or _stretching(inner) != "yarn":
        return length
    factor, original = _yarn(fields, inner)
    return min(max(length, int(factor * original)), MAX_CONTEXT)


def rope(fields: Fields, head_dim: int, theta: float) -> nn.RoPE:
    """Rotary positions from ``rope_parameters`` or the older ``rope_theta``, ``rope_scaling``."""
    inner = _rotary(fields)
    theta = fields.number("rope_theta", 1.0, 1e12, theta)
    if inner is None:
        return nn.RoPE.of(head_dim, theta)
    theta = inner.number("rope_theta", 1.0, 1e12, theta)
    kind = _stretching(inner)
    if inner.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0:
        raise UnsupportedModel(f"{inner.where}: partial_rotary_factor below 1 is not supported")
    if kind == "linear":
        return nn.RoPE.of(head_dim, theta, nn.linear_stretch(inner.number("factor", 1.0, 1e6)))
    if kind == "llama3":
        low = inner.number("low_freq_factor", 1e-3, 1e3)
        high = inner.number("high_freq_factor", 1e-3, 1e3)
        if high <= low:
            raise inner.error("high_freq_factor", f"more than low_freq_factor {low:g}", high)
        original = inner.integer("original_max_position_embeddings", 1, MAX_CONTEXT)
        stretch = nn.llama3_stretch(inner.number("factor", 1.0, 1e6), low, high, original)
        return nn.RoPE.of(head_dim, theta, stretch)
    if kind == "yarn":
        if theta == 1:
            raise inner.error("rope_theta", "more than 1", theta)
        factor, original = _yarn(fields, inner)
        return nn.RoPE.yarn(
            *(head_dim, theta, factor, original),
            inner.number("beta_fast", 1e-3, 1e6, 32.0),
            inner.number("beta_slow", 1e-3, 1e6, 1.0),
            inner.flag("truncate", True),
            _yarn_scale(inner, factor),
        )
    return nn.RoPE.of(head_dim, theta)


_STRETCHES = ("default", "linear", "llama3", "yarn")


def _rotary(fields: Fields) -> Fields | None:
    return fields.object("rope_parameters") or fields.object("rope_scaling")


def _stretching(inner: Fields) -> str:
    return inner.choice("rope_type" if inner.has("rope_type") else "type", _STRETCHES, "default")


def _yarn(fields: Fields, inner: Fields) -> tuple[float, int]:
    """YaRN's factor and the context that it stretches; each may follow from the other."""
    key = "original_max_position_embeddings"
    length = fields.integer("max_position_embeddings", 1, MAX_CONTEXT)
    original = inner.integer(key, 1, MAX_CONTEXT, length)
    original = fields.integer(key, 1, MAX_CONTEXT, original)  # counts more where both are there
    return inner.number("factor", 1.0, 1e6, length / original), original


def _yarn_scale(inner: Fields, factor: float) -> float:
    """What YaRN multiplies cosines and sines with: attention grows sharper with the context."""

    def sharper(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    scale = sharper(1)
    weights = [inner.number(key, 0.0, 1e3, 0.0) for key in ("mscale", "mscale_all_dim")]
    if all(weights):
        scale = sharper(weights[0]) / sharper(weights[1])
    return inner.number("attention_factor", 1e-3, 1e3, scale)


def windows(fields: Fields, sliding: Sequence[bool]) -> tuple[int, ...]:
    """How many positions a row of each layer sees, its own included; 0 for all.

    ``layer_types`` decides, and where it is missing ``sliding``, which has a flag for each layer.
    """
    kinds = fields.words("layer_types", len(sliding), ("full_attention", "sliding_attention"))
    if kinds is not None:
        sliding = [kind == "sliding_attention" for kind in kinds]
    if not any(sliding):
        return (0,) * len(sliding)
    window = fields.integer("sliding_window", 1, MAX_CONTEXT)
    return tuple(window if slides else 0 for slides in sliding)


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normed copy of the residual stream."""

    def __init__(self, c: Config, self_attn: nn.Module, mlp: nn.Module | None = None) -> None:
        self.self_attn = self_attn
        self.mlp = mlp or nn.GatedMLP(c.hidden_size, c.intermediate_size)
        self.input_layernorm = nn.RMSNorm(c.hidden_size, c.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, c.norm_eps)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """What lies under ``model.`` in a checkpoint: tokens to hidden states of the output rows."""

    def __init__(
        self,
        c: Config,
        layers: Iterable[nn.Module],
        *,
        embedding_scale: float = 1.0,
        norm_offset: float = 0.0,
    ) -> None:
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.embedding_scale = embedding_scale
        self.layers = list(layers)
        self.norm = nn.RMSNorm(c.hidden_size, c.norm_eps, norm_offset)

    sees: bool = False
    """Whether rows may have image features in place of a token's embedding."""
    deepstack: int = 0
    """How many of the first layers have further features added behind them."""

    output_scale: float = 1.0
    """What the states are multiplied with for the head."""

    def forward(self) -> nn.Tensor:
        return self.states() * self.output_scale

    def states(self) -> nn.Tensor:
        """The output rows behind the last norm."""
        x = self.embed_tokens() * self.embedding_scale
        if self.sees:
            x = nn.with_features(x)
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < self.deepstack:
                x = nn.add_features(x, index)
        return self.norm(nn.output_rows(x))


class CausalLM(nn.Module):
    """A decoder and its head; a tied head is the embedding matrix once more."""

    def __init__(self, model: Decoder, config: Config) -> None:
        self.model = model
        self.lm_head = None if config.tied else nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self) -> nn.Tensor:
        x = self.model()
        return self.lm_head(x) if self.lm_head else self.model.embed_tokens.as_linear(x, "lm_head")


class Weight(NamedTuple):
    """A tensor that the model needs: a ``vector`` is plain f32, a ``matrix`` may be quantised.

    ``offset`` is added to what a Hugging Face checkpoint holds when it is converted; GGUF files
    hold the sum. With ``taps`` the checkpoint holds the kernel of a convolution,
    ``[out, in, taps]``, whose matrix is ``[out, taps * in]``.
    """

    name: str
    shape: tuple[int, ...]
    kind: Literal["matrix", "vector"]
    offset: float
    taps: int


@dataclass(frozen=True)
class Architecture:
    """A checked config and the model built for it, not yet traced."""

    config: Config
    model: nn.Module

    @property
    def tied(self) -> bool:
        """Whether the logits use the embedding matrix."""
        return self.config.tied

    @cached_property
    def weights(self) -> list[Weight]:
        """Every tensor the model has, under its checkpoint name."""
        parameters = self.model.parameters()
        return [Weight(p.name, p.shape, p.kind, p.offset, p.taps) for p in parameters]

    def build(self) -> Graph:
        """Trace the model: the unfused graph with the logits (or an encoder's states) as output."""
        return self._graphs[0]

    def build_states(self) -> Graph:
        """The unfused graph of tokens with the states after the last norm as its only output.

        Of a language model these are what its head makes logits of, of a text encoder all that it
        gives. Raises UnsupportedModel for a model of neither kind.
        """
        if self.gives_states:
            return self.build()
        if not isinstance(self.model, CausalLM):
            raise UnsupportedModel(f"a model of {self.config.model_type} gives no states of text")
        return trace(self.model.model.states)

    @property
    def encodes(self) -> bool:
        """Whether it is a text encoder: its output is states, and sessions keep nothing."""
        return not self.build().slots

    @property
    def gives_states(self) -> bool:
        """Whether what tokens become are states, and not logits."""
        return self.encodes or self.build().outputs[0].op == "layer_norm"

    def build_encoder(self) -> Graph | None:
        """The unfused graph of features, with the encoder's states as output; None without one."""
        return self._graphs[1]

    def build_tower(self) -> Graph:
        """The unfused graph of patches with the vision tower's states as its output.

        Raises UnsupportedModel for a model that sees nothing.
        """
        return trace(self._part("tower"))

    def build_projector(self) -> Graph:
        """The unfused graph of rows of the tower's states with image features as its output.

        Raises as `build_tower` does.
        """
        return trace(self._part("project"))

    def build_deepstack(self, index: int) -> Graph:
        """As `build_projector`, of the states of one of the layers of a deepstack."""
        return trace(self._part("deepstack")[index])

    def _part(self, name: str) -> Any:
        found = getattr(self.model, name, None)
        if found is None:
            raise UnsupportedModel(f"a model of {self.config.model_type} sees no images")
        return found

    @cached_property
    def _graphs(self) -> tuple[Graph, Graph | None]:
        graph = trace(self.model)
        encode = getattr(self.model, "encode", None)
        if encode is None:
            return graph, None
        encoder = trace(encode)
        # Both work on the same sessions, so that each has all slots, in one order.
        slots = tuple(dict.fromkeys([*graph.slots, *encoder.slots]))
        return replace(graph, slots=slots), replace(encoder, slots=slots)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """ModelFormatError naming a tensor that is missing, misshapen or claimed by no module.

        Convolution kernels may be ``[C, 1, L]`` or ``[C, L]``.
        """
        wanted = {weight.name: weight for weight in self.weights}
        for name, weight in wanted.items():
            if name not in shapes:
                raise ModelFormatError(f"tensor {name} {list(weight.shape)} is missing")
            got = tuple(shapes[name])
            if len(got) == 3 and (weight.taps > 1 or got[1] == 1):
                got = (got[0], got[1] * got[2])
            if got != weight.shape:
                raise ModelFormatError(f"tensor {name}: want {list(weight.shape)}, got {list(got)}")
        for name in shapes:
            if name not in wanted and not self._redundant(name):
                kind = self.config.model_type
                raise ModelFormatError(f"tensor {name} belongs to no module of a {kind} model")

    def check_tables(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """ModelFormatError naming a table that a model which sees lacks, or that does not fit."""
        vision = getattr(self.config, "vision", None)
        wanted: Mapping[str, tuple[int, ...]] = vision.tables if vision else {}
        for name, shape in wanted.items():
            if tuple(shapes.get(name, ())) != shape:
                got = f"got {list(shapes[name])}" if name in shapes else "it is missing"
                raise ModelFormatError(f"table {name}: want {list(shape)}, {got}")

    def _redundant(self, name: str) -> bool:
        # Old checkpoints saved the rotary table, and tied ones sometimes the head a second time.
        head = self.tied and name in ("lm_head.weight", "proj_out.weight")
        return head or name.endswith(".rotary_emb.inv_freq")


def known_architectures() -> list[str]:
    """The supported ``model_type`` values; each has a model file in this package."""
    return list(ABILITIES)


def load_architecture(raw: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes, checked and built.

    Raises UnsupportedModel for an unknown ``model_type`` or feature, ModelFormatError for a value
    that cannot be. Nothing named in the config (``auto_map``, remote code) is ever imported.
    """
    module = _module(raw)
    config: Config = module.Config.parse(Fields(raw))
    build = getattr(module, "build", lambda config: CausalLM(module.Model(config), config))
    model: nn.Module = build(config)
    model.bind()
    return Architecture(config, model)


def parse_config(raw: Mapping[str, Any]) -> Config:
    """What a config.json says, checked; nothing is built. Raises as `load_architecture` does."""
    config: Config = _module(raw).Config.parse(Fields(raw))
    return config


def _module(raw: Mapping[str, Any]) -> ModuleType:
    """The model file of a config.json."""
    fields = Fields(raw)
    for name in ("auto_map", "trust_remote_code"):
        if fields.has(name):
            _log.info("%s: %s is ignored: no code of a model is ever run", fields.where, name)
    word = fields.raw.get("model_type")
    model_type = FORMER_TYPES.get(word) if isinstance(word, str) else None
    model_type = model_type or fields.choice("model_type", known_architectures())
    # Only names from the listing above reach the import.
    return importlib.import_module(f".{model_type.replace('-', '_')}", __package__)
