"""The Graph: what a model computes, as data.

Every activation is ``[T, width]``: T rows of the current batch (one token each), ``width`` floats.
T is the only dynamic dimension and never appears in a graph; nothing that changes from step to step
does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from cactus.post_order import post_order


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """One operation and its only result. Compared by identity: two equal nodes are two results.

    ``op`` is a row of ``graph.ops``; ``weights`` are checkpoint names; ``state`` names a Slot;
    ``name`` is the module path, so that values can be compared with the same module elsewhere.
    """

    op: str
    inputs: tuple[Node, ...]
    width: int
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    state: str | None = None
    name: str = ""

    def __repr__(self) -> str:
        # The default would print the whole graph below this node, shared parts again and again.
        return f"<{self.op} {self.name} [{self.width}]>"


@dataclass(frozen=True)
class Slot:
    """State that one node keeps for each sequence.

    ``kv``: keys and values of every position (``kv_heads`` x ``head_dim`` each).
    ``conv``: the last ``taps - 1`` input rows of a causal convolution (``width`` each).
    ``memory``: keys and values of what an encoder heard, which every token attends to as a whole.
    """

    kind: Literal["kv", "conv", "memory"]
    name: str
    kv_heads: int = 0
    head_dim: int = 0
    width: int = 0
    taps: int = 0


@dataclass(frozen=True)
class Graph:
    """Nodes in an order that can be executed, the nodes whose values leave, state and weights.

    The first of ``outputs`` is what a step returns; others are there to be read after it, or, of
    width 0, for what they do to the state.
    ``weights`` maps each checkpoint name to its shape: ``(rows, cols)`` or ``(n,)``.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]
    slots: tuple[Slot, ...]
    weights: dict[str, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        outputs: Iterable[Node],
        slots: Iterable[Slot],
        weights: dict[str, tuple[int, ...]],
    ) -> Graph:
        """The graph of everything that ``outputs`` need, each node after its inputs."""
        outputs = tuple(outputs)
        order = post_order(outputs, lambda node: node.inputs)
        return cls(tuple(order), outputs, tuple(slots), dict(weights))

    def uses(self) -> Counter[Node]:
        """How often each node's value is read; an output counts as one reading."""
        return Counter([*self.outputs, *(source for node in self.nodes for source in node.inputs)])

    def selected(self) -> set[Node]:
        """The nodes whose values have a row for each wanted row of logits, not for each token."""
        found: set[Node] = set()
        for node in self.nodes:
            if node.op == "output_rows" or any(source in found for source in node.inputs):
                found.add(node)
        return found

    @property
    def features(self) -> int:
        """How many floats of a row come from outside."""
        return max(
            (n.attrs["start"] + n.width for n in self.nodes if "start" in n.attrs), default=0
        )

    @property
    def axes(self) -> int:
        """How many numbers of a row's position come from outside."""
        turned = [axis for n in self.nodes for axis in n.attrs.get("axes", ())]
        windows = [n.attrs["within"] for n in self.nodes if n.attrs.get("within") is not None]
        return int(max([-1, *turned, *windows])) + 1

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def slot(self, name: str) -> Slot:
        """The slot of that name; KeyError if there is none."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise KeyError(name)

    def __str__(self) -> str:
        """One line a node, for reading: number, op, width, inputs by number, name."""
        number = {node: i for i, node in enumerate(self.nodes)}
        return "\n".join(
            f"{i:4} {node.op:14} {node.width:6}  "
            f"{','.join(str(number[s]) for s in node.inputs):12} {node.name}"
            for i, node in enumerate(self.nodes)
        )
