"""A Whisper model as CTranslate2 keeps it, under the names of its Hugging Face checkpoint.

CTranslate2 stacks what one matrix product can do at once: queries, keys and values of
self-attention are the rows of one matrix, keys and values of cross-attention another. int8
matrices have a scale per row, int16 ones a single scale: weight = code / scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.files import find_json, parse_object, read_bytes
from cactus.weights.format.tiles import F32, U8
from cactus.weights.sources.checkpoint import copy_tokenizer
from cactus.weights.sources.ctranslate2 import NAME, CTranslate2File, Variable, read_ctranslate2
from cactus.weights.sources.origin import describe_file
from cactus.weights.sources.source import TOKENIZER_LIMIT, Source, SourceTensor

MAX_LAYERS = 256
REVISIONS = (1, 2, 3)

_KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_GELU = 3
_SCALARS = {
    "decoder/activation": _GELU,
    "decoder/pre_norm": 1,
    "decoder/alibi": 0,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
"""What the architecture says anyway; a file that says otherwise is another architecture."""

_LIST_LIMIT = 1 << 16
_F16_NORMAL = 2.0**-14


def open_ctranslate2(folder: Path) -> Source:
    """Open a CTranslate2 folder of a Whisper model: model.bin, config.json, tokenizer.json.

    Raises `UnsupportedModel` for another kind of model, `ModelFormatError` for a damaged one or a
    missing tokenizer.
    """
    file = read_ctranslate2(folder / NAME)
    try:
        return _Whisper(folder, file).source()
    except (ModelFormatError, UnsupportedModel) as error:
        file.close()
        if str(error).startswith(str(folder)):
            raise
        raise type(error)(f"{file.path}: {error}") from None
    except BaseException:
        file.close()
        raise


class _Whisper:
    """One folder; every shape is checked against the embedding's before anything is mapped."""

    def __init__(self, folder: Path, file: CTranslate2File) -> None:
        if file.spec != "WhisperSpec":
            raise UnsupportedModel(f"holds a {short(file.spec)}, expected 'WhisperSpec'")
        if file.revision not in REVISIONS:
            raise UnsupportedModel(f"WhisperSpec revision {file.revision}, expected 1 to 3")
        self.folder = folder
        self.file = file
        self.used: set[str] = set()
        self.notes: list[str] = []
        for name, wanted in _SCALARS.items():
            value = self.scalar(name, wanted)
            if value != wanted:
                raise UnsupportedModel(f"{name} is {value}, expected {wanted} as in Whisper")

    def source(self) -> Source:
        """The model as `convert` reads it."""
        vocabulary, width = self.shape("decoder/embeddings/weight", 2)
        tensors = [*self._encoder(width), *self._decoder(vocabulary, width)]
        settings, tokens = self._settings(vocabulary), self._tokens(vocabulary)
        unknown = sorted(
            name
            for name, variable in self.file.variables.items()
            if name not in self.used and variable.shape and name != "decoder/projection/weight"
        )
        if unknown:
            raise UnsupportedModel(f"variable {unknown[0]!r} is not part of Whisper")
        if any(v.type in ("int8", "int16") and v.shape for v in self.file.variables.values()):
            self.notes.append(
                "the weights are quantised already; converting them loses a little more"
            )
        config = self._config(vocabulary, width, tokens)
        first = min(variable.offset for variable in self.file.variables.values())
        return Source(
            config=config,
            generation=self._generation(settings, tokens, config),
            chat_template=None,
            tensors=tuple(tensors),
            origin={"format": "ctranslate2"} | describe_file(self.file.file, first),
            write_tokenizer=partial(_write_tokenizer, self.folder, config["num_mel_bins"]),
            close=self.file.close,
            notes=tuple(self.notes),
        )

    # Layers

    def _encoder(self, width: int) -> Iterator[SourceTensor]:
        bins = self.shape("encoder/conv1/weight", 3)[1]
        yield self.tensor("encoder/conv1/weight", "model.encoder.conv1.weight", (width, bins, 3))
        yield self.tensor("encoder/conv1/bias", "model.encoder.conv1.bias", (width,))
        yield self.tensor("encoder/conv2/weight", "model.encoder.conv2.weight", (width, width, 3))
        yield self.tensor("encoder/conv2/bias", "model.encoder.conv2.bias", (width,))
        yield self._positions("encoder", width)
        for index in range(self._layers("encoder")):
            theirs, ours = f"encoder/layer_{index}", f"model.encoder.layers.{index}"
            yield from self._self_attention(theirs, ours, width)
            yield from self._mlp(theirs, ours, width)
        yield from self._norm("encoder/layer_norm", "model.encoder.layer_norm", width)

    def _decoder(self, vocabulary: int, width: int) -> Iterator[SourceTensor]:
        projection = self.file.variables.get("decoder/projection/weight")
        if projection not in (None, self.file.variables["decoder/embeddings/weight"]):
            raise UnsupportedModel("decoder/projection/weight is not tied to the embeddings")
        embedding = "model.decoder.embed_tokens.weight"
        yield self.tensor("decoder/embeddings/weight", embedding, (vocabulary, width))
        if "decoder/projection/weight_scale" in self.file.variables:
            self.used.add("decoder/projection/weight_scale")
        yield self._positions("decoder", width)
        for index in range(self._layers("decoder")):
            theirs, ours = f"decoder/layer_{index}", f"model.decoder.layers.{index}"
            yield from self._self_attention(theirs, ours, width)
            cross, into = f"{theirs}/attention", f"{ours}.encoder_attn"
            yield from self._norm(f"{cross}/layer_norm", f"{into}_layer_norm", width)
            yield from self._linear(f"{cross}/linear_0", [f"{into}.q_proj"], width, width)
            keys_values = [f"{into}.k_proj", f"{into}.v_proj"]
            yield from self._linear(f"{cross}/linear_1", keys_values, width, width)
            yield from self._linear(f"{cross}/linear_2", [f"{into}.out_proj"], width, width)
            yield from self._mlp(theirs, ours, width)
        yield from self._norm("decoder/layer_norm", "model.decoder.layer_norm", width)

    def _self_attention(self, theirs: str, ours: str, width: int) -> Iterator[SourceTensor]:
        own, into = f"{theirs}/self_attention", f"{ours}.self_attn"
        yield from self._norm(f"{own}/layer_norm", f"{into}_layer_norm", width)
        stacked = [f"{into}.q_proj", f"{into}.k_proj", f"{into}.v_proj"]
        yield from self._linear(f"{own}/linear_0", stacked, width, width)
        yield from self._linear(f"{own}/linear_1", [f"{into}.out_proj"], width, width)

    def _mlp(self, theirs: str, ours: str, width: int) -> Iterator[SourceTensor]:
        inner = self.shape(f"{theirs}/ffn/linear_0/weight", 2)[0]
        yield from self._norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm", width)
        yield from self._linear(f"{theirs}/ffn/linear_0", [f"{ours}.fc1"], inner, width)
        yield from self._linear(f"{theirs}/ffn/linear_1", [f"{ours}.fc2"], width, inner)

    def _norm(self, theirs: str, ours: str, width: int) -> Iterator[SourceTensor]:
        yield self.tensor(f"{theirs}/gamma", f"{ours}.weight", (width,))
        yield self.tensor(f"{theirs}/beta", f"{ours}.bias", (width,))

    def _linear(self, theirs: str, ours: list[str], rows: int, cols: int) -> Iterator[SourceTensor]:
        """A matrix of `ours`, `rows` each, one below the other, and their biases."""
        for index, name in enumerate(ours):
            part = (len(ours) * rows, cols), index * rows
            yield self.tensor(f"{theirs}/weight", f"{name}.weight", (rows, cols), *part)
            part_bias = (len(ours) * rows,), index * rows
            bias = self.tensor(f"{theirs}/bias", f"{name}.bias", (rows,), *part_bias)
            if not name.endswith(".k_proj"):
                yield bias
            elif (self.values(f"{theirs}/bias")[index * rows : (index + 1) * rows] != 0).any():
                raise UnsupportedModel(f"{theirs}/bias: keys have a bias, which Whisper has not")

    def _positions(self, part: str, width: int) -> SourceTensor:
        name = f"{part}/position_encodings/encodings"
        rows = self.shape(name, 2)[0]
        return self.tensor(name, f"model.{part}.embed_positions.weight", (rows, width))

    def _layers(self, part: str) -> int:
        for index in range(MAX_LAYERS + 1):
            if f"{part}/layer_{index}/self_attention/linear_0/weight" not in self.file.variables:
                break
        if not 1 <= index <= MAX_LAYERS:
            raise ModelFormatError(f"{part} has {index} layers, expected 1 to {MAX_LAYERS}")
        return index

    # Variables

    def variable(self, name: str) -> Variable:
        """A variable that has to be there."""
        found = self.file.variables.get(name)
        if found is None:
            raise ModelFormatError(f"variable {name!r} is missing")
        return found

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a variable that has to be there and of this rank."""
        shape = self.variable(name).shape
        if len(shape) != rank:
            raise ModelFormatError(
                f"variable {name!r} has the shape {list(shape)}, not rank {rank}"
            )
        return shape

    def scalar(self, name: str, default: int | None = None) -> int:
        """The value of an integer variable of rank 0."""
        if default is not None and name not in self.file.variables:
            return default
        variable = self.variable(name)
        if variable.shape or variable.type not in ("int8", "int16", "int32"):
            raise ModelFormatError(
                f"variable {name!r} is {variable.type} {list(variable.shape)}, expected an integer"
            )
        return int.from_bytes(self.file.rows(name, 0, 1).tobytes(), "little", signed=True)

    def values(self, name: str) -> F32:
        """A whole float variable of rank 0 or 1."""
        kind = self.variable(name).type
        if kind not in _KINDS:
            raise ModelFormatError(f"variable {name!r} is {kind}, expected a float")
        raw = self.file.rows(name, 0, 1).reshape(-1)
        if kind == "bfloat16":
            return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return raw.view("<f2" if kind == "float16" else "<f4").astype(np.float32)

    def tensor(
        self,
        theirs: str,
        ours: str,
        shape: tuple[int, ...],
        whole: tuple[int, ...] | None = None,
        first: int = 0,
    ) -> SourceTensor:
        """The variable `theirs`, or its rows from `first` on, as the tensor `ours`."""
        variable = self.variable(theirs)
        whole = whole or shape
        if variable.shape != whole:
            raise ModelFormatError(
                f"variable {theirs!r} has the shape {list(variable.shape)}, expected {list(whole)}"
            )
        self.used.add(theirs)
        rows = math.prod(shape[:-1])
        if variable.type in _KINDS:
            kind = _KINDS[variable.type]
            if len(shape) == 1:
                return self._vector(theirs, ours, kind, shape, first)
            read = partial(_plain_rows, self.file, theirs, first)
            return SourceTensor(ours, kind, shape, rows * variable.row_nbytes, read)
        if variable.type not in ("int8", "int16") or len(shape) == 1:
            raise UnsupportedModel(f"variable {theirs!r} is {variable.type}, expected a float")
        return self._quantised(theirs, ours, shape, first)

    def _vector(
        self, theirs: str, ours: str, kind: str, shape: tuple[int, ...], first: int
    ) -> SourceTensor:
        item = self.variable(theirs).nbytes // self.variable(theirs).shape[0]

        def rows(start: int, stop: int) -> U8:
            raw = self.file.rows(theirs, start, stop)
            return np.ascontiguousarray(raw[:, first * item : (first + shape[0]) * item])

        return SourceTensor(ours, kind, shape, shape[0] * item, rows, 1)

    def _quantised(
        self, theirs: str, ours: str, shape: tuple[int, ...], first: int
    ) -> SourceTensor:
        """Codes with their scales: Q8_0 where that is the same, else f32."""
        variable = self.variable(theirs)
        name = f"{theirs}_scale"
        scales = self.values(name)
        self.used.add(name)
        wanted = variable.shape[0] if variable.type == "int8" else 1
        if len(scales) != wanted or len(self.variable(name).shape) > 1:
            raise ModelFormatError(f"variable {name!r} has {len(scales)} values, expected {wanted}")
        # The smallest would make a code overflow f32.
        if not (np.isfinite(scales) & (scales > 1e-30)).all():
            raise ModelFormatError(f"variable {name!r} holds scales that are not above 1e-30")
        step = np.broadcast_to((1.0 / scales.astype(np.float64)), variable.shape[0])
        blocks = (
            variable.type == "int8"
            and len(shape) == 2
            and shape[1] % 32 == 0
            and bool((step >= _F16_NORMAL).all() and (step < 65504).all())
        )
        # A convolution's kernel has one scale for all rows of an output.
        each = np.repeat(step, math.prod(variable.shape[1:-1])).astype(np.float32)
        read = partial(_block_rows if blocks else _scaled_rows, self.file, theirs, first, each)
        rows = math.prod(shape[:-1])
        kind, nbytes = ("Q8_0", rows * shape[-1] // 32 * 34) if blocks else ("F32", 0)
        return SourceTensor(ours, kind, shape, nbytes or rows * shape[-1] * 4, read)

    # Configuration

    def _tokens(self, vocabulary: int) -> dict[str, int]:
        """The ids of the special tokens, by their text."""
        path = self.folder / "tokenizer.json"
        if not path.exists():
            raise ModelFormatError(
                f"{self.folder}: tokenizer.json is missing; copy it there from the model's "
                "Hugging Face repository"
            )
        added = parse_object(read_bytes(path, TOKENIZER_LIMIT), str(path)).get("added_tokens")
        tokens: dict[str, int] = {}
        for token in added if isinstance(added, list) else []:
            text = token.get("content") if isinstance(token, dict) else None
            if not isinstance(text, str) or not _is_ids([token.get("id")], vocabulary):
                raise ModelFormatError(
                    f"{path}: added_tokens: {short(token)}, expected id below {vocabulary} "
                    "and content"
                )
            tokens[text] = token["id"]
        for text in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"):
            if text not in tokens:
                raise ModelFormatError(f"{path}: added_tokens: {text} is missing")
        return tokens

    def _settings(self, vocabulary: int) -> dict[str, Any]:
        """The lists of config.json, each checked."""
        path = self.folder / "config.json"
        found = find_json(path) or {}
        settings: dict[str, Any] = {}
        for key in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
            values = found.get(key) or []
            if not _is_ids(values, vocabulary):
                raise ModelFormatError(
                    f"{path}: {key}: {short(values)}, expected a list of ids below {vocabulary}"
                )
            settings[key] = values
        heads = found.get("alignment_heads") or []
        layers, per_layer = self._layers("decoder"), self._heads("decoder")
        if not isinstance(heads, list) or not all(
            isinstance(pair, list)
            and len(pair) == 2
            and _is_ids(pair[:1], layers)
            and _is_ids(pair[1:], per_layer)
            for pair in heads[:_LIST_LIMIT]
        ):
            raise ModelFormatError(
                f"{path}: alignment_heads: {short(heads)}, expected pairs of a layer below "
                f"{layers} and a head below {per_layer}"
            )
        settings["alignment_heads"] = heads
        return settings

    def _heads(self, part: str) -> int:
        heads = self.scalar(f"{part}/num_heads")
        width = self.shape("decoder/embeddings/weight", 2)[1]
        if heads < 1 or width % heads:
            raise ModelFormatError(f"{part}/num_heads is {heads}, which does not divide {width}")
        return heads

    def _config(self, vocabulary: int, width: int, tokens: dict[str, int]) -> dict[str, Any]:
        config: dict[str, Any] = {
            "model_type": "whisper",
            "architectures": ["WhisperForConditionalGeneration"],
            "is_encoder_decoder": True,
            "vocab_size": vocabulary,
            "d_model": width,
            "num_mel_bins": self.shape("encoder/conv1/weight", 3)[1],
            "max_source_positions": self.shape("encoder/position_encodings/encodings", 2)[0],
            "max_target_positions": self.shape("decoder/position_encodings/encodings", 2)[0],
            "activation_function": "gelu",
            "scale_embedding": False,
            "tie_word_embeddings": True,
            "bos_token_id": tokens["<|endoftext|>"],
            "eos_token_id": tokens["<|endoftext|>"],
            "pad_token_id": tokens["<|endoftext|>"],
            "decoder_start_token_id": tokens["<|startoftranscript|>"],
        }
        for part in ("encoder", "decoder"):
            config[f"{part}_layers"] = self._layers(part)
            config[f"{part}_attention_heads"] = self._heads(part)
            config[f"{part}_ffn_dim"] = self.shape(f"{part}/layer_0/ffn/linear_0/weight", 2)[0]
        return config

    def _generation(
        self, settings: dict[str, Any], tokens: dict[str, int], config: dict[str, Any]
    ) -> dict[str, Any]:
        keys = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        # An English-only vocabulary has one token less before <|endoftext|>, and no languages used.
        multilingual = config["vocab_size"] >= 51865
        generation: dict[str, Any] = {key: config[key] for key in keys} | {
            "max_length": config["max_target_positions"],
            "suppress_tokens": settings["suppress_ids"],
            "begin_suppress_tokens": settings["suppress_ids_begin"],
            "no_timestamps_token_id": tokens["<|notimestamps|>"],
            "is_multilingual": multilingual,
            "max_initial_timestamp_index": 50,
        }
        if settings["alignment_heads"]:
            generation["alignment_heads"] = settings["alignment_heads"]
        if "<|startofprev|>" in tokens:
            generation["prev_sot_token_id"] = tokens["<|startofprev|>"]
        if multilingual:
            languages = set(settings["lang_ids"])
            generation["lang_to_id"] = {
                text: number for text, number in tokens.items() if number in languages
            }
            generation["task_to_id"] = {
                task: tokens[f"<|{task}|>"]
                for task in ("transcribe", "translate")
                if f"<|{task}|>" in tokens
            }
        return generation


def _is_ids(values: Any, below: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= _LIST_LIMIT
        and all(type(value) is int and 0 <= value < below for value in values)
    )


def _plain_rows(file: CTranslate2File, name: str, first: int, start: int, stop: int) -> U8:
    return file.rows(name, first + start, first + stop)


def _scaled_rows(
    file: CTranslate2File, name: str, first: int, step: F32, start: int, stop: int
) -> U8:
    """Rows of codes times their row's step, as f32."""
    kind = "<i2" if file.variables[name].type == "int16" else "i1"
    codes = file.rows(name, first + start, first + stop).view(kind).astype(np.float32)
    values = codes * step[first + start : first + stop, None]
    return np.ascontiguousarray(values).view(np.uint8)


def _block_rows(
    file: CTranslate2File, name: str, first: int, step: F32, start: int, stop: int
) -> U8:
    """Rows of int8 codes as Q8_0, whose blocks are an f16 step and 32 codes."""
    codes = file.rows(name, first + start, first + stop)
    count, cols = codes.shape
    blocks = np.empty((count, cols // 32, 34), np.uint8)
    blocks[:, :, 2:] = codes.reshape(count, cols // 32, 32)
    half = step[first + start : first + stop].astype("<f2").view(np.uint8).reshape(count, 1, 2)
    blocks[:, :, :2] = half
    return blocks.reshape(count, -1)


def _write_tokenizer(folder: Path, bins: int, target: Path) -> None:
    """tokenizer.json as it is, and preprocessor_config.json, which older folders lack."""
    copy_tokenizer(folder, target)
    if not (target / "preprocessor_config.json").exists():
        settings = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": bins}
        (target / "preprocessor_config.json").write_text(json.dumps(settings), "utf-8")
