"""XLM-RoBERTa (Conneau et al. 2019): BERT's layers, many languages: e5-multilingual, bge-m3."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cactus.inputs.fields import Fields

from . import base, bert

ABILITIES = ("embed", "rerank")

MODEL_TYPE = "xlm-roberta"

build = bert.build


@dataclass(frozen=True)
class Config(bert.Config):
    """BERT's, but positions are counted from the row behind that of ``pad_token_id``."""

    @classmethod
    def parse(cls, fields: Fields) -> bert.Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        rows = fields.integer("max_position_embeddings", 3, base.MAX_CONTEXT)
        first = fields.integer("pad_token_id", 0, rows - 2, 1) + 1
        return replace(super().parse(fields), first_position=first, context_length=rows - first)
