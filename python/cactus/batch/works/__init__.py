"""The kinds of jobs: what each asks of a model, and which columns that gives."""

from __future__ import annotations

from cactus.batch.works.chat import Chat
from cactus.batch.works.requests import OpenAI
from cactus.batch.works.sight import Describe
from cactus.batch.works.speech import Transcribe
from cactus.batch.works.texts import Embed, Rerank
from cactus.batch.works.work import Work

WORKS: tuple[type[Work], ...] = (Chat, Embed, Rerank, Transcribe, Describe, OpenAI)
KINDS: dict[str, type[Work]] = {work.KIND: work for work in WORKS}
