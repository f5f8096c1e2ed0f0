"""The vision transformer (Dosovitskiy et al. 2020) as SigLIP and CLIP have it, and who builds on
them: norms before each half, biases everywhere, every patch sees all of its tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from .. import nn
from .vision import VisionConfig


def _quick_gelu(x: nn.Tensor) -> nn.Tensor:
    """x * sigmoid(1.702 x), which CLIP was trained with."""
    return nn.silu(x * 1.702) * (1 / 1.702)


_ACTIVATIONS: dict[str, Callable[[nn.Tensor], nn.Tensor]] = {
    "gelu_pytorch_tanh": nn.gelu,
    "gelu": nn.gelu_erf,
    "quick_gelu": _quick_gelu,
}


class Sizes(Protocol):
    """What the layers want to know of a transformer, of images or of texts."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def true_head_dim(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def activation(self) -> str: ...


class Attention(nn.Attention):
    """Attention with biases, of every row to all, or, without a reach, to those before it."""

    names: ClassVar = {"o_proj": "out_proj"}

    def __init__(self, c: Sizes, reach: int | None) -> None:
        super().__init__(
            *(c.hidden_size, c.heads, c.heads, c.head_dim, None),
            qkv_bias=True,
            out_bias=True,
            scale=c.true_head_dim**-0.5,
            reach=reach,
        )


class MLP(nn.Module):
    """out = W_2 · activation(W_1 x + b_1) + b_2."""

    def __init__(self, c: Sizes) -> None:
        self.activation = _ACTIVATIONS[c.activation]
        self.fc1 = nn.Linear(c.hidden_size, c.intermediate_size, bias=True)
        self.fc2 = nn.Linear(c.intermediate_size, c.hidden_size, bias=True)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normed copy."""

    def __init__(self, c: Sizes, reach: int | None) -> None:
        self.layer_norm1 = nn.LayerNorm(c.hidden_size, c.norm_eps)
        self.self_attn = Attention(c, reach)
        self.layer_norm2 = nn.LayerNorm(c.hidden_size, c.norm_eps)
        self.mlp = MLP(c)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    """A product of each patch, plus the embedding of its position, which the caller gives.

    Of a tower without a table of positions it is the product alone.
    """

    def __init__(self, c: VisionConfig, *, bias: bool = True) -> None:
        self.patch_embedding = nn.Linear(c.patch_width, c.hidden_size, bias=bias)
        self.patch_width, self.hidden_size = c.patch_width, c.hidden_size
        self.learned = c.positions is not None

    def forward(self) -> nn.Tensor:
        x = self.patch_embedding(nn.features(self.patch_width))
        if not self.learned:
            return x
        return x + nn.features(self.hidden_size, start=self.patch_width)


class Encoder(nn.Module):
    """What lies under ``encoder.`` in a checkpoint."""

    def __init__(self, c: Sizes, reach: int | None = 0) -> None:
        self.layers = [Layer(c, reach) for _ in range(c.layers)]

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Tower(nn.Module):
    """Patches of a tile to their states behind the last norm.

    CLIP's has a row for the whole image before them, and a norm of the embeddings.
    """

    # CLIP's word, as it is spelled in its checkpoints.
    names: ClassVar = {"pre_layernorm": "pre_layrnorm"}

    def __init__(self, c: VisionConfig) -> None:
        self.embeddings = Embeddings(c, bias=not c.class_token)
        self.pre_layernorm = nn.LayerNorm(c.hidden_size, c.norm_eps) if c.class_token else None
        self.encoder = Encoder(c)
        self.post_layernorm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self) -> nn.Tensor:
        x = self.embeddings()
        x = self.pre_layernorm(x) if self.pre_layernorm else x
        return self.post_layernorm(nn.output_rows(self.encoder(x)))
