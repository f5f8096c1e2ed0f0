"""What comes behind the pooling: dense layers, in NumPy, one vector at a time.

One at a time, so that a vector has the same bits in any company.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cactus.embed.pooling import F32
from cactus.embed.settings import Dense
from cactus.errors import ModelFormatError
from cactus.inputs.checks import short
from cactus.weights.format.safetensors import SafetensorsFile, read_safetensors

FILE = "heads.safetensors"
"""Beside model.safetensors: the tensors of the dense layers, F32."""


def _gelu(x: F32) -> F32:
    erf = np.fromiter((math.erf(each) for each in x / np.sqrt(np.float32(2))), np.float32, len(x))
    return (x * (1 + erf) / 2).astype(np.float32)


_ACTIVATIONS: dict[str, Callable[[F32], F32]] = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "gelu": _gelu,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@dataclass(frozen=True)
class Layer:
    """y = activation(weight @ x + bias), then its layer norm where it has one."""

    weight: F32
    bias: F32 | None
    activation: str
    norm: tuple[F32, F32 | None, float] | None

    def __call__(self, x: F32) -> F32:
        y: F32 = self.weight @ x
        if self.bias is not None:
            y = y + self.bias
        y = _ACTIVATIONS[self.activation](y)
        if self.norm is None:
            return y
        weight, bias, eps = self.norm
        centred = y - y.mean()
        y = centred / np.sqrt((centred * centred).mean() + np.float32(eps)) * weight
        return y if bias is None else y + bias


def read_heads(folder: Path, dense: Sequence[Dense], width: int) -> tuple[list[Layer], int]:
    """The dense layers of a weights folder for states of `width`, and the width they end in.

    Raises ModelFormatError naming the tensor that is missing or does not fit.
    """
    if not dense:
        return [], width
    file = read_safetensors(folder / FILE)
    try:
        layers = []
        for each in dense:
            weight = _tensor(file, each.weight, (-1, width))
            width = len(weight)
            norm = each.norm
            layers.append(
                Layer(
                    weight,
                    None if each.bias is None else _tensor(file, each.bias, (width,)),
                    each.activation,
                    None
                    if norm is None
                    else (
                        _tensor(file, norm.weight, (width,)),
                        None if norm.bias is None else _tensor(file, norm.bias, (width,)),
                        norm.eps,
                    ),
                )
            )
        return layers, width
    finally:
        file.close()


def _tensor(file: SafetensorsFile, name: str, shape: tuple[int, ...]) -> F32:
    """A tensor of a shape, in which -1 is any number."""
    info = file.tensors.get(name)
    if info is None:
        raise ModelFormatError(f"{file.path}: tensor {short(name)} is missing")
    wanted = len(info.shape) == len(shape) and all(
        side > 0 and want in (side, -1) for side, want in zip(info.shape, shape, strict=True)
    )
    if not wanted or info.dtype != "F32":
        sizes = ", ".join("any" if side < 0 else str(side) for side in shape)
        raise ModelFormatError(
            f"{file.path}: tensor {short(name)} is {info.dtype} {list(info.shape)}, "
            f"expected F32 [{sizes}]"
        )
    return file.read(name).view(np.float32).reshape(info.shape)
