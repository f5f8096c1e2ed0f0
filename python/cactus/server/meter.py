"""What is counted: for /metrics, named as vLLM names it, and for each key."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from cactus.server.current import CURRENT
from cactus.server.errors import CLIENT_GONE
from cactus.types import Completion

_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0),
)
_TOKEN_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    *(0.75, 1.0, 2.5, 5.0),
)
FORGETS = 0.8
"""How much of the speed that was known stays when another prompt has been read."""


@dataclass
class Used:
    """What a key has used."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Meter:
    """All counts of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.used: dict[str | None, Used] = defaultdict(Used)
        self.began = time.monotonic()
        self.cancelled = 0
        self.speed = 500.0
        """Tokens of prompts that are read in a second, lately."""
        ProcessCollector(registry=self.registry)
        model = ["model_name"]
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.", model)
        self._cached = self._counter("prefix_cache_hits", "Tokens found in the cache.", model)
        self._asked = self._counter("prefix_cache_queries", "Tokens looked up there.", model)
        self._written = self._counter("generation_tokens", "Tokens written.", model)
        self._ended = self._counter(
            "request_success", "Answers by how they ended.", [*model, "finished_reason"]
        )
        self._audio = self._counter("audio_seconds", "Seconds of audio written down.", model)
        self._gone = self._counter("request_cancelled", "Requests whose client has left.", [])
        self._http = self._counter(
            "http_requests", "Requests by endpoint and status.", ["endpoint", "status"]
        )
        self._first = self._histogram(
            "time_to_first_token_seconds", "From the call to its first token.", _SECONDS
        )
        self._each = self._histogram(
            "inter_token_latency_seconds", "Between two tokens of an answer.", _TOKEN_SECONDS
        )
        self._whole = self._histogram(
            "e2e_request_latency_seconds", "From a request to its end.", _SECONDS, "endpoint"
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"cactus:{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], label: str = "model_name"
    ) -> Histogram:
        return Histogram(f"cactus:{name}", text, [label], buckets=buckets, registry=self.registry)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for whenever somebody looks."""
        Gauge(f"cactus:{name}", text, registry=self.registry).set_function(value)

    def completion(self, model: str, done: Completion) -> None:
        """Count an answer."""
        metrics = done.metrics
        prompt = metrics.prefill_tokens + metrics.cached_tokens
        self._prompt.labels(model).inc(prompt)
        self._asked.labels(model).inc(prompt)
        self._cached.labels(model).inc(metrics.cached_tokens)
        self._written.labels(model).inc(metrics.decode_tokens)
        self._ended.labels(model, done.finish_reason).inc()
        if metrics.time_to_first_token_ms > 0:
            self._first.labels(model).observe(metrics.time_to_first_token_ms / 1000)
        if metrics.decode_tps > 0:
            self._each.labels(model).observe(1 / metrics.decode_tps)
        if metrics.prefill_tps > 0 and metrics.prefill_tokens >= 16:
            self.speed = FORGETS * self.speed + (1 - FORGETS) * metrics.prefill_tps
        current = CURRENT.get()
        used = self.used[None if current is None else current.tenant]
        used.prompt_tokens += prompt
        used.cached_tokens += metrics.cached_tokens
        used.completion_tokens += metrics.decode_tokens

    def audio(self, model: str, seconds: float) -> None:
        """Count audio that has been written down."""
        self._audio.labels(model).inc(seconds)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._http.labels(endpoint, str(status)).inc()
        self._whole.labels(endpoint).observe(seconds)
        if status == CLIENT_GONE:
            self.cancelled += 1
            self._gone.inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
