"""Rebuild a Hugging Face ``tokenizer.json`` from the metadata of a GGUF file.

Ids are those of llama.cpp on the same file: the regular expressions behind a pre-tokenizer's name,
the defaults that come with the name (BOS, whole-word look-up) and the role of every token type are
those of its ``llama-vocab.cpp``. Where that only approximates a published expression ("tekken" and
"gpt-4o", which treat combining marks as letters) the published one is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.errors import TokenizerError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.tokenizer.document import around, byte_level, document
from cactus.tokenizer.ends import AMBIGUOUS, UNMISTAKABLE, find_ends
from cactus.tokenizer.gguf_encoders import WORDPIECE_IDS, unigram, wordpiece

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_MAX_TOKENS = 4_000_000
_MAX_TABLE = 8 << 20  # bytes; the table of many languages has 240 KB
_MAX_MERGES = 8_000_000

# Building blocks of the published expressions; contractions in both cases, as in llama.cpp.
CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = "|".join((CONTRACTIONS, _WORD, r"\p{N}{1,3}", _SYMBOLS, _BLANKS))
QWEN2 = "|".join((CONTRACTIONS, _WORD, r"\p{N}", _SYMBOLS, _BLANKS))
_QWEN35 = "|".join(
    (
        CONTRACTIONS,
        r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        _BLANKS,
    )
)
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_CASED_TAIL = (r" ?[^\s\p{L}\p{N}]+[\r\n/]*", _BLANKS)
_TEKKEN = "|".join((*_CASED, r"\p{N}", *_CASED_TAIL))
_GPT4O = "|".join((*(f"{part}{CONTRACTIONS}?" for part in _CASED), r"\p{N}{1,3}", *_CASED_TAIL))


@dataclass(frozen=True)
class _PreTokenizer:
    """What one ``tokenizer.ggml.pre`` name stands for: successive splits, then bytes.

    ``patterns`` None is GPT-2's own expression, which ``tokenizers`` has built in and need not
    compile; ``digits`` isolates every digit first.
    """

    patterns: tuple[str, ...] | None
    digits: bool = False
    ignore_merges: bool = False
    add_bos: bool = False


_GPT2_PRE = _PreTokenizer(None)
_LLAMA3_PRE = _PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
_QWEN2_PRE = _PreTokenizer((QWEN2,))
_FAMILIES = {
    "default": _PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat mellum exaone4": _GPT2_PRE,
    "modern-bert a.x-4.0 jina-es jina-de jina-v2-es jina-v2-de": _GPT2_PRE,
    "jina-v1-en jina-v2-code roberta-bpe": _GPT2_PRE,
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": _PreTokenizer(
        None, digits=True
    ),
    "llama3 llama-v3 llama-bpe lfm2 falcon3 falcon-h1 pixtral midm-2.0": _LLAMA3_PRE,
    "jina-v5-nano": _LLAMA3_PRE,
    "dbrx smaug-bpe chatglm-bpe": _PreTokenizer((_LLAMA3,)),
    "glm4 glm5": _PreTokenizer((_LLAMA3,), ignore_merges=True),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan megrez": _QWEN2_PRE,
    "solar-open grok-2": _QWEN2_PRE,
    "qwen35": _PreTokenizer((_QWEN35,)),
    "tekken": _PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True),
    "gpt-4o llama4 kanana2 talkie minimax-m2": _PreTokenizer((_GPT4O,)),
}
PRE_TOKENIZERS = {name: pre for names, pre in _FAMILIES.items() for name in names.split()}

_DEFAULT_IDS = {"llama": {"bos": 1, "eos": 2, "unk": 0}, "bert": WORDPIECE_IDS}
"""Of a file that does not say, by its kind of tokenizer."""

_ENCODERS = ("bert", "nomic-bert", "nomic-bert-moe", "modern-bert")
"""Architectures whose texts stand between two special tokens."""


def write_tokenizer(metadata: Mapping[str, Any], folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and any ``chat_template.jinja``.

    ``metadata``: the key-value pairs of a GGUF file as Python values. ``folder`` must exist.
    ``eos_token_id`` in ``tokenizer_config.json`` is the list of every id that ends an answer.
    Raises TokenizerError for contradicting metadata, UnsupportedModel for a kind of tokenizer
    that is not known.
    """
    vocabulary = _Vocabulary.read(metadata)
    kind = metadata.get("tokenizer.ggml.model")
    config = _config(metadata, vocabulary, _DEFAULT_IDS.get(str(kind), {}))
    encodes = metadata.get("general.architecture") in _ENCODERS
    if encodes:
        config |= _around_texts(metadata, vocabulary, config)
    if kind == "gpt2":
        made, add_bos = _byte_level_bpe(metadata, vocabulary)
    elif kind == "llama":
        made, add_bos = _sentencepiece_bpe(metadata, vocabulary)
    elif kind == "bert":
        tokens, types = vocabulary.tokens, vocabulary.types
        unknown = config["unk_token"]
        made, add_bos = wordpiece(tokens, types, vocabulary.added_tokens(), unknown), True
    elif kind == "t5":
        scores = _array(metadata, "tokenizer.ggml.scores", float, _MAX_TOKENS)
        letters = "tokenizer.ggml.precompiled_charsmap"
        table = _array(metadata, letters, int, _MAX_TABLE) if letters in metadata else ()
        added = vocabulary.added_tokens()
        made, add_bos = unigram(metadata, vocabulary.tokens, scores, table, added), True
    else:
        raise UnsupportedModel(
            f"tokenizer.ggml.model is {short(kind)}; expected 'gpt2', 'llama', 'bert' or 't5'. "
            "Convert the model from its Hugging Face folder, which carries tokenizer.json."
        )
    add_bos = encodes or bool(metadata.get("tokenizer.ggml.add_bos_token", add_bos))
    config["add_bos_token"] = add_bos
    # Whoever embeds a text reads what the model was trained to see behind it, too.
    add_eos = encodes or (config["add_eos_token"] and _is_pooled(metadata))
    names = ("cls" if encodes else "bos", add_bos), ("sep" if encodes else "eos", add_eos)
    before, after = (
        [(token, vocabulary.ids[token])]
        if wanted and (token := config[f"{name}_token"]) is not None
        else []
        for name, wanted in names
    )
    if before or after:
        made["post_processor"] = around(before, after, twice=kind == "t5")
    _write_json(folder / "tokenizer.json", made)
    _write_json(folder / "tokenizer_config.json", config)
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str) and template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")


