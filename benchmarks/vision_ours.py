"""Child of vision.py: look at pictures with our engine; the argument is a job in JSON."""

from __future__ import annotations

import json

from vision_child import QUESTION, Engine, read_job, run

import cactus
from cactus import Model


def main() -> None:
    """Do the job and print what it took."""
    job = read_job()
    with Model(job.model, threads=job.threads) as model:

        def look(picture: str) -> tuple[int, float]:
            messages = [{"role": "user", "content": QUESTION, "images": [picture]}]
            metrics = model.chat(messages, max_tokens=1, temperature=0).metrics
            return metrics.prefill_tokens, metrics.encode_time_ms / 1000

        print(json.dumps(run(job, Engine(look, {"cactus": cactus.__version__}))))


if __name__ == "__main__":
    main()
