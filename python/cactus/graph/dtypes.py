"""The types of weights: their numbers in a plan, and what of their layout a plan depends on."""

from __future__ import annotations

DTYPES = {"f32": 0, "f16": 1, "bf16": 2, "q8": 3, "q4": 4, "q4_64": 5, "q4_0": 6, "q8_64": 7}
DTYPES |= {"q4_nl": 8}
"""By dtype: its number in plans."""

GROUPS = {"q4": 32, "q4_64": 64, "q4_0": 32, "q4_nl": 32, "q8": 32, "q8_64": 64}
"""By quantised dtype: columns that share a scale, in the weights and in what they multiply."""

TILE_ROWS = 16
"""Rows of a weight tile."""
