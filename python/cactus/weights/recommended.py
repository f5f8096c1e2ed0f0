"""How models are sampled by those who made them, where generation_config.json does not say it.

The values are in that file's words. They are from the model cards, and for the LFM families from
the documentation of Liquid AI, as published in 2025; what is in the file of a family is repeated
here, because a GGUF file has lost it.
"""

from __future__ import annotations

from collections.abc import Mapping

Values = Mapping[str, float]

_QWEN25: Values = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
_QWEN3: Values = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
_LFM2: Values = {"temperature": 0.3, "min_p": 0.15, "repetition_penalty": 1.05}

_FAMILIES: dict[str, Values] = {
    "HuggingFaceTB/SmolLM2-": {"temperature": 0.2, "top_p": 0.9},
    # With the card's values 6 of 20 answers of two ten-turn chats loop, and 33 of 40 answers to
    # "What is the capital of France?" name Paris. With these none loops, and 60 of 60 begin with
    # the right sentence; 52 do at 0.05, where another token is nearly as likely. A
    # repetition_penalty would see the prompt, too: of 20 facts there the model names 6, not 17.
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
        "temperature": 0.02,
        "top_p": 0.9,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.4,
    },
    "HuggingFaceTB/SmolLM3-": {"temperature": 0.6, "top_p": 0.95},
    "LiquidAI/LFM2-": _LFM2,
    "LiquidAI/LFM2-1.2B-RAG": {"temperature": 0.0},
    "LiquidAI/LFM2-1.2B-Tool": {"temperature": 0.0},
    "LiquidAI/LFM2.5-": {
        "temperature": 0.1,
        "top_k": 50,
        "top_p": 0.1,
        "repetition_penalty": 1.05,
    },
    "Qwen/Qwen3-": _QWEN3,
    "Qwen/Qwen3-4B-Instruct-2507": {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    "Qwen/Qwen2.5-": {**_QWEN25, "repetition_penalty": 1.1},
    "Qwen/Qwen2.5-3B-Instruct": {**_QWEN25, "repetition_penalty": 1.05},
    "google/gemma-3-": {"temperature": 1.0, "top_p": 0.95, "top_k": 64},
    "google/functiongemma-": {"temperature": 1.0, "top_p": 0.95, "top_k": 64},
    "meta-llama/Llama-3.2-": {"temperature": 0.6, "top_p": 0.9},
}
"""By the beginning of the name; of several that fit, the longest one."""


def recommended(name_or_id: str) -> Values:
    """The values for a model of one of these families, in the words of generation_config.json.

    None for others. A name without an owner, as of a file, is enough, in upper or lower case.
    """
    name = name_or_id.rpartition("/")[2].lower()
    fitting = [each for each in _FAMILIES if name.startswith(each.rpartition("/")[2].lower())]
    return _FAMILIES[max(fitting, key=len)] if fitting else {}
