"""Reading a Hugging Face folder: config.json and one or several safetensors files.

Nothing in the folder is executed: pickles are refused, code that the config names is ignored.
"""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cactus.errors import ModelFormatError, TokenizerError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.files import find_bytes, find_json, read_bytes, read_json
from cactus.models.base import FORMER_TYPES
from cactus.tokenizer import VOCABULARY_FILES, build_tokenizer
from cactus.weights.format.safetensors import (
    DTYPE_BYTES,
    SafetensorsFile,
    TensorInfo,
    read_safetensors,
)
from cactus.weights.format.tiles import U8
from cactus.weights.names import name_of_checkpoint
from cactus.weights.sources.dual import text_embedding
from cactus.weights.sources.embedder import describe
from cactus.weights.sources.gguf.blocks import FLOATS
from cactus.weights.sources.origin import describe_file
from cactus.weights.sources.source import (
    TOKENIZER_LIMIT,
    Source,
    SourceTensor,
    license_name,
)
from cactus.weights.sources.vision import canonical, is_dual, sees

logger = logging.getLogger("cactus.weights")

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
PICKLE_ADVICE = (
    "a pickle can run any code when it is loaded, so it is never opened; "
    "get the model as safetensors or GGUF"
)

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_SHARDS = 1024

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
)

_INTEGERS = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64")


def open_checkpoint(folder: Path, name: str = "") -> Source:
    """Open a Hugging Face folder of a model called `name`; see `open_source` for the errors."""
    called = name or name_of_checkpoint(folder)
    config, notes = _read_config(folder)
    shards, tensors = _open_shards(folder, notes)
    close = partial(_close_all, shards)
    try:
        tied = config.get("tie_word_embeddings") is True
        sources = []
        for key, shard in tensors.items():
            info = shard.tensors[key]
            if _is_buffer(key, info.dtype):
                notes.append(f"tensor {short(key, 160)} is a buffer; ignored")
            elif tied and key == "lm_head.weight" and "model.embed_tokens.weight" in tensors:
                notes.append("tensor 'lm_head.weight' is tied to the embedding; ignored")
            else:
                sources.append(_tensor(key, shard, info))
        if not sources:
            raise ModelFormatError(f"{folder}: no tensor to convert")
        first = min(shards, key=lambda shard: shard.path.name)
        tables: list[SourceTensor] = []
        if sees(config):
            sources, tables = canonical(config, sources)

        def open_dense(place: Path) -> dict[str, SourceTensor]:
            shards.append(read_safetensors(_inside(_inside(folder, place.name), SINGLE)))
            dense = shards[-1]
            return {key: _tensor(key, dense, info) for key, info in dense.tensors.items()}

        embedding, config, made, more = describe(folder, called, config, sources, open_dense)
        if is_dual(config):
            embedding = text_embedding(folder, config, made)
        return Source(
            config=config,
            generation=_generation(folder, config),
            chat_template=read_chat_template(folder),
            tensors=tuple(made.values()),
            origin={"format": "safetensors"} | describe_file(first.file, first.data_offset),
            write_tokenizer=partial(
                copy_tokenizer, folder, bare=config["model_type"] == "model2vec"
            ),
            close=close,
            notes=(*notes, *more),
            license=_license(folder),
            embedding=embedding,
            tables=tuple(tables),
        )
    except BaseException:
        close()
        raise


def _license(folder: Path) -> str | None:
    """What the model card says in its front matter."""
    card = None
    with suppress(ModelFormatError):  # a link, or far too long: no reason to refuse the model
        card = find_bytes(folder / "README.md", 1 << 20)
    front = re.match(rb"---\s*\n(.*?)\n---", card or b"", re.S)
    found = re.search(rb"^license: *([^\s#]+)[ \r]*$", front[1], re.M) if front else None
    return license_name(found[1].decode("utf-8", "replace").strip("\"'")) if found else None


def _close_all(shards: list[SafetensorsFile]) -> None:
    for shard in shards:
        shard.close()


