"""What models that see have in common: what is to be known of their images, and their three parts.

Such a model is a language model with two parts more, each a program of its own: the tower makes
states of an image's patches, and the projector image features of states. The features then stand
among the embeddings of the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cactus.inputs.fields import Fields

from .. import nn
from . import base

GROUP = 32
"""Widths that no weights' groups fit are padded with zeros to multiples of this."""

TABLES = "vision.safetensors"
"""Beside model.safetensors: what Python works with of a model that sees, F32."""

MAX_PATCHES = 4096
"""The most patches of a tile, for families whose tiles have a limit."""

ACTIVATIONS = ("gelu_pytorch_tanh", "gelu", "quick_gelu")


@dataclass(frozen=True)
class VisionConfig:
    """A tower, and what becomes of its states. Sizes in floats.

    A patch is ``patch_size`` pixels wide and high; its vector has them by (row, column, channel)
    and then zeros up to ``patch_width``. ``positions`` is the grid of the learned position
    embeddings, None where there are none. A square of ``factor`` by ``factor`` states becomes one
    image feature of ``feature_width``: the projector takes them one behind the other, or their
    ``mean``; with ``in order`` a tile's rows are those of one square after the other. ``head_dim``
    is that of the stored heads, ``true_head_dim`` that of the checkpoint's, and so
    ``intermediate_size``; what lies between is zeros. ``deepstack`` has the tower's layers whose
    states are image features, too: they are added behind the decoder's first layers.
    ``max_patches`` are the most of one tile. ``interpolation`` is how the position embeddings of
    another grid are made (vision/positions.py). With ``blocks`` the features of an image see each
    other in the decoder. With a ``window``, so many patches wide and high, a patch sees its window
    only (vision/windows.py), but its whole tile in the tower's ``whole_layers``.

    Of a dual encoder ``feature_width`` is that of an image's vector, which its ``head`` makes: a
    projection of the state of the class, whose row is before those of the patches
    (``class_token``), or what attends to all states.
    """

    hidden_size: int
    intermediate_size: int
    true_intermediate_size: int
    layers: int
    heads: int
    head_dim: int
    true_head_dim: int
    norm_eps: float
    activation: str
    patch_size: int
    patch_width: int
    positions: tuple[int, int] | None
    factor: int
    image_token_id: int
    feature_width: int
    merging: Literal["squares", "mean", "in order"] = "squares"
    deepstack: tuple[int, ...] = ()
    max_patches: int = MAX_PATCHES
    interpolation: Literal["antialiased", "corners", "nearest"] = "antialiased"
    class_token: bool = False
    head: Literal["", "projection", "attention"] = ""
    blocks: bool = False
    window: int = 0
    whole_layers: tuple[int, ...] = ()

    @property
    def pixels(self) -> int:
        """Floats of a patch, without the zeros behind them."""
        return 3 * self.patch_size**2

    @property
    def projector_width(self) -> int:
        """Floats of a row of the projector: the states of one square, or their mean."""
        return self.hidden_size * (1 if self.merging == "mean" else self.factor**2)

    @property
    def width(self) -> int:
        """Floats of a row of features in the decoder: those of the deepstack are behind."""
        return self.feature_width * (1 + len(self.deepstack))

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        """The tensors of vision.safetensors, which Python works with, and their shapes."""
        if self.positions is None:
            return {}
        (rows, cols), width = self.positions, self.hidden_size
        found: dict[str, tuple[int, ...]] = {"position_embedding": (rows * cols, width)}
        if self.class_token:
            found["class_embedding"] = (1, width)
        if self.head == "projection":
            found["head.projection"] = (self.feature_width, width)
        if self.head == "attention":
            inner = self.true_intermediate_size
            found |= {
                "head.probe": (1, width),
                "head.attention.in_proj_weight": (3 * width, width),
                "head.attention.in_proj_bias": (3 * width,),
                "head.attention.out_proj.weight": (width, width),
                "head.attention.out_proj.bias": (width,),
                "head.layernorm.weight": (width,),
                "head.layernorm.bias": (width,),
                "head.mlp.fc1.weight": (inner, width),
                "head.mlp.fc1.bias": (inner,),
                "head.mlp.fc2.weight": (width, inner),
                "head.mlp.fc2.bias": (width,),
            }
        return found


def padded(size: int, multiple: int = GROUP) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple


def transformer(fields: Fields, *, eps: float = 1e-6) -> dict[str, Any]:
    """The arguments of ``VisionConfig`` that are spelled alike in every ``vision_config``."""
    hidden = fields.integer("hidden_size", base.LANE, base.MAX_WIDTH, multiple=base.LANE)
    heads = fields.integer("num_attention_heads", 1, base.MAX_HEADS)
    if hidden % (2 * heads):
        raise fields.error("num_attention_heads", f"even heads in hidden_size {hidden}", heads)
    inner = fields.integer("intermediate_size", 1, base.MAX_WIDTH)
    patch = fields.integer("patch_size", 1, 256)
    if fields.integer("num_channels", 1, 1 << 10, 3) != 3:
        raise fields.error("num_channels", "3", fields.raw["num_channels"])
    return {
        "hidden_size": hidden,
        "intermediate_size": padded(inner),
        "true_intermediate_size": inner,
        "layers": fields.integer("num_hidden_layers", 1, base.MAX_LAYERS),
        "heads": heads,
        "head_dim": padded(hidden // heads, base.LANE),
        "true_head_dim": hidden // heads,
        "norm_eps": fields.number("layer_norm_eps", 1e-13, 1e-1, eps),
        "activation": fields.choice("hidden_act", ACTIVATIONS, ACTIVATIONS[0]),
        "patch_size": patch,
        "patch_width": padded(3 * patch**2),
    }


def part(fields: Fields, name: str) -> Fields:
    """The config of one of a model's parts; ModelFormatError where there is none."""
    found = fields.object(name)
    if found is None:
        raise fields.error(name, "an object", fields.raw.get(name))
    return found


def text_part(fields: Fields, given: Mapping[str, Any], *, tied: bool) -> Fields:
    """The ``text_config``, where it says nothing with what is ``given``.

    Its ``model_type`` is the whole model's, which also says whether the head is the embedding
    matrix, by default ``tied``.
    """
    text = part(fields, "text_config")
    whole = {
        "model_type": fields.raw["model_type"],
        "tie_word_embeddings": fields.flag("tie_word_embeddings", tied),
    }
    return text.updated({k: each for k, each in given.items() if not text.has(k)} | whole)


def vision_config(raw: Mapping[str, Any]) -> VisionConfig | None:
    """What a config.json says of the images that its model sees; None of one that sees none."""
    config = base.parse_config(raw)
    vision = getattr(config, "vision", None)
    return vision if isinstance(vision, VisionConfig) else None


class VisionLM(base.CausalLM):
    """A language model that sees.

    ``vision_tower`` makes states of patches, and ``multi_modal_projector`` features of states.
    """

    def __init__(
        self, model: base.Decoder, tower: nn.Module, projector: nn.Module, config: base.Config
    ) -> None:
        super().__init__(model, config)
        model.sees = True
        self.vision_tower = tower
        self.multi_modal_projector = projector

    def tower(self) -> nn.Tensor:
        """States of patches: of each row its pixels, and its position where that is learned."""
        return self.vision_tower()

    def project(self) -> nn.Tensor:
        """Image features, of rows as the tower's states are gathered for them."""
        return self.multi_modal_projector()
