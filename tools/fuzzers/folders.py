"""Folders of models: configurations and tokenizers, loaded, and run where they are accepted.

A checkpoint's config.json, tokenizer.json and what lies beside them are changed, of every
architecture, and the vocabularies of which a tokenizer is made for a GGUF file. What is accepted is
converted, loaded and asked for two tokens; a tokenizer must give back what it was given, in pieces
as whole. All else ends in an error of ours.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

from cactus.errors import CactusError, ModelFormatError, NativeError, UnsupportedModel
from cactus.model import Model
from cactus.models.base import load_architecture
from cactus.tokenizer import PRE_TOKENIZERS, Tokenizer, write_tokenizer
from cactus.weights.convert import convert
from fuzzers.base import Case, Folders, change_json, changed_document, pack, unpack
from tests.conftest import write_tiny_checkpoint
from tests.weights.forge import byte_tokens

JSON_KINDS = ("config", "vocabulary")
"""Of which a case is one JSON document, and not a folder."""

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
TEXTS = ("Hello", "", " a  b\n", "é東😀", "<|im_start|>user\nx<|im_end|>", "\0", "ab100ab2" * 3)
VALUES: list[Any] = [None, True, False, [], {}, "", "a", 0, -1, 1, 2, 3, 64, 0.5, 1e30, "silu",
                     -0.0, 2**31, 2**63, [1, 2], ["full_attention"], {"rope_type": "yarn"},
                     {"factor": 0}, "linear", "sliding_attention", 1e-38]  # fmt: skip
PIECES: list[Any] = [
    *VALUES, {"type": "ByteLevel"}, {"type": "Split", "pattern": {"Regex": "(a+)+$"}}, {"id": 5},
    {"type": "Sequence", "pretokenizers": []}, {"type": "BPE"}, {"type": "Replace"},
    {"type": "Strip"}, {"content": "<|im_end|>"}, 299, 300, "Ġ",
    {"type": "TemplateProcessing", "single": []}, {"Regex": "["},
    {"type": "Metaspace", "replacement": "", "prepend_scheme": "always"}, {"type": "NFC"},
]  # fmt: skip
WORDS: list[Any] = [
    *("", "a", "ab", "a b", "\u2581", "\u2581a", "<0x41>", "<0xZZ>", "##a", "\u0120", "<unk>", "é"),
    *("gpt2", "llama", "bert", "t5", "rwkv", *list(PRE_TOKENIZERS)[::4], "<|im_end|>", "\n"),
    *(0, 1, 2, 3, 4, 5, 6, 7, -1, 255, 2**31, 2**63, 0.5, -0.0, 1e300, math.nan, -math.inf),
    *(True, False, [], ["a"], ["a b", "ab c"], [1, 2], [0.5], ["a"] * 300, [6] * 300),
]
"""What the metadata of a GGUF file can hold."""


def vocabularies() -> list[dict[str, Any]]:
    """The metadata of a small vocabulary of every kind."""
    letters = byte_tokens()
    bytewise = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", "\u2581", "\u2581a", "b", "ab", "\u2581ab"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581un", "ab", "le", "\u2581,", "\u2581e"]
    gpt2 = {
        "model": "gpt2",
        "pre": "llama-bpe",
        "tokens": ["<s>", "</s>", *letters, "ab", "<x>"],
        "token_type": [3, 3] + [1] * 257 + [4],
        "merges": ["a b"],
        "eos_token_id": 1,
    }
    spm = {
        "model": "llama",
        "tokens": [*pieces, *bytewise],
        "token_type": [2, 3, 3] + [1] * 5 + [6] * 256,
        "scores": [-float(n) for n in range(264)],
        "add_space_prefix": True,
        "eot_token_id": 2,
    }
    bert = {
        "model": "bert",
        "tokens": words,
        "token_type": [3] * 4 + [1] * 5,
        "cls_token_id": 2,
        "seperator_token_id": 3,
        "unknown_token_id": 1,
        "padding_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    t5 = {"model": "t5", "tokens": pieces, "scores": [-float(n) for n in range(8)],
          "token_type": [2, 3, 3] + [1] * 5, "unknown_token_id": 0, "eos_token_id": 2,
          "bos_token_id": 1, "cls_token_id": 1, "seperator_token_id": 2,
          "precompiled_charsmap": [0, 4, 0, 0] + [0] * 1032}  # fmt: skip
    found = []
    for known in (gpt2, spm, bert, t5):
        made = {f"tokenizer.ggml.{key}": value for key, value in known.items()}
        encoder = known["model"] in ("bert", "t5")
        made["general.architecture"] = "bert" if encoder else "llama"
        found.append(made | {"tokenizer.chat_template": "{{ messages }}"})
    return found


class Fuzz(Folders):
    """Folders."""

    errors = (ModelFormatError, UnsupportedModel)
    cpu_seconds = 6.0
    memory = 2 << 30

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.checkpoint = scratch / "tiny"
        self.checkpoint.mkdir()
        write_tiny_checkpoint(self.checkpoint)
        self.files = {
            path.name: path.read_bytes()
            for path in self.checkpoint.iterdir()
            if path.suffix in (".json", ".jinja")
        }
        self.files["generation_config.json"] = b'{"temperature": 0.5, "eos_token_id": [2, 0]}'
        self.vocabularies = vocabularies()
        for metadata in self.vocabularies:
            self.run(Case("vocabulary", json.dumps(metadata).encode()))
        self.configs = [path.read_bytes() for path in sorted(GOLDEN.glob("*/config.json"))]

    def make(self, rng: random.Random) -> Case:
        """A folder with a file that is changed."""
        kind = rng.choice(("config", "tokenizer", "model", "vocabulary"))
        if kind == "vocabulary":
            metadata: Any = rng.choice(self.vocabularies)
            for _ in range(rng.choice((1, 1, 2, 3))):
                metadata = change_json(rng, metadata, WORDS)
            return Case(kind, json.dumps(metadata).encode())
        if kind == "config":
            config = json.loads(rng.choice(self.configs))
            if rng.random() < 0.1:
                config |= json.loads(rng.choice(self.configs))
            for _ in range(rng.choice((1, 1, 2, 3))):
                config = change_json(rng, config, VALUES)
            return Case(kind, json.dumps(config).encode())
        files = dict(self.files)
        name = rng.choice(list(files) if kind == "model" else ["tokenizer.json", *files])
        if rng.random() < 0.05:
            del files[name]
        elif rng.random() < 0.3:
            files[name] = changed_document(rng, files[name])
        else:
            value = json.loads(files[name])
            for _ in range(rng.choice((1, 1, 2, 4))):
                value = change_json(rng, value, PIECES if "token" in name else VALUES)
            files[name] = json.dumps(value).encode()
        return Case(kind, pack(files))

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """One of its files changed."""
        if case.kind == "config":
            return Case(case.kind, changed_document(rng, case.data))
        if case.kind == "vocabulary":
            metadata = change_json(rng, json.loads(case.data), WORDS)
            return Case(case.kind, json.dumps(metadata).encode())
        return super().mutate(rng, case, case if other.kind in JSON_KINDS else other)

    def run(self, case: Case) -> None:
        """Read it, and use what can be read."""
        if case.kind == "config":
            try:
                config = json.loads(case.data)
            except (ValueError, RecursionError):
                return
            if isinstance(config, dict):
                load_architecture(config)
            return
        folder = self.scratch / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if case.kind == "vocabulary":
            metadata = json.loads(case.data)
            if isinstance(metadata, dict):
                write_tokenizer(metadata, folder)
                _tokenizer(folder)
            return
        for name, data in unpack(case.data).items():
            if "/" not in name:
                (folder / name).write_bytes(data)
        if case.kind == "tokenizer":
            _tokenizer(folder)
        else:
            self._model(folder)

    def _model(self, folder: Path) -> None:
        os.link(self.checkpoint / "model.safetensors", folder / "model.safetensors")
        target = self.scratch / "converted"
        shutil.rmtree(target, ignore_errors=True)
        convert(folder, target, "INT8")
        try:
            with Model(target) as model:
                model.complete("Hello", max_tokens=2)
        except NativeError:
            raise  # the plan of a model that was accepted
        except CactusError:
            return  # what the model says when it is used: that it has no end, for one


def _tokenizer(folder: Path) -> None:
    """Load it twice; what it makes of texts is the same, and the same in pieces."""
    tokenizer, again = Tokenizer.load(folder), Tokenizer.load(folder)
    for text in TEXTS:
        for special in (False, True):
            ids = tokenizer.encode(text, special)
            assert ids == again.encode(text, special)
            assert all(0 <= id < tokenizer.vocab_size for id in ids), ids
            stream = tokenizer.stream(skip_special=False)
            pieces = [*(stream.push(id) for id in ids), stream.flush()]
            assert "".join(pieces) == tokenizer.decode(ids, skip_special=False), pieces
        for id in (0, 1, tokenizer.vocab_size - 1):
            _ = tokenizer.id_to_token(id), tokenizer.token_bytes_of(id)
