"""What /metrics says of the present: requests that run and wait, memory, models."""

from __future__ import annotations

from cactus.server.admission import Admission
from cactus.server.meter import Meter
from cactus.server.models import Models


def add_gauges(meter: Meter, admission: Admission, models: Models) -> None:
    """Add them to `meter`."""
    gauge = meter.gauge
    gauge("num_requests_running", "Answers that are worked on.", lambda: admission.running)
    gauge("num_requests_waiting", "Requests in the queue.", lambda: admission.waiting)
    gauge(
        "waiting_prompt_tokens",
        "Tokens of prompts in the queue, about.",
        lambda: admission.waiting_tokens,
    )
    gauge("num_requests_refused", "Requests told to come again.", lambda: admission.refused)
    gauge("memory_budget_bytes", "For models and caches.", lambda: models.budget or 0)
    gauge("memory_reserved_bytes", "Of it, by loaded models.", lambda: models.used)
    gauge(
        "kv_cache_bytes",
        "Memory of keys and values.",
        lambda: sum(model.kv_bytes for model in models.loaded),
    )
    gauge("models_loaded", "Models in memory.", lambda: len(models.loaded))