def _read_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """config.json without the keys that ask for code to be run."""
    config = find_json(folder / "config.json")
    if config is None:
        raise ModelFormatError(f"{folder}: no config.json; this is not a Hugging Face model folder")
    notes = []
    for key in list(config):
        if key in ("auto_map", "trust_remote_code", "custom_pipelines") or key.startswith("_"):
            del config[key]
            if key != "_name_or_path":
                notes.append(f"config.json: {short(key, 160)} asks for code of the model; ignored")
                logger.warning("%s: %s", folder, notes[-1])
    config.pop("cactus", None)
    if "model_type" not in config and "embedding_dtype" in config:
        config["model_type"] = "model2vec"  # its own library leaves the name out
    former = str(config.get("model_type"))
    config["model_type"] = FORMER_TYPES.get(former, config.get("model_type"))
    if not isinstance(config["model_type"], str):
        raise ModelFormatError(
            f"{folder / 'config.json'}: model_type is {config['model_type']!r}, expected a string"
        )
    return config, notes


def _open_shards(
    folder: Path, notes: list[str]
) -> tuple[list[SafetensorsFile], dict[str, SafetensorsFile]]:
    """All shards, and for each tensor the shard that holds it."""
    shards: list[SafetensorsFile] = []
    try:
        if (folder / INDEX).exists():
            return shards, _open_indexed(folder, shards, notes)
        if (folder / SINGLE).exists():
            shards.append(read_safetensors(_inside(folder, SINGLE)))
            if any(json_is_packed(shard) for shard in shards):
                raise UnsupportedModel(f"{folder}: is converted already; give the original model")
            return shards, dict.fromkeys(shards[0].tensors, shards[0])
    except BaseException:
        _close_all(shards)
        raise
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise UnsupportedModel(f"{folder / pickles[0]}: {PICKLE_ADVICE}")
    raise ModelFormatError(f"{folder}: neither {SINGLE} nor {INDEX} is there")


def json_is_packed(shard: SafetensorsFile) -> bool:
    """Whether a safetensors file holds tiles, not a checkpoint's tensors."""
    return "cactus" in shard.metadata


def _open_indexed(
    folder: Path, shards: list[SafetensorsFile], notes: list[str]
) -> dict[str, SafetensorsFile]:
    where = folder / INDEX
    weight_map = read_json(where).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFormatError(f"{where}: weight_map is missing, expected tensor -> file name")
    files: dict[str, SafetensorsFile] = {}
    for name, shard_name in weight_map.items():
        if not isinstance(shard_name, str):
            raise ModelFormatError(f"{where}: weight_map[{short(name)}] is not a file name")
        if shard_name in files:
            continue
        if len(files) == MAX_SHARDS:
            raise ModelFormatError(f"{where}: more than {MAX_SHARDS} files")
        files[shard_name] = read_safetensors(_inside(folder, shard_name))
        shards.append(files[shard_name])
    for name, shard_name in weight_map.items():
        if name not in files[shard_name].tensors:
            raise ModelFormatError(f"{where}: tensor {short(name)} is not in {shard_name!r}")
    owner: dict[str, str] = {}
    for shard_name, shard in files.items():
        for name in shard.tensors:
            if name in owner:
                raise ModelFormatError(
                    f"{folder}: tensor {short(name)} is in {owner[name]!r} and in {shard_name!r}"
                )
            owner[name] = shard_name
            if name not in weight_map:
                notes.append(f"tensor {short(name)} of {shard_name!r} is not in the index; ignored")
    return {name: files[shard_name] for name, shard_name in weight_map.items()}


def _inside(folder: Path, name: str) -> Path:
    """The path of a file of the model, proven to lie in its folder.

    The hub's cache keeps `<model>/snapshots/<revision>/<file>` as links into `<model>/blobs`, and
    those as links into the `blobs/<two digits>` of all models; such links are followed, no others.
    """
    plain = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or len(plain.parts) != 1 or name in (".", ".."):
        raise ModelFormatError(f"{folder}: {short(name)} is not a plain file name")
    path = folder / name
    if not os.path.exists(path):  # False, too, for names that no file system takes.
        raise ModelFormatError(f"{folder}: the file {short(name)} is missing")
    real, root = path.resolve(), folder.resolve()
    snapshot = root if root.parent.name == "snapshots" else root.parent
    model = snapshot.parent.parent
    blobs = model / "blobs", model.parent / "blobs"
    in_cache = snapshot.parent.name == "snapshots" and any(place in real.parents for place in blobs)
    if real.parent != root and not in_cache:
        raise ModelFormatError(f"{folder}: {short(name)} is a link out of the folder, to {real}")
    return path


