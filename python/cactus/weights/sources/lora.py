"""Merging a LoRA adapter (Hu et al. 2021) into the model that it was trained on.

    W' = W + s B A      s = alpha / r, or alpha / sqrt(r) with use_rslora
    W' = m W' / |W'|    row by row, with use_dora (Liu et al. 2024)

An adapter is a folder as PEFT writes it: adapter_config.json and adapter_model.safetensors. Rows
are merged as they are read, so memory holds the factors of two matrices at most.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.fields import Fields
from cactus.inputs.files import read_json
from cactus.weights.format.safetensors import DTYPE_BYTES, SafetensorsFile, read_safetensors
from cactus.weights.format.tiles import F32, U8
from cactus.weights.sources.checkpoint import PICKLE_ADVICE, read_chat_template
from cactus.weights.sources.gguf.blocks import FLOATS, dequantize
from cactus.weights.sources.origin import describe_file
from cactus.weights.sources.source import Source, SourceTensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"
_FACTOR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(\.weight)?")
_MAGNITUDE = ".lora_magnitude_vector"
_PIECE = 1 << 24

# These keep the base as it is; every other way to begin takes something off its weights.
_HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_REFUSED = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)


@dataclass(frozen=True)
class _Pair:
    """The keys of the two factors, and of DoRA's magnitudes; an embedding has them transposed."""

    a: str
    b: str
    magnitude: str | None
    embedding: bool


