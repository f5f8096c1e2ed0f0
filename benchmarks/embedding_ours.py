"""Child of embeddings.py: embed texts with our engine; the argument is a job in JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import embedding_child
import numpy as np
from embedding_child import Engine, Vectors

import cactus
from cactus import Model


def main() -> None:
    """Do the job and print what it took."""
    job = embedding_child.Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    with Model(job.model, threads=job.threads) as model:

        def embed(texts: Sequence[str], batch: int, _: int) -> Vectors:
            return np.asarray(model.embed(list(texts), normalize=True))

        engine = Engine(embed, {"cactus": cactus.__version__}, batched=False)
        print(json.dumps(embedding_child.run(job, engine)))


if __name__ == "__main__":
    main()
