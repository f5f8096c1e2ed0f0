"""From pixels to what a tower takes, a file for each family: how an image is cut, and its text."""

from __future__ import annotations

from cactus.vision.processors.base import ImageLimits, Layout, Processor
from cactus.vision.processors.pixels import Tile

__all__ = ["ImageLimits", "Layout", "Processor", "Tile"]