class Adapter:
    """A checked adapter folder.

    ``pairs`` has the factors of each module, ``whole`` the key of each tensor that replaces one of
    the base. Raises ModelFormatError or UnsupportedModel naming the key or tensor.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / CONFIG).is_file():
            raise ModelFormatError(
                f"{folder}: no {CONFIG}; this is not the folder of a LoRA adapter"
            )
        self.folder = folder
        self.fields = Fields(read_json(folder / CONFIG), str(folder / CONFIG))
        self._check_config()
        # Threads that convert ask for the factors of one matrix, or of two, at a time.
        self.factors = lru_cache(maxsize=2)(self._factors)
        if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
            raise UnsupportedModel(f"{folder / 'adapter_model.bin'}: {PICKLE_ADVICE}")
        self.file: SafetensorsFile = read_safetensors(folder / WEIGHTS)
        try:
            self._sort()
        except BaseException:
            self.file.close()
            raise

    def _check_config(self) -> None:
        fields = self.fields
        fields.choice("peft_type", ("LORA",))
        for key in _REFUSED:
            if fields.raw.get(key):
                raise UnsupportedModel(f"{fields.where}: {key} is set, which cannot be merged")
        start = fields.raw.get("init_lora_weights", True)
        if start is not None and start not in _HARMLESS_STARTS:
            raise UnsupportedModel(
                f"{fields.where}: init_lora_weights {short(start)} changed the weights of the "
                "base before training; convert the adapter to a plain LoRA first"
            )
        fields.choice("bias", ("none", "all", "lora_only"), "none")
        self.rank = fields.integer("r", 1, 1 << 16)
        self.alpha = fields.number("lora_alpha", 0.0, 1e9, 8)
        self.rslora = fields.flag("use_rslora", False)
        self.dora = fields.flag("use_dora", False)
        self.tied = fields.flag("ensure_weight_tying", False)
        self.ranks = self._pattern("rank_pattern")
        self.alphas = self._pattern("alpha_pattern")

    def _pattern(self, key: str) -> dict[re.Pattern[str], float]:
        """Regular expressions of module names, each with its number."""
        inner = self.fields.object(key)
        if inner is None:
            return {}
        low = 1.0 if key == "rank_pattern" else 0.0
        return {_compile(inner.where, text): inner.number(text, low, 1e9) for text in inner.raw}

    def _sort(self) -> None:
        """Tell factors, magnitudes and whole tensors apart; every factor needs its other half."""
        factors: dict[str, dict[str, str]] = {}
        magnitudes: dict[str, str] = {}
        embeddings: set[str] = set()
        self.whole: dict[str, str] = {}
        for key, info in self.file.tensors.items():
            if info.dtype not in FLOATS:
                raise UnsupportedModel(
                    f"{self.file.path}: tensor {short(key, 160)} is {info.dtype}, expected one of "
                    f"{', '.join(FLOATS)}"
                )
            name = key.removeprefix("base_model.model.")
            match = _FACTOR.fullmatch(name)
            if match:
                factors.setdefault(match[1], {})[match[3]] = key
                if match[2]:
                    embeddings.add(match[1])
            elif name.removesuffix(".weight").endswith(_MAGNITUDE):
                magnitudes[name.removesuffix(".weight").removesuffix(_MAGNITUDE)] = key
            elif ".lora_" in name:
                raise UnsupportedModel(
                    f"{self.file.path}: tensor {short(key, 160)} cannot be merged"
                )
            else:
                self.whole[name.replace(".base_layer.", ".")] = key
        self.pairs: dict[str, _Pair] = {}
        for module, halves in factors.items():
            for half, other in (("A", "B"), ("B", "A")):
                if half not in halves:
                    raise ModelFormatError(
                        f"{self.file.path}: tensor {short(halves[other], 160)} has no lora_{half} "
                        "beside it; the adapter is incomplete"
                    )
            if self.dora != (module in magnitudes):
                there = "is there" if module in magnitudes else "is missing"
                raise ModelFormatError(
                    f"{self.file.path}: use_dora is {str(self.dora).lower()}, but the magnitude "
                    f"vector of {short(module, 160)} {there}"
                )
            if self.dora and module in embeddings:
                raise UnsupportedModel(f"{self.file.path}: DoRA of the embedding is not supported")
            self.pairs[module] = _Pair(
                halves["A"], halves["B"], magnitudes.get(module), module in embeddings
            )
        if not self.pairs and not self.whole:
            raise ModelFormatError(f"{self.file.path}: no tensor to merge")

    def check_targets(self, modules: Iterable[str]) -> None:
        """ModelFormatError if ``target_modules`` names one of the base's modules without a pair."""
        targets = self.fields.raw.get("target_modules")
        limits = ("layers_to_transform", "layers_pattern", "exclude_modules")
        if not isinstance(targets, list) or any(self.fields.raw.get(key) for key in limits):
            return
        saved = {name.rpartition(".")[0] for name in self.whole}
        for module in modules:
            named = any(module == target or module.endswith(f".{target}") for target in targets)
            if named and module not in self.pairs and module not in saved:
                raise ModelFormatError(
                    f"{self.file.path}: target_modules names {module!r} of the base, but its "
                    "lora_A and lora_B are missing; the adapter is incomplete, or of another base"
                )

    def drop_equal_head(self) -> None:
        """Forget an output matrix that was saved once more under the embedding's name."""
        keys = [self.whole.get(f"{module}.weight") for module in (_EMBEDDING, _HEAD)]
        first, second = (self.file.tensors.get(key or "") for key in keys)
        if first is None or second is None or first.nbytes != second.nbytes:
            return
        for start in range(0, first.nbytes, _PIECE):
            size = min(_PIECE, first.nbytes - start)
            one, other = (self.file.read(str(key), start, size) for key in keys)
            if not np.array_equal(one, other):
                return
        del self.whole[f"{_HEAD}.weight"]
        self.tied = True

    def scale(self, module: str) -> float:
        """What B A is multiplied by. ModelFormatError if the factors do not have their rank."""
        pair = self.pairs[module]
        rank = int(_find(self.ranks, module, self.rank))
        for key, axis in ((pair.a, 0), (pair.b, 1)):
            shape = self.file.tensors[key].shape
            if len(shape) != 2 or shape[axis] != rank:
                want = f"[{rank}, ...]" if axis == 0 else f"[..., {rank}]"
                raise ModelFormatError(
                    f"{self.file.path}: tensor {short(key, 160)}: want rank {rank}, {want}, "
                    f"got {list(shape)}"
                )
        return _find(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.rslora else rank)

    def values(self, key: str) -> F32:
        """A tensor of the adapter as f32."""
        info = self.file.tensors[key]
        return _floats(info.dtype, self.file.read(key).reshape(1, -1)).reshape(info.shape)

    def _factors(self, pair: _Pair, scale: np.float32) -> tuple[F32, F32]:
        """B scaled and A, such that the rows of their product are the matrix's rows."""
        a, b = self.values(pair.a), self.values(pair.b)
        return (scale * a.T, b.T) if pair.embedding else (scale * b, a)

    def rows(self, key: str, start: int, stop: int) -> U8:
        """Rows of a matrix, or the whole of a vector, as they lie."""
        info = self.file.tensors[key]
        row = info.shape[-1] * DTYPE_BYTES[info.dtype]
        return self.file.read(key, start * row, (stop - start) * row).reshape(stop - start, row)


