"""The program that a language model is run as where its states are wanted, not its next token.

Its graph is made here, so that this file's code is in the key of kept plans.
"""

from __future__ import annotations

from cactus.engine.programs import Part, Traced
from cactus.models.base import Architecture


def _states(model: Architecture) -> Traced:
    return Traced(model.build_states(), 0, model.config.context_length)


STATES = Part("states", "plan-states.bin", _states)
"""The hidden states of each token after the last norm."""
