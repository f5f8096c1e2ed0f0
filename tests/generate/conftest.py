"""The scripted engine for this room's tests."""

from __future__ import annotations

import sys
from pathlib import Path

# A plain helper module beside the tests; importlib mode leaves the folder off the path.
sys.path.insert(0, str(Path(__file__).parent))
