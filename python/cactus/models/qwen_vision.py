"""What Qwen's models that see share: a tower that rotates by rows and columns, and M-RoPE.

The rows of a tile are its patches in the order in which they are merged: those of one square, row
by row, then those of the next. Positions of a row are its row and column in the tile; those of a
token are three numbers, for time, row and column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import base, qwen2, vit
from .vision import VisionConfig, part

MAX_PATCHES = 8192
"""The most patches of an image, which all see each other: 2,048 features of four patches each."""


def text_part(fields: Fields, default: list[int]) -> tuple[Fields, list[int]]:
    """The config of the language model, and how many pairs of a head turn by each number.

    Published files have it among the keys of the whole, newer ones in an object of its own.
    ``default`` is the family's own division.
    """
    whole = {
        "model_type": fields.raw["model_type"],
        "tie_word_embeddings": fields.flag("tie_word_embeddings", False),
    }
    text = fields.object("text_config") or fields
    sections = default
    for key in ("rope_parameters", "rope_scaling"):
        inner = text.object(key)
        if inner is None:
            continue
        if inner.has("mrope_section"):
            found = inner.raw["mrope_section"]
            right = isinstance(found, list) and len(found) == 3
            if not right or not all(type(n) is int and 0 <= n <= 256 for n in found):
                raise inner.error("mrope_section", "three numbers of pairs", found)
            sections = found
        kept = {name: each for name, each in inner.raw.items() if not name.startswith("mrope_")}
        for name in ("rope_type", "type"):
            if kept.get(name) == "mrope":
                kept[name] = "default"
        text = text.updated({key: kept})
    return text.updated(whole), sections


def qwen2_text(fields: Fields) -> dict[str, Any]:
    """The values of a Qwen2 that is the language model, with its M-RoPE."""
    given, sections = text_part(fields, [16, 24, 24])
    text = qwen2.Config.parse(given)
    return vars(text) | {"rope": sectioned(given, text.rope, sections)}


def sectioned(fields: Fields, rope: nn.RoPE, sections: list[int]) -> nn.RoPE:
    """M-RoPE with the pairs that turn by each number one behind the other."""
    axes = [axis for axis, count in enumerate(sections) for _ in range(count)]
    if len(axes) != len(rope.inv_freq):
        want = f"three numbers that make {len(rope.inv_freq)} pairs"
        raise fields.error("mrope_section", want, sections)
    return replace(rope, axes=tuple(axes))


def interleaved(rope: nn.RoPE, sections: list[int]) -> nn.RoPE:
    """M-RoPE with pairs that turn by each number in turn, as far as its section goes."""
    axes = []
    for pair in range(len(rope.inv_freq)):
        axis = pair % 3
        axes.append(axis if pair < 3 * sections[axis] else 0)
    return replace(rope, axes=tuple(axes))


def tower(fields: Fields, heads_key: str = "num_heads", width_key: str = "hidden_size") -> Fields:
    """The ``vision_config`` with the keys that other towers have."""
    vision = part(fields, "vision_config")
    names = {
        "hidden_size": width_key,
        "num_attention_heads": heads_key,
        "num_hidden_layers": "depth",
        "num_channels": "in_chans" if vision.has("in_chans") else "in_channels",
    }
    return vision.updated({name: vision.raw.get(theirs) for name, theirs in names.items()})


def sizes(fields: Fields, image_token: int) -> dict[str, Any]:
    """What is alike in all of them."""
    vision = part(fields, "vision_config")
    return {
        "merging": "in order",
        "factor": vision.integer("spatial_merge_size", 1, 16, 2),
        "image_token_id": fields.integer("image_token_id", 0, base.MAX_VOCAB, image_token),
        "max_patches": MAX_PATCHES,
    }


WINDOW = 2
"""The axis of a patch's positions that has the number of its window, behind row and column."""


class Attention(nn.MergedAttention):
    """Attention of every patch to all, or to its window, rotated by its row and its column."""

    names: ClassVar = {"qkv_proj": "qkv", "o_proj": "proj"}

    def __init__(self, c: VisionConfig, *, windowed: bool) -> None:
        super().__init__(
            *(c.hidden_size, c.heads, c.heads, c.head_dim, _rope(c)),
            reach=0,
            within=WINDOW if windowed else None,
            qkv_bias=True,
            out_bias=True,
            scale=c.true_head_dim**-0.5,
        )


def _rope(c: VisionConfig) -> nn.RoPE:
    """Half of a head's pairs turn by the row, half by the column; those of zeros do not turn."""
    quarter = c.true_head_dim // 4
    turns = nn.RoPE.of(c.true_head_dim // 2, 10_000.0).inv_freq
    rest = c.head_dim // 2 - 2 * quarter
    axes = (0,) * quarter + (1,) * quarter + (0,) * rest
    return nn.RoPE((*turns, *turns, *(0.0,) * rest), axes=axes)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normed copy."""

    def __init__(
        self,
        c: VisionConfig,
        norm: Callable[[], nn.Module],
        mlp: Callable[[], nn.Module],
        *,
        windowed: bool,
    ) -> None:
        self.norm1, self.norm2 = norm(), norm()
        self.attn = Attention(c, windowed=windowed)
        self.mlp = mlp()

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tower(nn.Module):
    """Patches of an image to their states behind the norm that the merger begins with."""

    def __init__(
        self,
        c: VisionConfig,
        norm: Callable[[], nn.Module],
        mlp: Callable[[], nn.Module],
        *,
        bias: bool = False,
    ) -> None:
        self.embeddings = vit.Embeddings(c, bias=bias)
        self.blocks = [
            Block(c, norm, mlp, windowed=c.window > 0 and index not in c.whole_layers)
            for index in range(c.layers)
        ]
        self.post_layernorm = norm()

    def forward(self) -> nn.Tensor:
        x = self.embeddings()
        for block in self.blocks:
            x = block(x)
        return self.post_layernorm(nn.output_rows(x))


class Projector(nn.Module):
    """Two products with a GELU between them, of a square's states one behind the other.

    ``normed``: they are normed when they are together.
    """

    def __init__(self, c: VisionConfig, *, normed: bool = False) -> None:
        self.width = c.projector_width
        self.norm = nn.LayerNorm(self.width, c.norm_eps) if normed else None
        self.linear_1 = nn.Linear(self.width, self.width, bias=True)
        self.linear_2 = nn.Linear(self.width, c.feature_width, bias=True)

    def forward(self) -> nn.Tensor:
        x = nn.output_rows(nn.features(self.width))
        x = self.norm(x) if self.norm else x
        return self.linear_2(nn.gelu_erf(self.linear_1(x)))
