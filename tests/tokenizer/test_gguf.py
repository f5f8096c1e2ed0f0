"""The tokenizer rebuilt from a GGUF file gives llama.cpp's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from cactus.errors import TokenizerError, UnsupportedModel
from cactus.tokenizer import PRE_TOKENIZERS, Tokenizer, write_tokenizer
from tests.tokenizer.conftest import GOLDEN, sentencepiece_metadata

TOKENS = Path(__file__).parents[1] / "golden" / "starter_tokens.json"


@pytest.mark.parametrize("pre", GOLDEN["bpe"])
def test_byte_level_ids_are_those_of_llama_cpp(
    pre: str, starter_metadata: dict[str, Any], tmp_path: Path
) -> None:
    write_tokenizer({**starter_metadata, "tokenizer.ggml.pre": pre}, tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    for text, ids in zip(GOLDEN["strings"], GOLDEN["bpe"][pre], strict=True):
        assert tokenizer.encode(text) == ids, text


def test_sentencepiece_ids_are_those_of_llama_cpp(sentencepiece: Tokenizer) -> None:
    for text, ids in zip(GOLDEN["strings"], GOLDEN["sentencepiece"]["ids"], strict=True):
        assert sentencepiece.encode(text) == ids, text
        assert sentencepiece.decode(ids) == text
    assert (sentencepiece.bos_id, sentencepiece.eos_ids, sentencepiece.add_bos) == (1, (2,), True)
    assert sentencepiece.encode("hi", special=True)[0] == 1
    assert sentencepiece.encode("hi", special=True)[1:] == sentencepiece.encode("hi")


def gemma_metadata() -> dict[str, Any]:
    """The small SentencePiece vocabulary with user-defined tokens, and no blank put before text."""
    metadata = sentencepiece_metadata() | {"tokenizer.ggml.add_space_prefix": False}
    tokens, scores, types = (
        metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")
    )
    for token in GOLDEN["gemma"]["user_tokens"]:
        if token in tokens:
            types[tokens.index(token)] = 4
        else:
            tokens.append(token)
            scores.append(-1000.0)
            types.append(4)
    return metadata


def test_user_defined_tokens_of_a_sentencepiece_file_are_taken_whole(tmp_path: Path) -> None:
    """As Gemma has them for runs of blanks and line ends; ids are those of llama.cpp."""
    write_tokenizer(gemma_metadata(), tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    golden = GOLDEN["gemma"]
    strings = GOLDEN["strings"] + golden["strings"]
    for text, ids in zip(strings, golden["ids"], strict=True):
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == text


def test_ids_are_those_of_transformers(starter: Tokenizer) -> None:
    golden = json.loads(TOKENS.read_text())
    assert len(golden) >= 200
    for case in golden:
        assert starter.encode(case["text"]) == case["ids"]


def test_the_starter_tokenizer(starter: Tokenizer) -> None:
    assert starter.vocab_size == 49152
    assert (starter.bos_id, starter.pad_id, starter.eos_ids) == (1, 2, (0, 2))
    assert (starter.bos_token, starter.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert not starter.add_bos
    assert starter.special_ids == frozenset(range(17))
    assert starter.encode("Hello", special=True) == starter.encode("Hello") == [19556]


@pytest.mark.timeout(60)
def test_what_is_written_can_be_loaded(starter_metadata: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(starter_metadata, tmp_path)
    assert Tokenizer.load(tmp_path).vocab_size == 49152
    source = (tmp_path / "chat_template.jinja").read_text()
    assert source == starter_metadata["tokenizer.chat_template"]


def test_every_known_pre_tokenizer_loads(tmp_path: Path) -> None:
    metadata = small_metadata()
    for name in PRE_TOKENIZERS:
        write_tokenizer({**metadata, "tokenizer.ggml.pre": name}, tmp_path)
        tokenizer = Tokenizer.load(tmp_path)
        text = "Ab's 12345 x\n\n  é你 a-b_c !!"
        assert tokenizer.decode(tokenizer.encode(text)) == text, name


def small_metadata() -> dict[str, Any]:
    """A byte-level vocabulary with one token of every type."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|bos|>", "<|im_end|>", "<unk>", *letters, "ab", "  ", "<think>", "pad"]
    types = [3, 3, 2] + [1] * (len(letters) + 1) + [4, 4, 5]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
    }