def merge(base: Source, folder: Path, given: Path) -> Source:
    """The base with an adapter merged into it; ``given`` is where the base comes from.

    Closing the result closes both. Raises ModelFormatError naming tensor, expected and got where
    the adapter does not fit the base, UnsupportedModel for a feature that cannot be merged.
    """
    adapter = Adapter(folder)
    try:
        return _merged(base, adapter, given)
    except BaseException:
        adapter.file.close()
        raise


def _merged(base: Source, adapter: Adapter, given: Path) -> Source:
    notes: list[str] = []
    base = _untied(base, adapter, notes)
    tensors = {tensor.name: tensor for tensor in base.tensors}
    for name, key in adapter.whole.items():
        tensors[name] = _replaced(base, tensors.get(name), adapter, name, key)
    matrices = [name for name, tensor in tensors.items() if len(tensor.shape) == 2]
    adapter.check_targets(name.removesuffix(".weight") for name in matrices)
    for module in adapter.pairs:
        name = f"{module}.weight"
        tensors[name] = _added(base, tensors.get(name), adapter, module)

    template = read_chat_template(adapter.folder)
    if template not in (None, base.chat_template):
        notes.append("the chat template is the adapter's own")
    named = adapter.fields.raw.get("base_model_name_or_path")
    short = str(named or "").rstrip("/").rpartition("/")[2].lower()
    if short and short not in str(given.resolve()).lower():
        notes.append(f"the adapter was trained on {named!r}; make sure that {given} is that model")

    def close() -> None:
        adapter.file.close()
        base.close()

    return replace(
        base,
        tensors=tuple(tensors.values()),
        chat_template=template or base.chat_template,
        origin=base.origin | {"lora": describe_file(adapter.file.file, adapter.file.data_offset)},
        close=close,
        notes=(*base.notes, *notes),
    )


def _untied(base: Source, adapter: Adapter, notes: list[str]) -> Source:
    """The base with an output matrix of its own, where the adapter needs one.

    In training, a change of the embedding does not reach the output matrix that is tied to it,
    nor the other way round.
    """
    tensors = {tensor.name: tensor for tensor in base.tensors}
    if f"{_HEAD}.weight" in tensors or f"{_EMBEDDING}.weight" not in tensors:
        return base
    adapter.drop_equal_head()
    changed = {name.removesuffix(".weight") for name in adapter.whole} | set(adapter.pairs)
    if not changed & {_EMBEDDING, _HEAD} or adapter.tied:
        return base
    notes.append("the adapter unties embedding and output matrix; both are stored")
    head = replace(tensors[f"{_EMBEDDING}.weight"], name=f"{_HEAD}.weight")
    ties = [key for key in ("tie_word_embeddings", "tie_embedding") if key in base.config]
    config = base.config | dict.fromkeys([*ties, "tie_word_embeddings"], False)
    return replace(base, config=config, tensors=(*base.tensors, head))


def _replaced(
    base: Source, tensor: SourceTensor | None, adapter: Adapter, name: str, key: str
) -> SourceTensor:
    """A tensor that was trained whole, in place of the base's."""
    info = adapter.file.tensors[key]
    if tensor is None:
        raise _stranger(adapter, key, name)
    shape = info.shape if len(info.shape) != 3 else (info.shape[0], *info.shape[2:])
    if shape != tensor.shape:
        raise _misfit(adapter, key, f"{list(tensor.shape)} as in the base", info.shape)
    if base.origin["format"] == "gguf" and len(shape) == 1:
        # GGUF files hold some norms plus one, and no one tells which are meant here.
        raise UnsupportedModel(
            f"{adapter.file.path}: tensor {short(key, 160)} replaces a vector of a GGUF file; "
            "give the Hugging Face folder of the base"
        )
    rows = partial(adapter.rows, key)
    return replace(tensor, kind=info.dtype, nbytes=info.nbytes, rows=rows)


