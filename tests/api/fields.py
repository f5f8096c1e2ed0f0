"""The documented fields of an answer, in their order."""

from __future__ import annotations

FIELDS = [
    "success",
    "error",
    "cloud_handoff",
    "response",
    "function_calls",
    "confidence",
    "time_to_first_token_ms",
    "total_time_ms",
    "prefill_tps",
    "decode_tps",
    "ram_usage_mb",
    "prefill_tokens",
    "decode_tokens",
    "total_tokens",
]
