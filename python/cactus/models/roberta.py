"""RoBERTa (Liu et al. 2019): XLM-RoBERTa with a vocabulary of bytes, as all-roberta has it."""

from __future__ import annotations

from . import xlm_roberta

ABILITIES = ("embed", "rerank")

Config = xlm_roberta.Config
build = xlm_roberta.build