def test_types_bos_and_ends(tmp_path: Path) -> None:
    write_tokenizer(small_metadata(), tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.add_bos  # llama-bpe's default
    assert tokenizer.encode("ab", special=True) == [0, 259]
    assert tokenizer.eos_ids == (1, 2)  # the file's own, and <|im_end|>
    assert tokenizer.encode("a  b <think>")[1] == 260  # a user-defined run of blanks is text
    write_tokenizer({**small_metadata(), "tokenizer.ggml.add_bos_token": False}, tmp_path)
    assert not Tokenizer.load(tmp_path).add_bos
    assert Tokenizer.load(tmp_path).encode("ab", special=True) == [259]


def test_eot_and_eom_end_an_answer(tmp_path: Path) -> None:
    extra = {"tokenizer.ggml.eot_token_id": 5, "tokenizer.ggml.eom_token_id": 6}
    write_tokenizer({**small_metadata(), **extra}, tmp_path)
    assert Tokenizer.load(tmp_path).eos_ids == (1, 2, 5, 6)


def broken(**changes: Any) -> dict[str, Any]:
    metadata = {**small_metadata()}
    for name, value in changes.items():
        if value is None:
            del metadata[f"tokenizer.ggml.{name}"]
        else:
            metadata[f"tokenizer.ggml.{name}"] = value
    return metadata


TOKENS_OF = small_metadata()["tokenizer.ggml.tokens"]


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        (broken(tokens=[]), "tokens is empty"),
        (broken(tokens=None), "tokens is missing"),
        (broken(tokens="abc"), "tokens must be an array of str"),
        (broken(tokens=[1, 2]), "tokens must be an array of str"),
        (broken(tokens=[*TOKENS_OF[:-1], "ab"]), r"tokens\[\d+\] and \[\d+\] are both 'ab'"),
        (broken(tokens=[*TOKENS_OF[:-1], "\ud800"]), "not valid UTF-8"),
        (broken(token_type=[1]), "token_type has 1 entries, tokenizer.ggml.tokens 263"),
        (broken(token_type=["x"] * 263), "token_type must be an array of int"),
        (broken(merges=None), "merges is missing"),
        (broken(merges=["a b", "a zz"]), r"merges\[1\] is 'a zz'; expected 'left right'"),
        (broken(merges=["ab"]), r"merges\[0\] is 'ab'"),
        (broken(merges=["b a"]), r"merges\[0\] is 'b a'"),
        (broken(merges=[" "]), r"merges\[0\] is ' '"),
        (broken(merges=["a b " * 1000]), r"merges\[0\] is '(a b ){20}…' \(4000 characters\); "),
        (broken(bos_token_id=2**31), r"bos_token_id is 2147483648; expected an id in 0\.\.262"),
        (broken(eos_token_id=-1), r"eos_token_id is -1; expected an id in 0\.\.262"),
        (broken(eos_token_id=263), "eos_token_id is 263"),
        (broken(eot_token_id=1.5), "eot_token_id is 1.5"),
        (broken(padding_token_id="x"), "padding_token_id is 'x'"),
    ],
)
def test_damaged_metadata_is_named(metadata: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=error):
        write_tokenizer(metadata, tmp_path)


@pytest.mark.fault("F17")
@pytest.mark.timeout(60)
def test_ten_million_merges_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="merges has 10000000 entries; at most 8000000"):
        write_tokenizer(broken(merges=["a b"] * 10_000_000), tmp_path)


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "rwkv"}, "tokenizer.ggml.model is 'rwkv'; expected 'gpt2', 'llama', 'bert' or "),
        ({"model": None}, "tokenizer.ggml.model is None"),
        ({"pre": "unheard-of"}, "tokenizer.ggml.pre is 'unheard-of'; known are default, "),
        ({"pre": ["smollm"]}, r"tokenizer.ggml.pre is \['smollm'\]"),
    ],
)
def test_unknown_kinds_are_named(change: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=error):
        write_tokenizer(broken(**change), tmp_path)


@pytest.mark.fault("F17")
def test_an_empty_token_cannot_be_reached(tmp_path: Path) -> None:
    write_tokenizer(broken(tokens=[*TOKENS_OF[:-1], ""]), tmp_path)
    assert Tokenizer.load(tmp_path).id_to_token(262) == "[EMPTY_262]"


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("scores", lambda scores: scores[:-1], "scores has"),
        ("scores", lambda scores: [float("nan")] * len(scores), "scores contains NaN"),
        ("scores", lambda scores: None, "scores is missing"),
        ("tokens", lambda tokens: ["<0xZZ>" if t == "<0x41>" else t for t in tokens], "<0x41>"),
    ],
)
def test_damaged_sentencepiece_is_named(name: str, change: Any, error: str, tmp_path: Path) -> None:
    metadata = sentencepiece_metadata()
    metadata[f"tokenizer.ggml.{name}"] = change(metadata[f"tokenizer.ggml.{name}"])
    with pytest.raises(TokenizerError, match=error):
        write_tokenizer(metadata, tmp_path)


