"""The loop that runs Python functions for a model until it has its answer."""
