"""Module: a tree of named parts whose attribute paths are the names in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..graph import trace
from ..graph.trace import Tensor


@dataclass
class Parameter:
    """A tensor of the checkpoint: ``matrix`` may be stored quantised, ``vector`` is stored as f32.

    ``name`` is the checkpoint's; it is set when the model that holds the parameter is bound. The
    model multiplies with what the checkpoint holds plus ``offset``, and is stored so. The kernel of
    a convolution with ``taps``, ``[out, in, taps]``, is stored as a matrix ``[out, taps * in]``.
    """

    shape: tuple[int, ...]
    kind: Literal["matrix", "vector"]
    offset: float = 0.0
    taps: int = 1
    name: str = ""

    def use(self) -> dict[str, tuple[int, ...]]:
        """This parameter in the form that ``trace.apply`` takes."""
        return {self.name: self.shape}


class Module:
    """Base of every layer: parts are set in ``__init__`` and composed in ``forward``."""

    names: ClassVar[Mapping[str, str]] = {}
    """Attribute -> the checkpoint's word for it, where the two differ."""

    path: str = ""
    forward: Callable[..., Tensor]

    def __call__(self, *inputs: Tensor) -> Tensor:
        with trace.scope(self.path):
            return self.forward(*inputs)

    def bind(self, path: str = "") -> None:
        """Give this module, its parts and their parameters their checkpoint names."""
        self.path = path
        for name, part in self._parts():
            full = f"{path}.{name}" if path else name
            if isinstance(part, Parameter):
                part.name = full
            else:
                part.bind(full)

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter below this module, in the order of definition."""
        for _, part in self._parts():
            if isinstance(part, Parameter):
                yield part
            else:
                yield from part.parameters()

    def _parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        for attribute, value in vars(self).items():
            name = self.names.get(attribute, attribute)
            if isinstance(value, Module | Parameter):
                yield name, value
            elif isinstance(value, list):
                yield from ((f"{name}.{i}", part) for i, part in enumerate(value))
