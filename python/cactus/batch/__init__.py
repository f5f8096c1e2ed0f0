"""Jobs over many rows: chat, extraction, embeddings and others, over files of any length.

from cactus import batch
batch.run({"job": "chat", "prompt": "Translate: {text}"}, "in.jsonl", "out.jsonl", model="...")
"""

from __future__ import annotations

from cactus.batch.job import Job as Job
from cactus.batch.run import Report as Report
from cactus.batch.run import run as run