@dataclass(frozen=True)
class _Vocabulary:
    """Tokens in id order, their GGUF types, and the id of every token.

    ``lstrip`` and ``rstrip`` say whether an added token swallows the spaces before or after it.
    """

    tokens: list[str]
    types: list[int]
    ids: dict[str, int]
    lstrip: Callable[[str], bool]
    rstrip: Callable[[str], bool]

    @staticmethod
    def read(metadata: Mapping[str, Any]) -> _Vocabulary:
        tokens = list(_array(metadata, "tokenizer.ggml.tokens", str, _MAX_TOKENS))
        if not tokens:
            raise TokenizerError("tokenizer.ggml.tokens is empty; the file has no vocabulary")
        if "" in tokens:  # llama.cpp gives them a name, so that text cannot reach them
            tokens = [text or f"[EMPTY_{index}]" for index, text in enumerate(tokens)]
        ids = {text: index for index, text in enumerate(tokens)}
        if len(ids) != len(tokens):
            first = next(index for index, text in enumerate(tokens) if ids[text] != index)
            raise TokenizerError(
                f"tokenizer.ggml.tokens[{first}] and [{ids[tokens[first]]}] are both "
                f"{short(tokens[first])}; every token must be unique"
            )
        if "tokenizer.ggml.token_type" in metadata:
            types = list(_array(metadata, "tokenizer.ggml.token_type", int, _MAX_TOKENS))
        else:
            types = [NORMAL] * len(tokens)
        if len(types) != len(tokens):
            raise TokenizerError(
                f"tokenizer.ggml.token_type has {len(types)} entries, "
                f"tokenizer.ggml.tokens {len(tokens)}"
            )
        for text in UNMISTAKABLE & ids.keys():  # some converters give them another type
            types[ids[text]] = CONTROL
        return _Vocabulary(tokens, types, ids, *_stripping(metadata))

    def token(self, key: str, index: Any) -> str | None:
        """The token of a special id; None if the file has none, TokenizerError if out of range."""
        if index is None:
            return None
        if type(index) is not int or not 0 <= index < len(self.tokens):
            raise TokenizerError(
                f"{key} is {short(index)}; expected an id in 0..{len(self.tokens) - 1}"
            )
        return self.tokens[index]

    def control_id(self, text: str) -> int | None:
        """The id of a control token; None if there is none of this text."""
        index = self.ids.get(text)
        return index if index is not None and self.types[index] == CONTROL else None

    def added_tokens(self) -> list[dict[str, Any]]:
        """Control and unknown tokens as special, user-defined ones as plain added tokens."""
        return [
            {
                "id": index,
                "content": self.tokens[index],
                "single_word": False,
                "lstrip": self.lstrip(self.tokens[index]),
                "rstrip": self.rstrip(self.tokens[index]),
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for index, kind in enumerate(self.types)
            if kind in (CONTROL, UNKNOWN, USER_DEFINED)
        ]


def _stripping(metadata: Mapping[str, Any]) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Which added tokens swallow spaces before (first) and after (second) themselves.

    No file says so; llama.cpp knows it of these models by their names. All published Phi-3 and 3.5
    do it, whatever a file's name is; theirs are the phi3 files with a SentencePiece vocabulary.
    """
    pre, architecture, name, kind = (
        str(metadata.get(key, "")).lower()
        for key in (
            *("tokenizer.ggml.pre", "general.architecture"),
            *("general.name", "tokenizer.ggml.model"),
        )
    )
    jina = pre.startswith(("jina-v2-de", "jina-v2-es", "jina-v2-code"))
    if jina or architecture in ("nomic-bert-moe", "jina-bert-v3"):
        return (lambda text: text == "<mask>"), _never
    if "phi-3" in name or "phi3" in name or (architecture == "phi3" and kind == "llama"):
        return _never, (lambda text: text not in ("<unk>", "<s>", "<|endoftext|>"))
    if "modern-bert" in name:
        return (lambda text: text == "[MASK]"), _never
    return _never, _never


def _never(text: str) -> bool:
    return False


def _array(metadata: Mapping[str, Any], key: str, element: type[Any], limit: int) -> Sequence[Any]:
    values = metadata.get(key)
    if values is None:
        raise TokenizerError(f"{key} is missing; the file has no usable tokenizer")
    if hasattr(values, "tolist"):
        values = values.tolist()
    accepted = {element, int} if element is float else {element}
    if not isinstance(values, (list, tuple)) or not {type(value) for value in values} <= accepted:
        raise TokenizerError(f"{key} must be an array of {element.__name__}")
    if len(values) > limit:
        raise TokenizerError(f"{key} has {len(values)} entries; at most {limit} are accepted")
    return values


def _byte_level_bpe(
    metadata: Mapping[str, Any], vocabulary: _Vocabulary
) -> tuple[dict[str, Any], bool]:
    name = metadata.get("tokenizer.ggml.pre") or "default"
    pre = PRE_TOKENIZERS.get(name) if isinstance(name, str) else None
    if pre is None:
        raise UnsupportedModel(
            f"tokenizer.ggml.pre is {short(name)}; known are {', '.join(PRE_TOKENIZERS)}. "
            "Convert the model from its Hugging Face folder, which carries tokenizer.json."
        )
    merges = _array(metadata, "tokenizer.ggml.merges", str, _MAX_MERGES)
    ids = vocabulary.ids
    for index, merge in enumerate(merges):
        left, space, right = merge.partition(" ")
        if not (space and left in ids and right in ids and left + right in ids):
            raise TokenizerError(
                f"tokenizer.ggml.merges[{index}] is {short(merge)}; expected 'left right' where "
                "left, right and leftright are tokens of the vocabulary"
            )
    steps: list[dict[str, Any]] = []
    if pre.digits:
        steps.append({"type": "Digits", "individual_digits": True})
    steps += [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        for regex in pre.patterns or ()
    ]
    steps.append(byte_level(use_regex=pre.patterns is None))
    model = {
        "type": "BPE",
        "ignore_merges": pre.ignore_merges,
        "vocab": ids,
        # as strings they load faster and in half the memory of pairs; no such token has a space
        "merges": list(merges),
    }
    pre_tokenizer = {"type": "Sequence", "pretokenizers": steps} if len(steps) > 1 else steps[0]
    return document(
        vocabulary.added_tokens(), None, pre_tokenizer, byte_level(), model
    ), pre.add_bos


def _sentencepiece_bpe(
    metadata: Mapping[str, Any], vocabulary: _Vocabulary
) -> tuple[dict[str, Any], bool]:
    """A SentencePiece vocabulary: the higher a piece's score, the earlier its halves are merged."""
    scores = _array(metadata, "tokenizer.ggml.scores", float, _MAX_TOKENS)
    if len(scores) != len(vocabulary.tokens):
        raise TokenizerError(
            f"tokenizer.ggml.scores has {len(scores)} entries, tokenizer.ggml.tokens "
            f"{len(vocabulary.tokens)}"
        )
    pieces = {
        text: index
        for index, text in enumerate(vocabulary.tokens)
        if vocabulary.types[index] in (NORMAL, UNUSED) and len(text) <= 256 and " " not in text
    }  # a piece with a space is never met: text has none left when pieces are looked for
    if any(scores[index] != scores[index] for index in pieces.values()):
        raise TokenizerError("tokenizer.ggml.scores contains NaN")
    absent = [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocabulary.ids]
    if absent:
        raise TokenizerError(
            f"tokenizer.ggml.tokens has no byte token <0x{absent[0]:02X}>; "
            "characters outside the vocabulary could not be encoded"
        )
    merges = [  # as strings, see above
        f"{text[:cut]} {text[cut:]}"
        for text in sorted(pieces, key=lambda text: (-scores[pieces[text]], pieces[text]))
        for cut in range(1, len(text))
        if text[:cut] in pieces and text[cut:] in pieces
    ]
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}, space]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    unknown = vocabulary.token(
        "tokenizer.ggml.unknown_token_id", metadata.get("tokenizer.ggml.unknown_token_id", 0)
    )
    model = {
        "type": "BPE",
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": vocabulary.ids,
        "merges": merges,
    }
    normalizer = {"type": "Sequence", "normalizers": steps if prefix else [space]}
    decoder = {"type": "Sequence", "decoders": decoders if prefix else decoders[:-1]}
    return document(vocabulary.added_tokens(), normalizer, None, decoder, model), True


