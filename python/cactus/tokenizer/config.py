"""What the JSON files beside ``tokenizer.json`` say about special tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, TokenizerError
from cactus.inputs.checks import short
from cactus.inputs.files import find_bytes, find_json

_MAX_TEMPLATE_BYTES = 1 << 20
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_NAMES = ("generation_config.json", "config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class TokenizerConfig:
    """Special tokens by name, and the files that name special ids.

    ``tokens``: "bos", "eos", "unk", "pad", "cls", "sep", "mask" where the model has them.
    ``others``: further special tokens. ``added``: the flags of added tokens by id, which count more
    than those in ``tokenizer.json``. ``rows``: the model's own ``vocab_size``, 0 if not said.
    ``template``: the chat template's source, "" if there is none.
    """

    tokens: dict[str, str]
    others: tuple[str, ...]
    added: dict[int, dict[str, Any]]
    add_bos: bool
    rows: int
    template: str
    files: dict[str, dict[str, Any]]

    @staticmethod
    def read(folder: Path) -> TokenizerConfig:
        """Read the files that exist. Raises TokenizerError naming the file and the field."""
        files = {name: _read_json(folder / name) for name in _NAMES}
        config = files["tokenizer_config.json"]
        tokens = {}
        for name in ("bos", "eos", "unk", "pad", "cls", "sep", "mask"):
            text = _text(f"{name}_token", config.get(f"{name}_token"))
            if text:
                tokens[name] = text
        others: list[str] = []
        for key in ("additional_special_tokens", "extra_special_tokens"):
            value = config.get(key) or []
            for entry in value.values() if isinstance(value, dict) else value:
                others += filter(None, [_text(key, entry)])
        try:
            template = find_bytes(folder / "chat_template.jinja", _MAX_TEMPLATE_BYTES)
        except ModelFormatError:  # whoever renders it says what is wrong with it
            template = b""
        if template is not None:
            source = template.decode("utf-8", "replace")
        else:
            source = json.dumps(config.get("chat_template", ""), ensure_ascii=False)
        return TokenizerConfig(
            tokens=tokens,
            others=tuple(others),
            added=_added(config.get("added_tokens_decoder")),
            add_bos=config.get("add_bos_token") is True,
            rows=_rows(files["config.json"]),
            template=source,
            files=files,
        )

    def ids(self, key: str, limit: int) -> list[int]:
        """Every id that a file gives as ``key``; TokenizerError unless all are in 0..limit-1."""
        found: list[int] = []
        for name, config in self.files.items():
            value = config.get(key)
            ids = [] if value is None else value if isinstance(value, list) else [value]
            if not all(type(id) is int and 0 <= id < limit for id in ids):
                raise TokenizerError(
                    f"{name}: {key} is {short(value)}; expected ids in 0..{limit - 1}"
                )
            found += ids
        return found


def is_id(key: str) -> bool:
    """Whether a key of a JSON object can be a token id; int() refuses thousands of digits."""
    return key.isdecimal() and len(key) < 11


def _added(decoder: Any) -> dict[int, dict[str, Any]]:
    """``added_tokens_decoder``: an object with ``content`` and flags for each id."""
    tokens: dict[int, dict[str, Any]] = {}
    for id, entry in decoder.items() if isinstance(decoder, dict) else ():
        text = entry.get("content") if isinstance(entry, dict) else None
        flags = {flag: entry[flag] for flag in FLAGS if flag in entry} if text else {}
        known = isinstance(text, str) and all(type(flag) is bool for flag in flags.values())
        if not known or not is_id(id):
            raise TokenizerError(
                f"tokenizer_config.json: added_tokens_decoder[{short(id)}] is {short(entry)}; "
                "expected content and flags that are true or false"
            )
        tokens[int(id)] = {"content": text, **flags}
    return tokens


def _text(key: str, value: Any) -> str | None:
    """A special token: a string, or an object with ``content``."""
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise TokenizerError(f"tokenizer_config.json: {key} is {short(value)}; expected a string")
    return value


def _rows(config: dict[str, Any]) -> int:
    inner = config.get("text_config")
    for place in (config, inner if isinstance(inner, dict) else {}):
        size = place.get("vocab_size")
        if type(size) is int:
            return size
    return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return find_json(path) or {}
    except ModelFormatError as error:
        raise TokenizerError(str(error).replace(str(path), path.name)) from None