def _added(
    base: Source, tensor: SourceTensor | None, adapter: Adapter, module: str
) -> SourceTensor:
    """A matrix of the base with the product of its factors added, as f32."""
    pair, scale = adapter.pairs[module], adapter.scale(module)
    if tensor is None:
        raise _stranger(adapter, pair.a, f"{module}.weight")
    if len(tensor.shape) != 2 or module.endswith(".conv"):
        raise UnsupportedModel(
            f"{adapter.file.path}: tensor {short(pair.a, 160)} belongs to {tensor.name!r}, which "
            "is not a matrix"
        )
    a, b = (adapter.file.tensors[key].shape for key in (pair.a, pair.b))
    out, width = tensor.shape[::-1] if pair.embedding else tensor.shape
    if a[1] != width:
        raise _misfit(adapter, pair.a, f"{[a[0], width]} for {tensor.name!r} of the base", a)
    if b[0] != out:
        raise _misfit(adapter, pair.b, f"{[out, b[1]]} for {tensor.name!r} of the base", b)
    if pair.magnitude and adapter.file.tensors[pair.magnitude].shape != (out,):
        got = adapter.file.tensors[pair.magnitude].shape
        raise _misfit(adapter, pair.magnitude, f"[{out}] for {tensor.name!r} of the base", got)
    rows = _Rows(tensor, adapter, pair, np.float32(scale))
    return replace(tensor, kind="F32", nbytes=4 * math.prod(tensor.shape), rows=rows)


@dataclass(frozen=True)
class _Rows:
    """Gives merged rows, to any number of threads."""

    tensor: SourceTensor
    adapter: Adapter
    pair: _Pair
    scale: np.float32

    def __call__(self, start: int, stop: int) -> U8:
        # What is not finite in the end is refused by its name where it is written.
        with np.errstate(all="ignore"):
            left, right = self.adapter.factors(self.pair, self.scale)
            values = _floats(self.tensor.kind, self.tensor.rows(start, stop))
            values = values + left[start:stop] @ right
            if self.pair.magnitude:
                wanted = self.adapter.values(self.pair.magnitude)[start:stop, None]
                norms = np.linalg.norm(values, axis=1, keepdims=True)
                values = values * (wanted / np.maximum(norms, np.finfo(np.float32).tiny))
        raw: U8 = np.ascontiguousarray(values, np.float32).view(np.uint8)
        return raw


def _floats(kind: str, raw: U8) -> F32:
    values: F32 = dequantize(kind, raw)
    return values


def _find(pattern: dict[re.Pattern[str], float], module: str, default: float) -> float:
    """The number of the first expression that matches a module's name or the end of it."""
    matching = (number for expression, number in pattern.items() if expression.fullmatch(module))
    return next(matching, default)


_RISKY = re.compile(r"\\[1-9]|\(\?|[)}*+?][*+{]|[*+?].*[*+?].*[*+?]")


def _compile(where: str, text: str) -> re.Pattern[str]:
    """An expression for the end of a module's name, which no name makes slow to match."""
    if len(text) > 200 or _RISKY.search(text):
        raise UnsupportedModel(f"{where}: the expression {short(text)} is too involved")
    try:
        return re.compile(rf"(?:.*\.)?(?:{text})")
    except re.error as error:
        raise ModelFormatError(f"{where}: {short(text)} is not an expression: {error}") from None


def _stranger(adapter: Adapter, key: str, name: str) -> ModelFormatError:
    return ModelFormatError(
        f"{adapter.file.path}: tensor {short(key, 160)} belongs to {short(name, 160)}, which the "
        "base does not have; give the model that the adapter was trained on"
    )


def _misfit(adapter: Adapter, key: str, want: str, got: tuple[int, ...]) -> ModelFormatError:
    return ModelFormatError(
        f"{adapter.file.path}: tensor {short(key, 160)}: want {want}, got {list(got)}; "
        "give the model that the adapter was trained on"
    )