def _config(
    metadata: Mapping[str, Any], vocabulary: _Vocabulary, defaults: Mapping[str, int]
) -> dict[str, Any]:
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_eos_token": bool(metadata.get("tokenizer.ggml.add_eos_token", False)),
    }
    for brief, long in names.items():
        key = f"tokenizer.ggml.{long}_token_id"
        index = metadata.get(key, defaults.get(brief))
        config[f"{brief}_token"] = vocabulary.token(key, index)
        config[f"{brief}_token_id"] = index
    ends = [config["eos_token_id"]]
    for name in ("eot", "eom"):
        key = f"tokenizer.ggml.{name}_token_id"
        if vocabulary.token(key, metadata.get(key)) is not None:
            ends.append(metadata[key])
    ends += find_ends(UNMISTAKABLE | AMBIGUOUS, vocabulary.control_id)
    config["eos_token_id"] = list(dict.fromkeys(index for index in ends if index is not None))
    return config


def _around_texts(
    metadata: Mapping[str, Any], vocabulary: _Vocabulary, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The tokens that an encoder's text stands between; files have them under several names."""
    found = {}
    for name, keys, usual in (
        ("cls", ("cls",), "bos"),
        ("sep", ("seperator", "separator"), "eos"),
        ("mask", ("mask",), None),
    ):
        token = config[f"{usual}_token"] if usual else None
        for key in (f"tokenizer.ggml.{each}_token_id" for each in keys):
            token = vocabulary.token(key, metadata.get(key)) or token
        found[f"{name}_token"] = token
    return found


def _is_pooled(metadata: Mapping[str, Any]) -> bool:
    """Whether a file is of a model that embeds texts, not of one that writes them."""
    return bool(metadata.get(f"{metadata.get('general.architecture')}.pooling_type"))


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        path.write_bytes(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"a token of the GGUF file is not valid UTF-8: {text[error.start - 20 : error.end]!r}"
        ) from None