def test_a_vocabulary_without_types_has_no_special_tokens(tmp_path: Path) -> None:
    tokens = [*TOKENS_OF]
    tokens[1] = "<|other|>"
    metadata = broken(tokens=tokens, token_type=None, bos_token_id=None, eos_token_id=None)
    write_tokenizer(metadata, tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special_ids == frozenset()
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (None, ())


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, None])
@pytest.mark.parametrize("end", ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>"])
def test_a_known_end_of_turn_ends_whatever_type_it_has(
    kind: int | None, end: str, tmp_path: Path
) -> None:
    """The end that the file names is the first token: some fine-tunes name that of a text."""
    metadata = small_metadata()
    metadata["tokenizer.ggml.tokens"][1] = end
    if kind is None:
        del metadata["tokenizer.ggml.token_type"]
    else:
        metadata["tokenizer.ggml.token_type"][1] = kind
    write_tokenizer(metadata | {"tokenizer.ggml.eos_token_id": 0}, tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_ids == (0, 1)
    assert 1 in tokenizer.special_ids  # its text is no part of an answer
    assert tokenizer.encode_prompt([("a", False), (end, True)])[-1] == 1
    assert 1 not in tokenizer.encode(end)


@pytest.mark.parametrize(("kind", "ends"), [(3, (0, 1)), (1, (0,)), (4, (0,))])
def test_an_end_that_may_be_text_has_to_be_a_control_token(
    kind: int, ends: tuple[int, ...], tmp_path: Path
) -> None:
    """ "</s>" strikes out in HTML, and is a word of Qwen2's and Gemma's vocabularies."""
    metadata = small_metadata()
    metadata["tokenizer.ggml.tokens"][1] = "</s>"
    metadata["tokenizer.ggml.token_type"][1] = kind
    write_tokenizer(metadata | {"tokenizer.ggml.eos_token_id": 0}, tmp_path)
    assert Tokenizer.load(tmp_path).eos_ids == ends


def test_a_part_of_a_turn_does_not_end_it(tmp_path: Path) -> None:
    metadata = small_metadata()
    metadata["tokenizer.ggml.tokens"][:3] = ["<|return|>", "<|call|>", "<|end|>"]
    write_tokenizer(metadata | {"tokenizer.ggml.eos_token_id": 0}, tmp_path)
    assert Tokenizer.load(tmp_path).eos_ids == (0, 1)


PHI_TURN = [("<|user|>\n", True), ("Hi there", False), ("<|end|>\n<|assistant|>\n", True)]


def phi_metadata(**changes: Any) -> dict[str, Any]:
    """The small SentencePiece vocabulary with Phi-3's tokens after it, from 1,000 on or so."""
    metadata = sentencepiece_metadata()
    for token in ("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"):
        metadata["tokenizer.ggml.tokens"].append(token)
        metadata["tokenizer.ggml.scores"].append(0.0)
        metadata["tokenizer.ggml.token_type"].append(3)
    return metadata | {f"general.{name}": value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("changes", "strips"),
    [
        ({"architecture": "phi3", "name": "Phi3"}, True),
        ({"architecture": "phi3", "name": "Phi 3.5 Mini Instruct"}, True),
        ({"architecture": "phi3"}, True),
        ({"architecture": "llama", "name": "my Phi-3 as llama"}, True),
        ({"architecture": "llama", "name": "Sophia 3"}, False),
        ({}, False),
    ],
)
def test_tokens_of_phi3_swallow_the_spaces_after_them(
    changes: dict[str, str], strips: bool, tmp_path: Path
) -> None:
    write_tokenizer(phi_metadata(**changes), tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    end, assistant, user = (
        tokenizer.token_to_id(text) for text in ("<|end|>", "<|assistant|>", "<|user|>")
    )
    ids = tokenizer.encode_prompt(PHI_TURN)
    if strips:
        assert ids == [user, *tokenizer.encode("Hi there"), end, assistant]
    else:
        assert tokenizer.decode(ids).count("\n") == 3
    # Not after the end of a text.
    text = tokenizer.token_to_id("<|endoftext|>")
    parts = [("<|endoftext|>\n", True)]
    assert tokenizer.encode_prompt(parts) == [text, *tokenizer.encode("\n")]


@pytest.mark.parametrize(
    ("token", "changes"),
    [
        ("<mask>", {"tokenizer.ggml.pre": "jina-v2-de"}),
        ("<mask>", {"tokenizer.ggml.pre": "jina-v2-code"}),
        ("<mask>", {"general.architecture": "nomic-bert-moe"}),
        ("[MASK]", {"general.name": "Modern-BERT base"}),
        (None, {"general.name": "another"}),
    ],
)
def test_a_mask_swallows_the_spaces_before_it(
    token: str | None, changes: dict[str, str], tmp_path: Path
) -> None:
    metadata = small_metadata()
    metadata["tokenizer.ggml.tokens"][:2] = ["<mask>", "[MASK]"]
    write_tokenizer(metadata | changes, tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    for id, text in enumerate(("<mask>", "[MASK]")):
        ids = tokenizer.encode_prompt([(f"a {text}", True)])
        letters = "a" if text == token else "a "
        assert ids == [*tokenizer.encode(letters), id]
