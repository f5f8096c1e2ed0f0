"""A GGUF file as a source of a conversion: its tensors by checkpoint names, in checkpoint order."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.tokenizer import write_tokenizer as write_gguf_tokenizer
from cactus.weights.format.layout import TILE_ROWS
from cactus.weights.format.tiles import U8
from cactus.weights.sources.embedder import SETTINGS
from cactus.weights.sources.encoders import is_encoder
from cactus.weights.sources.gguf.config import GGUFModel, read_model
from cactus.weights.sources.gguf.families import MappedTensor
from cactus.weights.sources.gguf.file import GGUFFile
from cactus.weights.sources.gguf.mmproj import IMAGE_TOKENS, Eyes, read_mmproj
from cactus.weights.sources.gguf.read import read_gguf
from cactus.weights.sources.known_embedders import complete, known_settings
from cactus.weights.sources.origin import describe_file
from cactus.weights.sources.source import Embedding, Source, SourceTensor, license_name
from cactus.weights.sources.vision import canonical


def open_gguf(path: Path, name: str = "", mmproj: Path | None = None) -> Source:
    """Open a GGUF file of a model called `name`; see `open_source` for the errors.

    `mmproj` is the file with which the model sees; without it the one beside that fits, if any.
    """
    gguf = read_gguf(path)
    close = gguf.close
    try:
        with _of_file(path):
            model = read_model(gguf)
            tensors = tuple(_gguf_tensor(gguf, tensor) for tensor in model.tensors)
        source = Source(
            config=model.config,
            generation=model.generation,
            chat_template=model.chat_template,
            tensors=tensors,
            origin=_gguf_origin(gguf),
            write_tokenizer=partial(write_gguf_tokenizer, gguf.metadata),
            close=close,
            license=license_name(gguf.metadata.get("general.license")),
            embedding=_embedding(gguf, model, name or path.stem),
        )
        eyes = mmproj or find_mmproj(path, model.config)
        return source if eyes is None else _seeing(source, eyes, gguf)
    except BaseException:
        close()
        raise


@contextmanager
def _of_file(path: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except (ModelFormatError, UnsupportedModel) as error:
        raise type(error)(f"{path}: {error}") from None


def mmproj_files(path: Path) -> list[Path]:
    """The files beside a GGUF file with which language models see, by their names."""
    beside = sorted(path.parent.glob("*.gguf"))
    return [each for each in beside if "mmproj" in each.name.lower() and each.name != path.name]


def find_mmproj(path: Path, config: Mapping[str, Any]) -> Path | None:
    """The file beside a language model with which it sees; None where there is none that fits.

    Of several the one whose name is most like the model's, and of those of the most exact type.
    """
    found = []
    for each in mmproj_files(path):
        with suppress(CactusError), closing(read_gguf(each)) as gguf:
            read_mmproj(gguf, config)
            found.append(each)

    def likeness(each: Path) -> tuple[int, int]:
        name = re.sub(r"[-_.]*mmproj[-_.]*", "", each.stem.lower())
        pairs = zip(name, path.stem.lower(), strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        kinds = [kind in name for kind in ("q8_0", "bf16", "f16", "f32")]
        return alike, kinds.index(True) if any(kinds) else -1

    return max(found, key=likeness, default=None)


def _seeing(text: Source, path: Path, model: GGUFFile) -> Source:
    """A language model with the tower and the projector of another file."""
    gguf = read_gguf(path)
    try:
        with _of_file(path):
            eyes = read_mmproj(gguf, text.config)
            config = eyes.config | {"text_config": text.config, **_image_token(eyes, model)}
            shared = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")
            config |= {key: text.config[key] for key in shared if key in text.config}
            tensors, tables = canonical(config, [_gguf_tensor(gguf, each) for each in eyes.tensors])
    except BaseException:
        gguf.close()
        raise

    def write_tokenizer(folder: Path) -> None:
        text.write_tokenizer(folder)
        written = json.dumps(eyes.processor, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(written, "utf-8")

    def close() -> None:
        gguf.close()
        text.close()

    return replace(
        text,
        config=config,
        tensors=(*text.tensors, *tensors),
        tables=tuple(tables),
        origin=text.origin | {"mmproj": describe_file(gguf.file, gguf.data_offset)},
        write_tokenizer=write_tokenizer,
        close=close,
        notes=(*text.notes, f"it sees with {path.name}"),
        embedding=None,
    )


def _image_token(eyes: Eyes, model: GGUFFile) -> dict[str, int]:
    """The id of the token that stands for an image feature."""
    word = IMAGE_TOKENS[eyes.config["model_type"]]
    tokens = model.metadata["tokenizer.ggml.tokens"]
    if word not in tokens:
        raise UnsupportedModel(f"the language model's vocabulary has no token {word!r}")
    return {"image_token_id": tokens.index(word)}


_POOLINGS = {1: "mean", 2: "cls", 3: "last"}


def _embedding(gguf: GGUFFile, model: GGUFModel, name: str) -> Embedding | None:
    """How a file's model embeds texts; None where it writes them.

    No file says whether embeddings have unit length; llama.cpp gives them so. Prompts follow from
    the name alone, the file's own or that of the model inside.
    """
    architecture = gguf.metadata["general.architecture"]
    key = f"{architecture}.pooling_type"
    kind = gguf.metadata.get(key, 0)
    if not kind and not is_encoder(model.config):
        return None
    if kind not in (0, *_POOLINGS):
        raise UnsupportedModel(f"{key} is {short(kind)}, expected one of {_POOLINGS}")
    settings = SETTINGS | {
        "pooling": _POOLINGS.get(kind, "mean"),
        "normalize": True,
        "dimensions": model.config["hidden_size"],
        "max_tokens": model.config["max_position_embeddings"],
    }
    own = gguf.metadata.get("general.name")
    called = own if isinstance(own, str) and known_settings(own) else name
    return Embedding("embed", complete(settings, called, said=bool(kind)))


def _gguf_origin(gguf: GGUFFile) -> dict[str, Any]:
    origin = {"format": "gguf"} | describe_file(gguf.file, gguf.data_offset)
    if gguf.more:
        origin["parts"] = [describe_file(part.file, part.data_offset) for part in gguf.more]
    return origin


def _gguf_tensor(gguf: GGUFFile, mapped: MappedTensor) -> SourceTensor:
    kind = gguf.tensors[mapped.source].type
    if len(mapped.shape) == 1:
        # A vector is one row; a rotary bias is permuted by value instead of by row.
        whole = mapped.source_shape == mapped.shape
        if kind.elements != 1 and (mapped.rotary_head_dim or not whole):
            raise UnsupportedModel(
                f"tensor {mapped.source!r}: a bias of blocks cannot be reordered"
            )
        nbytes = mapped.shape[0] // kind.elements * kind.nbytes
        rows = partial(_vector, gguf, mapped)
        return SourceTensor(mapped.name, kind.name, mapped.shape, nbytes, rows, 1)
    nbytes = math.prod(mapped.shape[:-1]) * gguf.tensors[mapped.source].row_nbytes
    unit = math.lcm(mapped.rotary_head_dim or 1, TILE_ROWS)
    rows = partial(_rows, gguf, mapped)
    return SourceTensor(mapped.name, kind.name, mapped.shape, nbytes, rows, unit)


def _rows(gguf: GGUFFile, mapped: MappedTensor, start: int, stop: int) -> U8:
    raw = gguf.rows(mapped.source, mapped.first + start, mapped.first + stop)
    return _halves(raw, mapped.rotary_head_dim)


def _vector(gguf: GGUFFile, mapped: MappedTensor, start: int, stop: int) -> U8:
    raw = gguf.rows(mapped.source, start, stop)
    if mapped.rows:
        width = gguf.tensors[mapped.source].type.nbytes
        raw = raw[:, mapped.first * width : (mapped.first + mapped.shape[0]) * width]
    if not mapped.rotary_head_dim:
        return np.ascontiguousarray(raw)
    return _halves(raw.reshape(mapped.shape[0], -1), mapped.rotary_head_dim).reshape(raw.shape)


def _halves(raw: U8, head_dim: int) -> U8:
    """Rows with each head's interleaved pairs (0, half, 1, half + 1, ...) in order again."""
    if not head_dim:
        return raw
    pairs = raw.reshape(-1, head_dim // 2, 2, raw.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(raw.shape)
