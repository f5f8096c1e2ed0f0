"""What the options of an answer amount to where they are not set, to be read."""

from __future__ import annotations

MAX_TOKENS = 512
"""Tokens of an answer unless `max_tokens` says otherwise."""

UNSET = {
    "sampling": "greedy",
    "temperature": "0",
    "top_p": "1",
    "top_k": "0",
    "min_p": "0",
    "repetition_penalty": "1",
    "repetition_window": "all tokens",
    "presence_penalty": "0",
    "frequency_penalty": "0",
    "stop_loops": "off",
    "seed": "another one each time",
    "max_tokens": str(MAX_TOKENS),
    "stop": "none",
    "thinking": "as the model does",
    "max_tiles": "as the model does",
    "max_image_tokens": "as the model does",
    "frames": "16",
}
"""What an option that is not set amounts to, to be read."""

SOURCES = {
    "model": "the model's own",
    "catalog": "what Cactus knows to suit it",
    "none": "the model recommends nothing",
}
"""Where a sampling option comes from that is not set, to be read."""
