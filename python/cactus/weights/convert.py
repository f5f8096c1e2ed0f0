"""Turning a GGUF file or a Hugging Face folder into a weights folder.

Tensors stream through in pieces of a few megabytes, so memory does not grow with the model. The
folder is made under a temporary name beside the target and renamed when it is complete and on
disk: a crash leaves nothing under the final name.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.errors import CactusError, InvalidRequest, ModelFormatError, UnsupportedModel
from cactus.models.base import load_architecture
from cactus.weights import tiles
from cactus.weights.files import read_json
from cactus.weights.folder import FORMAT, WeightsFolder
from cactus.weights.gguf_blocks import DEQUANTIZE, Q4_KINDS, dequantize, q4_codes, q8_codes
from cactus.weights.layout import GROUPS, tile_nbytes
from cactus.weights.quantize import F16_MAX, quantize_q4, quantize_q8
from cactus.weights.safetensors import SafetensorsWriter
from cactus.weights.sources import Source, SourceTensor, open_source

PRECISIONS = ("INT4", "INT8", "FP16", "FP32")
PIECE = 1 << 18
"""Values converted at a time: a megabyte of f32, so that the working set stays near the caches."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, bytes done, bytes in all) after each piece."""

# The format that keeps a source format exactly, or the nearest one that is not worse.
_LOSSLESS = {"Q4_0": "q4_0", "Q4_1": "q4", "Q8_0": "q8"}
_LOSSLESS |= {"F16": "f16", "BF16": "bf16", "F32": "f32"}
_NEAREST = {"Q4_K": "q4", "Q5_0": "q8", "Q5_1": "q8", "Q5_K": "q8", "Q6_K": "q8"}
_PRECISION_DTYPE = {"INT4": "q4_64", "INT8": "q8", "FP16": "f16", "FP32": "f32"}
_DTYPE_PRECISION = {"q4": "INT4", "q4_64": "INT4", "q4_0": "INT4", "q8": "INT8"}
_DTYPE_PRECISION |= {"f16": "FP16", "bf16": "FP16", "f32": "FP32"}

