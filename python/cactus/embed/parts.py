"""The program that a language model is run as where its states are wanted, not its next token.

Its graph is made here, so that this file's code is in the key of kept plans.
"""

from __future__ import annotations

from cactus.engine.programs import Part, Traced
from cactus.errors import UnsupportedModel
from cactus.graph.trace import trace
from cactus.models.base import Architecture, Decoder


def _states(model: Architecture) -> Traced:
    decoder = getattr(model.model, "model", None)
    if not isinstance(decoder, Decoder):
        raise UnsupportedModel(f"a model of {model.config.model_type} has no states of its tokens")
    return Traced(trace(decoder), 0, model.config.context_length)


STATES = Part("states", "plan-states.bin", _states)
"""The hidden states of each token after the last norm."""
