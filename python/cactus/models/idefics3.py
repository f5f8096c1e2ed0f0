"""Idefics3 (Laurençon et al. 2024), as the first SmolVLM checkpoints call their architecture."""

from __future__ import annotations

from .smolvlm import ABILITIES as ABILITIES
from .smolvlm import Config as Config
from .smolvlm import build as build