# Rows of these are read one at a time or decide every token; 4 bits show there first.
_KEEP_8_BIT = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class TensorReport:
    """One converted tensor; `relative_rms` is |stored - source| / |source|, 0 when lossless."""

    name: str
    source_type: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    relative_rms: float

    @property
    def bits_per_weight(self) -> float:
        """Bits stored for each value, scales included."""
        return 8 * self.nbytes / math.prod(self.shape)


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` made: sizes in bytes, `seconds` of wall clock, `notes` for the user."""

    target: Path
    precision: str
    tensors: tuple[TensorReport, ...]
    parameters: int
    nbytes: int
    seconds: float
    notes: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float:
        """Bits stored for each parameter, over all tensors."""
        return 8 * sum(tensor.nbytes for tensor in self.tensors) / self.parameters

    @property
    def worst(self) -> TensorReport:
        """The tensor with the largest relative error."""
        return max(self.tensors, key=lambda tensor: tensor.relative_rms)


def convert(
    source: Path | str,
    target: Path | str,
    precision: str | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a `.gguf` file or a Hugging Face folder to the weights folder `target`.

    `precision` None keeps each matrix as it is where that is possible; "INT4", "INT8", "FP16" or
    "FP32" store all matrices so (INT4 keeps embedding and output matrix in 8 bits, and what is in
    4 bits as it is). Vectors and convolution kernels are always f32. An existing weights folder is
    replaced.

    Raises `InvalidRequest` for a bad precision and for a target that is something else or cannot
    be written (a full disk), `ModelNotFound`, `ModelFormatError`, or `UnsupportedModel` naming
    tensor and type. What `progress` raises ends the conversion and comes out as it is.
    """
    source, target = Path(source), Path(target).absolute()
    if precision is not None and precision not in PRECISIONS:
        raise InvalidRequest(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    _check_target(target)
    started = time.monotonic()
    model = open_source(source)
    try:
        # Before anything is written: every tensor that the model needs is there, in its shape.
        architecture = load_architecture(model.config)
        architecture.check({tensor.name: tensor.shape for tensor in model.tensors})
    except BaseException:
        model.close()
        raise
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    watched = _Watched(progress)
    try:
        plan = [(tensor, _storage(tensor, precision)) for tensor in model.tensors]
        label = precision or _label(plan)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        partial.mkdir()
        _write_small_files(model, partial, label)
        reports = _write_tensors(
            plan, partial / "model.safetensors", f"converting {source.name}", watched
        )
        WeightsFolder.open(partial).close()
        nbytes = sum(file.stat().st_size for file in partial.iterdir())
        _publish(partial, target)
    except OSError as error:
        if error is watched.failure:
            raise
        raise InvalidRequest(f"{target}: cannot be written: {error}") from error
    finally:
        model.close()
        shutil.rmtree(partial, ignore_errors=True)
    parameters = sum(math.prod(report.shape) for report in reports)
    seconds = time.monotonic() - started
    return ConversionReport(target, label, tuple(reports), parameters, nbytes, seconds, model.notes)


class _Watched:
    """The caller's progress function; remembers its own failure, which is no failure to write."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.failure: BaseException | None = None

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._progress:
            try:
                self._progress(label, done, total)
            except BaseException as error:
                self.failure = error
                raise


def _check_target(target: Path) -> None:
    """Only a weights folder or an empty folder may be replaced."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise InvalidRequest(f"{target} exists and is no folder; choose another target")
    if not any(target.iterdir()):
        return
    try:
        own = "cactus" in read_json(target / "config.json")
    except CactusError:
        own = False
    if not own:
        raise InvalidRequest(f"{target} exists and is no weights folder; choose another target")


def _remove_leftovers(target: Path) -> None:
    """Remove what conversions to the same target left when they were killed."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"(?:partial|old)-(\d+)-[0-9a-f]{8}")
    for entry in target.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _publish(partial: Path, target: Path) -> None:
    """Sync everything and give the folder its name; readers of an old one keep their files."""
    for entry in (*partial.iterdir(), partial):
        _sync(entry)
    old = target.with_name(partial.name.replace(".partial-", ".old-"))
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage(tensor: SourceTensor, precision: str | None) -> str:
    """The dtype a tensor is stored in; "plain" for what is no matrix."""
    if tensor.kind not in DEQUANTIZE:
        raise UnsupportedModel(
            f"tensor {tensor.name!r} has the type {tensor.kind}, which cannot be converted; "
            f"supported: {', '.join(sorted(DEQUANTIZE))}"
        )
    if len(tensor.shape) != 2 or tensor.name.endswith(".conv.weight"):
        return "plain"
    if precision is None:
        wanted = _LOSSLESS.get(tensor.kind) or _NEAREST.get(tensor.kind, "q4")
    else:
        wanted = _PRECISION_DTYPE[precision]
        if precision == "INT4" and tensor.kind in Q4_KINDS:
            wanted = _LOSSLESS.get(tensor.kind, "q4")
        elif precision == "INT4" and tensor.name.endswith(_KEEP_8_BIT):
            wanted = "q8"
    if wanted == "q4_64" and tensor.shape[1] % GROUPS[wanted]:
        wanted = "q4"
    if wanted in GROUPS and tensor.shape[1] % GROUPS[wanted]:
        return "f16"
    return wanted


def _label(plan: list[tuple[SourceTensor, str]]) -> str:
    """The precision most values are stored in."""
    counts: Counter[str] = Counter()
    for tensor, dtype in plan:
        if dtype != "plain":
            counts[_DTYPE_PRECISION[dtype]] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else "FP32"


def _write_small_files(model: Source, folder: Path, precision: str) -> None:
    own = {"format": FORMAT, "precision": precision, "source": model.origin}
    _write_json(folder / "config.json", model.config | {"cactus": own})
    _write_json(folder / "generation_config.json", model.generation)
    if model.chat_template is not None:
        (folder / "chat_template.jinja").write_text(model.chat_template, "utf-8", newline="")
    model.write_tokenizer(folder)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _write_tensors(
    plan: list[tuple[SourceTensor, str]], path: Path, label: str, progress: Progress
) -> list[TensorReport]:
    described = {
        tensor.name: {"dtype": dtype, "shape": list(tensor.shape)}
        for tensor, dtype in plan
        if dtype != "plain"
    }
    infos: list[tuple[str, str, tuple[int, ...]]] = [
        (tensor.name, "F32", tensor.shape)
        if dtype == "plain"
        else (tensor.name, "U8", (tile_nbytes(dtype, *tensor.shape),))
        for tensor, dtype in plan
    ]
    metadata = {"format": "pt", "cactus": json.dumps({"format": FORMAT, "tensors": described})}
    total = sum(tensor.nbytes for tensor, _ in plan)
    done = 0
    reports = []
    with SafetensorsWriter(path, infos, metadata) as writer:
        for tensor, dtype in plan:
            writer.begin(tensor.name)
            rows = math.prod(tensor.shape[:-1])
            step = max(1, PIECE // tensor.shape[-1] // tensor.unit) * tensor.unit
            meter = _Meter(tensor.name)
            written = 0
            for start in range(0, rows, step):
                raw = tensor.rows(start, min(start + step, rows))
                packed = _encode(tensor, dtype, raw, meter)
                writer.write(packed)
                written += packed.nbytes
                done += raw.nbytes
                progress(label, done, total)
            kind = "f32" if dtype == "plain" else dtype
            reports.append(
                TensorReport(
                    tensor.name, tensor.kind, kind, tensor.shape, written, meter.relative_rms
                )
            )
    return reports


class _Meter:
    """Sums up what a tensor loses, and refuses values that no model can use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._error = 0.0
        self._power = 0.0

    def check(self, values: NDArray[Any]) -> None:
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise ModelFormatError(
                f"tensor {self._name!r} holds {bad} values or scales that are NaN or infinite; "
                "the file is damaged"
            )

    def compare(self, values: tiles.F32, stored: tiles.F32) -> None:
        error = (stored - values).reshape(-1)
        flat = values.reshape(-1)
        self._error += float(np.dot(error, error))
        self._power += float(np.dot(flat, flat))

    @property
    def relative_rms(self) -> float:
        return math.sqrt(self._error / self._power) if self._power else 0.0


def _encode(tensor: SourceTensor, dtype: str, raw: tiles.U8, meter: _Meter) -> NDArray[Any]:
    """The bytes that store some rows of a tensor: lossless where the formats agree."""
    kind = tensor.kind
    if dtype == "q4" and kind in Q4_KINDS:
        codes, scales, minima = q4_codes(kind, raw)
        meter.check(scales)
        meter.check(minima)
        if kind not in _LOSSLESS:
            meter.compare(dequantize(kind, raw), tiles.dequantize_q4(codes, scales, minima))
        return tiles.pack_q4(codes, scales, minima)
    if dtype == "q4_0":
        codes, scales, _ = q4_codes(kind, raw)
        meter.check(scales)
        return tiles.pack_q4(codes, scales)
    if dtype == "q8" and kind == "Q8_0":
        signed, scales = q8_codes(raw)
        meter.check(scales)
        return tiles.pack_q8(signed, scales)
    values = dequantize(kind, raw)
    meter.check(values)
    if dtype == "plain":
        return np.ascontiguousarray(values)
    if dtype == "f32":
        return tiles.pack_plain(values)
    if dtype == "bf16":
        return tiles.pack_plain(raw.view(np.uint16))
    try:
        return _encode_lossy(dtype, values, meter)
    except OverflowError:
        raise UnsupportedModel(
            f"tensor {tensor.name!r} has values up to {float(np.abs(values).max()):g}, beyond "
            f"f16's {F16_MAX:g}; convert with precision FP32"
        ) from None


def _encode_lossy(dtype: str, values: tiles.F32, meter: _Meter) -> NDArray[Any]:
    if dtype in ("q4", "q4_64"):
        codes, scales, minima = quantize_q4(values, GROUPS[dtype])
        meter.compare(values, tiles.dequantize_q4(codes, scales, minima))
        return tiles.pack_q4(codes, scales, minima)
    if dtype == "q8":
        signed, scales = quantize_q8(values)
        meter.compare(values, tiles.dequantize_q8(signed, scales))
        return tiles.pack_q8(signed, scales)
    if float(np.abs(values).max(initial=0)) >= F16_MAX + 16:
        raise OverflowError
    half = values.astype(np.float16)
    meter.compare(values, half.astype(np.float32))
    return tiles.pack_plain(half)