def _is_buffer(name: str, dtype: str) -> bool:
    """Tables and masks that old checkpoints saved; every model computes them itself."""
    return name.endswith((".rotary_emb.inv_freq", ".masked_bias")) or (
        dtype in _INTEGERS and name.endswith((".position_ids", ".attn.bias", ".bias_mask"))
    )


def _tensor(name: str, shard: SafetensorsFile, info: TensorInfo) -> SourceTensor:
    if info.dtype not in FLOATS:
        raise UnsupportedModel(
            f"{shard.path}: tensor {short(name)} is {info.dtype}, expected one of "
            f"{', '.join(FLOATS)}; get the model before quantisation"
        )
    shape = info.shape or (1,)
    if 0 in shape:
        raise ModelFormatError(f"{shard.path}: tensor {short(name)} is empty: shape {list(shape)}")
    if len(shape) == 3 and shape[1] == 1:
        shape = (shape[0], shape[2])  # A depthwise convolution kernel [channels, 1, taps].
    row = shape[-1] * DTYPE_BYTES[info.dtype]

    def rows(start: int, stop: int) -> U8:
        return shard.read(name, start * row, (stop - start) * row).reshape(stop - start, row)

    return SourceTensor(name, info.dtype, shape, info.nbytes, rows)


def _generation(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    found = find_json(folder / "generation_config.json")
    if found is not None:
        return found
    keys = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {key: config[key] for key in keys if config.get(key) is not None}


def read_chat_template(folder: Path) -> str | None:
    """The default chat template: its own file, or a key of tokenizer_config.json."""
    text = find_bytes(folder / "chat_template.jinja", 1 << 20)
    if text is not None:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFormatError(f"{folder / 'chat_template.jinja'}: {error.reason}") from None
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = (find_json(folder / name) or {}).get("chat_template")
        if isinstance(template, list):
            named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
            template = named[0].get("template") if named else None
        if isinstance(template, str):
            return template
    return None


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a Hugging Face folder whose tokenizer could not be loaded after a conversion.

    Looks at the small files alone, so that it can be asked before the weights are fetched. Raises
    `TokenizerError` or `ModelFormatError`, naming the file and the field.
    """
    from cactus.tokenizer import Tokenizer

    with TemporaryDirectory() as scratch:
        target = Path(scratch)
        copy_tokenizer(folder, target)
        config, _ = _read_config(folder)
        for name, value in (
            ("config.json", config),
            ("generation_config.json", _generation(folder, config)),
        ):
            (target / name).write_text(json.dumps(value), "utf-8")
        Tokenizer.load(target, str(folder))


def copy_tokenizer(source: Path, target: Path, *, bare: bool = False) -> None:
    """Copy the tokenizer's files; each is a plain file of the folder and valid JSON.

    What a tokenizer.json says of cutting and padding texts is left out: those who ask decide.
    With `bare` nothing is put around a text. Where there is no tokenizer.json it is built from
    vocab.json and merges.txt.
    """
    for name in TOKENIZER_FILES:
        if not (source / name).exists():
            continue
        data = read_bytes(_inside(source, name), TOKENIZER_LIMIT)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(f"{source / name}: not valid JSON: {error}") from None
        unwanted = ("truncation", "padding", *(["post_processor"] if bare else []))
        left_out = [key for key in unwanted if isinstance(found, dict) and found.get(key)]
        if left_out:
            found |= dict.fromkeys(left_out)
            data = json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass")
        (target / name).write_bytes(data)
    if not (target / "tokenizer.json").exists():
        parts = {
            name: read_bytes(_inside(source, name), TOKENIZER_LIMIT)
            for name in VOCABULARY_FILES
            if (source / name).exists()
        }
        try:
            build_tokenizer(parts, target)
        except TokenizerError as error:
            raise TokenizerError(f"{source}: {error}") from None
