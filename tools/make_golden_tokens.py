"""Makes tests/tokenizer/golden/llama_cpp.json: token ids as llama.cpp gives them.

    python tools/make_golden_tokens.py <llama-tokenize> <starter model's GGUF file>

``llama-tokenize`` is the program of that name in a build of llama.cpp. The starter's vocabulary is
tried under several pre-tokenizers, and a small SentencePiece vocabulary, learned here from the
project's own text unless the golden file has one, under model "llama": as Llama 2 uses it, and with
the user-defined tokens that Gemma has. Needs gguf, as the test suite does, and tokenizers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFWriter
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "tests" / "tokenizer" / "golden" / "llama_cpp.json"
PRE = ("smollm", "gpt-2", "llama-bpe", "lfm2", "qwen2", "qwen35", "default", "glm4")

STRINGS = [
    "Hello world",
    "  two blanks,\tone tab \n and\r\nlines\n\n\n  x",
    "don't DON'T we've I'LL they'd 'tis o'clock",
    "a  1 b   22 c 333 d4444 1234567890 3.14159 1,000,000",
    "x\n1\n\n2  3\t4 ٣٤٥ Ⅷ ½ ² ₄ ７",
    "naïve café Zürich Ελλάδα Привет, мир! Straße",
    "e\u0301 ne\u0301e हिन्दी ไทย தமிழ்",
    "你好，世界。日本語のテスト 한국어 العربية עברית",
    "😀👩‍👩‍👧‍👦🇫🇷 👍🏽 emoji",
    "def f(x):\n    return x ** 2  # comment\n\n\nclass A:\n\tpass\n",
    '{"a": [1, 2.5, null], "b": "c\\n"}',
    "<|im_start|>system\nYou are evil<|im_end|></s><s>[INST]",
    "http://example.com/a_b?c=1&d=%20#e user@host.org C:\\dir\\file.txt",
    "$100 +5% ~x^2 |y| `z` === --> <!-- -->",
    "\u00a0nbsp \u3000wide \u200bzero \ufeffbom \u2028line \x85 \x7f",
    "NUL\x00byte \x01\x02",
    "ALLCAPS CamelCase snake_case kebab-case HTTPServer iPhone",
    "   ",
    "\n",
    "trailing   ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...,,,;;;",
    "mixed中文and英文123字",
    "'s't're've'm'll'd",
]

# Runs of blanks and line ends, and markup of web pages, which Gemma's vocabulary takes whole.
USER_TOKENS = ["  ", "   ", "    ", "\n", "\n\n", "\n\n\n", "\t", "<b>", "</b>"]
GEMMA_STRINGS = [
    " " * 9 + "x" + " " * 3 + "y  z",
    "a\n\n\n\n\nb\n  c\t\td",
    "<b>bold</b> and <i>more</i><b",
    "<start_of_turn>user\nhi<end_of_turn>\n",
]


def main(program: str, gguf: str) -> None:
    reader = GGUFReader(gguf)
    vocabulary: dict[str, Any] = {
        name: reader.fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("tokens", "token_type", "merges")
    }
    bpe = {pre: ids(program, {"model": "gpt2", "pre": pre, **vocabulary}, STRINGS) for pre in PRE}
    pieces = known_pieces() or learn_pieces()
    gemma = {"model": "llama", "add_space_prefix": False, **with_user_tokens(pieces)}
    golden = {
        "strings": STRINGS,
        "bpe": bpe,
        "sentencepiece": {
            **pieces,
            "ids": ids(program, {"model": "llama", **pieces}, STRINGS),
        },
        "gemma": {
            "strings": GEMMA_STRINGS,
            "user_tokens": USER_TOKENS,
            "ids": ids(program, gemma, STRINGS + GEMMA_STRINGS),
        },
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n")


def learn_pieces(size: int = 1200) -> dict[str, Any]:
    """A SentencePiece-like vocabulary: <unk>, <s>, </s>, 256 bytes, then pieces by rank."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    text = [(ROOT / name).read_text() for name in ("README.md", "LICENSE")]
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False)
    tokenizer.train_from_iterator([*text, *STRINGS[5:8]], trainer)
    learned = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    # SentencePiece gives merged pieces falling scores and puts single characters last
    merged = [piece for piece, _ in learned if len(piece) > 1]
    single = [piece for piece, _ in learned if len(piece) == 1]
    head = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    scores = [0.0] * len(head) + [-float(rank) for rank in range(len(merged) + len(single))]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(merged) + len(single))
    return {"tokens": head + merged + single, "scores": scores, "token_type": types}


def known_pieces() -> dict[str, Any] | None:
    """The vocabulary of the golden file: learned anew it would follow every edit of the README."""
    if not TARGET.exists():
        return None
    golden = json.loads(TARGET.read_text())["sentencepiece"]
    return {name: golden[name] for name in ("tokens", "scores", "token_type")}


def with_user_tokens(pieces: dict[str, Any]) -> dict[str, Any]:
    """The vocabulary with `USER_TOKENS` in it; a piece of the same spelling becomes one."""
    tokens, scores, types = (list(pieces[key]) for key in ("tokens", "scores", "token_type"))
    for token in USER_TOKENS:
        if token in tokens:
            types[tokens.index(token)] = 4
        else:
            tokens.append(token)
            scores.append(-1000.0)
            types.append(4)
    return {"tokens": tokens, "scores": scores, "token_type": types}


def ids(program: str, tokenizer: dict[str, Any], strings: list[str]) -> list[list[int]]:
    """The ids of each string, special tokens read as text, no BOS."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_gguf(path, tokenizer)
        command = [program, "-m", str(path), "--ids", "--stdin", "--log-disable"]
        command += ["--no-bos", "--no-parse-special", "--no-escape"]
        return [
            json.loads(
                subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
            )
            for text in strings
        ]


def write_gguf(path: Path, tokenizer: dict[str, Any]) -> None:
    """A GGUF file with a vocabulary and no tensors, which is enough for llama-tokenize."""
    writer = GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(tokenizer["model"])
    if "pre" in tokenizer:
        writer.add_tokenizer_pre(tokenizer["pre"])
    writer.add_token_list(tokenizer["tokens"])
    writer.add_token_types(tokenizer["token_type"])
    if "merges" in tokenizer:
        writer.add_token_merges(tokenizer["merges"])
    if "scores" in tokenizer:
        writer.add_token_scores(tokenizer["scores"])
    if "add_space_prefix" in tokenizer:
        writer.add_add_space_prefix(tokenizer["add_space_prefix"])
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
