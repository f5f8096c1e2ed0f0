"""Values of tables as values of JSON, and back as cells of a CSV file."""

from __future__ import annotations

import base64
import json
import math
from datetime import date, datetime, time
from typing import Any


def plain(value: Any) -> Any:
    """A value of JSON: dates in ISO's form, bytes in base64, numbers that are none as null.

    Anything else that JSON does not have is its text.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def cell(value: Any) -> str:
    """A cell of a CSV file: a text as it is, null as nothing, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
