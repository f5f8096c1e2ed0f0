"""From whatever a caller calls an image to its pixels: 8-bit RGB, upright, checked, bounded."""

from __future__ import annotations

import os
from typing import IO, Any

Image = str | os.PathLike[str] | bytes | IO[bytes] | Any
"""A path, a file's bytes or file object, a `data:` URL, a PIL image, or a NumPy array."""
