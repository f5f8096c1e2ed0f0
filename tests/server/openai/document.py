"""OpenAI's own description of its interface, to validate replies with.

tests/golden/openai: the schemas of the published document 2.3.0, without its texts.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parents[2] / "golden" / "openai" / "schemas.json.gz"


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **_document()})


@cache
def _document() -> Any:
    return json.loads(gzip.decompress(FILE.read_bytes()))


def check(name: str, value: Any) -> None:
    """Raises ValidationError unless `value` is what the document calls `name`."""
    _validator(name).validate(value)
