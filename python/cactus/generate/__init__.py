"""From a prompt's tokens to a finished answer: the loop, stops, cache reuse and confidence."""
