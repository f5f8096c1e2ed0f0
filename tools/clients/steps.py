"""What the scripts of this folder share: each step is tried, and its outcome is a line."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ.get("CACTUS_URL", "")
"""The address of the server, without /v1."""
MODEL = os.environ.get("CACTUS_MODEL", "")


def run(*steps: Callable[[], Any]) -> None:
    """Try all steps; the process fails where one does."""
    failed = False
    for step in steps:
        name = step.__name__.replace("_", " ")
        try:
            result = step()
            if inspect.isawaitable(result):
                asyncio.run(_all(result))
            print(f"pass {name}", flush=True)
        except Exception as error:
            failed = True
            print(f"fail {name}: {type(error).__name__}: {str(error)[:300]!r}", flush=True)
            traceback.print_exc()
    sys.exit(failed)


async def _all(work: Any) -> None:
    await work
