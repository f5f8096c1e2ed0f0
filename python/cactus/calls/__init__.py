"""Calls on a model: whose turn it is, how they are stopped, streamed, awaited and timed."""
