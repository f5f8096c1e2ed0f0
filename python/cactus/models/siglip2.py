"""SigLIP 2 (Tschannen et al. 2025) at any resolution."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from cactus.inputs.fields import Fields

from . import dual, siglip
from .vision import transformer

ABILITIES = ("embed", "embed_image")


@dataclass(frozen=True)
class Config(dual.DualConfig):
    """SigLIP 2 has nothing of its own beyond what dual encoders share."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        tower = siglip.vision_part(fields)
        count = tower.integer("num_patches", 1, 1 << 16, 256)
        side = isqrt(count)
        if side * side != count:
            raise tower.error("num_patches", "a square number", count)
        sizes = transformer(tower) | {"positions": (side, side)}
        return cls(**siglip.arguments(fields, "siglip2", sizes))


build = dual.build
