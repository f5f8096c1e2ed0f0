"""Tracing: a model's ``forward`` runs once on symbols, and what it does is the Graph.

Only ``+`` and ``*`` are overloaded; all else is a function of this file or a module of ``nn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .node import Graph, Node, Slot
from .ops import OPS, verify


@dataclass(frozen=True, eq=False)
class Tensor:
    """A symbolic activation ``[T, width]``: the result of one node."""

    node: Node

    @property
    def width(self) -> int:
        """Floats per row."""
        return self.node.width

    def __add__(self, other: Tensor) -> Tensor:
        return apply("add", self, other)

    def __mul__(self, other: Tensor | float) -> Tensor:
        if isinstance(other, Tensor):
            return apply("mul", self, other)
        return apply("scale", self, attrs={"factor": other}) if other != 1 else self


@dataclass
class _Trace:
    slots: list[Slot] = field(default_factory=list)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    effects: list[Node] = field(default_factory=list)
    scope: str = ""

    def unique(self, name: str) -> str:
        name = f"{self.scope}.{name}" if self.scope else name
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}_{count}"
        self.names.add(candidate)
        return candidate


_current: ContextVar[_Trace] = ContextVar("cactus_trace")


def _trace() -> _Trace:
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("modules can only be called inside graph.trace.trace") from None


def trace(forward: Callable[[], Tensor]) -> Graph:
    """Run ``forward`` once and return the graph of its result, verified against the op table.

    Raises ValueError, naming the node, where widths or attributes do not fit.
    """
    state = _Trace()
    token = _current.set(state)
    try:
        output = forward()
    finally:
        _current.reset(token)
    return verify(Graph.of([output.node, *state.effects], state.slots, state.weights))


@contextmanager
def scope(path: str) -> Iterator[None]:
    """Name the nodes made inside after the module at ``path``."""
    state = _trace()
    outer, state.scope = state.scope, path
    try:
        yield
    finally:
        state.scope = outer


def apply(
    op: str,
    *inputs: Tensor,
    weights: dict[str, tuple[int, ...]] | None = None,
    slot: Slot | None = None,
    name: str | None = None,
    path: str | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Tensor:
    """Add one node. It is called ``path``, or ``name`` (default: the op) within the current scope.

    ``weights`` maps checkpoint names to shapes. Raises ValueError where widths do not fit.
    """
    state = _trace()
    weights, attrs = weights or {}, dict(attrs or {})
    state.weights.update(weights)
    if slot is not None and slot not in state.slots:
        state.slots.append(slot)
    if path is None:
        path = state.unique(name or op)
    state.names.add(path)
    nodes = tuple(tensor.node for tensor in inputs)
    try:
        width = OPS[op].width([node.width for node in nodes], list(weights.values()), attrs)
    except ValueError as error:
        raise ValueError(f"{op} {path}: {error}") from None
    slot_name = slot.name if slot else None
    node = Node(op, nodes, width, attrs, tuple(weights), slot_name, path)
    if width == 0:
        state.effects.append(node)
    return Tensor(node)


def split(x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """The columns of ``x`` in equal ``parts``, as views."""
    return tuple(
        apply("split", x, name=f"split_{i}", attrs={"index": i, "parts": parts})
        for i in range(parts)
    )


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return apply("silu", x)


def gelu(x: Tensor) -> Tensor:
    """The Gaussian error linear unit, approximated with tanh (Hendrycks and Gimpel 2016)."""
    return apply("gelu", x)


def gelu_erf(x: Tensor) -> Tensor:
    """The Gaussian error linear unit as it is defined (Hendrycks and Gimpel 2016)."""
    return apply("gelu_erf", x)


def features(width: int, start: int = 0) -> Tensor:
    """``width`` of the floats that a row has from outside the graph, from ``start`` on."""
    return apply("features", attrs={"start": start, "width": width})


def with_features(x: Tensor) -> Tensor:
    """Where a row of tokens is one of features, these instead of ``x``."""
    return apply("replace_features", x, attrs={"start": 0})


def add_features(x: Tensor, index: int) -> Tensor:
    """``x``, and where a row is one of features its further ones added: those of number ``index``.

    Such a row has ``x.width`` floats for ``with_features``, then as many for each index.
    """
    return apply("add_features", x, attrs={"start": (1 + index) * x.width})


def output_rows(x: Tensor) -> Tensor:
    """Only the rows whose logits are asked for; it belongs before the head, the widest layer."""
    return apply("output_rows", x)
