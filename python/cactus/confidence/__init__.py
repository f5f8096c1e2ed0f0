"""How sure a model is of an answer, and what that is worth."""
