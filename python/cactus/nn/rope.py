"""Rotary positions (Su et al. 2021), half-split convention, and the known ways to stretch them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..graph.trace import Tensor, apply


@dataclass(frozen=True)
class RoPE:
    """Rotates each pair (i, i + n) of a head by position * inv_freq[i]; n = len(inv_freq).

    ``scale`` multiplies the cosines and sines. With ``axes``, one for each frequency, a row's
    position is what the caller gives: so many numbers, of which pair i turns by number axes[i].
    """

    inv_freq: tuple[float, ...]
    scale: float = 1.0
    axes: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, head_dim: int, theta: float, stretch: Callable[[float], float] | None = None
    ) -> RoPE:
        """inv_freq[i] = theta^(-2i / head_dim), each passed through ``stretch``, rounded to f32."""
        frequencies = [theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
        if stretch is not None:
            frequencies = [stretch(frequency) for frequency in frequencies]
        return cls.rounded(frequencies)

    @classmethod
    def rounded(cls, frequencies: Sequence[float], scale: float = 1.0) -> RoPE:
        """The given frequencies, each as the nearest f32."""
        # Through four bytes and back.
        packing = struct.Struct(f"{len(frequencies)}f")
        return cls(packing.unpack(packing.pack(*frequencies)), scale)

    @classmethod
    def yarn(
        cls,
        width: int,
        theta: float,
        factor: float,
        context: int,
        fast: float,
        slow: float,
        truncate: bool,
        scale: float,
    ) -> RoPE:
        """YaRN (Peng et al. 2023): the more a pair turns within ``context``, the less it is slowed.

        Those that turn ``fast`` times or more stay as they are, those that turn ``slow`` times or
        less are slowed by ``factor``, and in between both are mixed. ``truncate`` widens that range
        to whole pairs. ``width`` values of a head rotate.
        """

        def pair_that_turns(times: float) -> float:
            return width * math.log(context / (times * 2 * math.pi)) / (2 * math.log(theta))

        low, high = pair_that_turns(fast), pair_that_turns(slow)
        if truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        span = high - low or 0.001
        frequencies = []
        for pair in range(width // 2):
            slowed = min(max((pair - low) / span, 0.0), 1.0)
            frequencies.append(theta ** (-2 * pair / width) * (slowed / factor + 1 - slowed))
        return cls.rounded(frequencies, scale)

    def __call__(self, x: Tensor, head_dim: int, name: str) -> Tensor:
        attrs = {"inv_freq": self.inv_freq, "axes": self.axes, "scale": self.scale}
        return apply("rope", x, name=name, attrs={"head_dim": head_dim, **attrs})


def linear_stretch(factor: float) -> Callable[[float], float]:
    """Position interpolation: every frequency divided by ``factor``."""
    return lambda frequency: frequency / factor


def llama3_stretch(
    factor: float, low_freq_factor: float, high_freq_factor: float, original_context: int
) -> Callable[[float], float]:
    """Llama 3.1: frequencies that turn rarely within the original context are slowed."""

    def stretch(frequency: float) -> float:
        # How often the wave turns within the context the model was first trained on.
        turns = original_context * frequency / (2 * math.pi)
        kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
        kept = min(max(kept, 0.0), 1.0)
        return frequency * (kept + (1 - kept) / factor)

    return stretch
