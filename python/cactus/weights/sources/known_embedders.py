"""What published embedders want to be given, where their own files do not say it.

Texts before a query and a document are those of the models' cards. Names are compared without
regard to case, and by their beginning behind the owner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

QUERY, DOCUMENT = "query", "document"


class Known(NamedTuple):
    """`pattern` fits the name; the settings hold where the checkpoint does not say otherwise."""

    pattern: str
    settings: Mapping[str, Any]


def _prompts(query: str, document: str = "", **others: str) -> dict[str, str]:
    return {QUERY: query, DOCUMENT: document, **others}


_PASSAGES = "Represent this sentence for searching relevant passages: "
_NOMIC = _prompts(
    *("search_query: ", "search_document: "),
    clustering="clustering: ",
    classification="classification: ",
)
_HALVES = [768, 512, 256, 128, 64]

KNOWN = (
    Known("all-minilm-l(6|12)", {"normalize": True, "max_tokens": 256}),
    Known("nomic-embed-text-v1$", {"prompts": _NOMIC, "normalize": True}),
    Known("nomic-embed-text-v2", {"prompts": _NOMIC, "normalize": True, "matryoshka": [768, 256]}),
    Known("nomic-embed-text", {"prompts": _NOMIC, "normalize": True, "matryoshka": _HALVES}),
    Known(
        "modernbert-embed",
        {"prompts": _NOMIC, "normalize": True, "matryoshka": [768, 256]},
    ),
    Known("(multilingual-)?e5-.*instruct", {"prompts": {}, "normalize": True}),
    Known(
        "(multilingual-)?e5-",
        {"prompts": _prompts("query: ", "passage: "), "normalize": True},
    ),
    Known("bge-(small|base|large)-en", {"prompts": _prompts(_PASSAGES), "pooling": "cls"}),
    Known(
        "bge-(small|base|large)-zh",
        {"prompts": _prompts("为这个句子生成表示以用于检索相关文章："), "pooling": "cls"},
    ),
    Known("bge-m3", {"pooling": "cls"}),
    Known("snowflake-arctic-embed-.*v2", {"prompts": _prompts("query: "), "pooling": "cls"}),
    Known("snowflake-arctic-embed", {"prompts": _prompts(_PASSAGES), "pooling": "cls"}),
    Known("mxbai-embed-large", {"prompts": _prompts(_PASSAGES), "pooling": "cls"}),
    Known(
        "qwen3-embedding",
        {
            "prompts": _prompts(
                "Instruct: Given a web search query, retrieve relevant passages that answer the "
                "query\nQuery:"
            ),
            "pooling": "last",
            "normalize": True,
        },
    ),
    Known(
        "embeddinggemma",
        {
            "prompts": _prompts("task: search result | query: ", "title: none | text: "),
            "normalize": True,
            "matryoshka": _HALVES[:4],
        },
    ),
)
"""The first that fits counts."""

QWEN3_RERANKER = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
    'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that "
    "answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n"
)
"""What Qwen3-Reranker reads: the template of its card."""

_OTHER_NAMES = {
    QUERY: ("search_query", "Retrieval-query", "retrieval.query", "web_search_query"),
    DOCUMENT: ("passage", "search_document", "Retrieval-document", "retrieval.passage", "corpus"),
}


def known_settings(name: str) -> Mapping[str, Any]:
    """What is known of a model by its name or hub id; nothing of most."""
    bare = name.rpartition("/")[2].lower()
    found = (known.settings for known in KNOWN if re.match(known.pattern, bare))
    return next(found, {})


def is_reranker(name: str) -> bool:
    """Whether a language model of this name ranks texts by saying yes or no."""
    return name.rpartition("/")[2].lower().startswith("qwen3-reranker")


def complete(settings: Mapping[str, Any], name: str, *, said: bool) -> dict[str, Any]:
    """Settings of a checkpoint with what its name tells.

    `said`: how its states become an embedding is what its files say, and only prompts can be
    missing. Prompts for queries and documents are found under the names that others gave them.
    """
    known = dict(known_settings(name))
    made = dict(settings)
    prompts = dict(settings["prompts"])
    if not any(prompts.values()):
        prompts = dict(known.get("prompts", prompts))
    for kind, others in _OTHER_NAMES.items():
        given = next((prompts[other] for other in others if other in prompts), None)
        if kind not in prompts and given is not None:
            prompts[kind] = given
    known.pop("prompts", None)
    if said:
        known = {key: value for key, value in known.items() if key == "matryoshka"}
    return made | known | {"prompts": prompts}
