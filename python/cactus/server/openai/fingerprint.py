"""What an answer depends on beside the request: one short text for each model as it is served."""

from __future__ import annotations

from hashlib import blake2b
from importlib.metadata import version
from weakref import WeakKeyDictionary

from cactus.model import Model

_known: WeakKeyDictionary[Model, str] = WeakKeyDictionary()


def fingerprint(model: Model) -> str:
    """It changes with the model, its settings and the version of the server."""
    found = _known.get(model)
    if found is None:
        own = (model.name, model.architecture, model.context_length, model.draft)
        parts = repr((version("cactus"), *own))
        found = _known[model] = f"fp_{blake2b(parts.encode(), digest_size=6).hexdigest()}"
    return found
