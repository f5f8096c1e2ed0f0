"""The tokens by which models end a turn.

Files do not say all of them. Fine-tuned models often name the end of a text ("<|endoftext|>") and
not the end of a turn that their template writes, and converters give some the wrong type, so that
an answer would go on into invented turns. The texts are those that llama.cpp knows, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

UNMISTAKABLE = frozenset(
    {
        *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>"),
        *("<|calls|>", "<|flush|>", "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"),
        *("<end_of_turn>", "<end_of_utterance>", "<turn|>", "<|tool_response>", "[e~["),
        # Between files that a code model writes one after the other.
        *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    }
)
"""Nobody writes these but to end something: they count whatever type a file gives them."""

AMBIGUOUS = frozenset({"</s>", "<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"})
"""They may also be text ("</s>" strikes out in HTML): they count where a file calls them control
tokens."""


def find_ends(texts: Iterable[str], id_of: Callable[[str], int | None]) -> list[int]:
    """The ids of those `texts` that the vocabulary has, ascending.

    Where there are tokens for the end of a message and of a call, "<|end|>" ends a part of a turn.
    """
    ids = {text: id for text in texts if (id := id_of(text)) is not None}
    calls = {"<|call|>", "<|calls|>"} & ids.keys()
    if calls and {"<|return|>", "<|flush|>"} & ids.keys():
        ids.pop("<|end|>", None)
    return sorted(ids.values())
