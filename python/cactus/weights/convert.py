"""Turning a GGUF file or a Hugging Face folder into a weights folder.

Tensors stream through in pieces of a few megabytes, so memory does not grow with the model. The
folder is made under a temporary name beside the target and renamed when it is complete and on
disk: a crash leaves nothing under the final name.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.files import read_json, read_text
from cactus.inputs.partial import begin, end, sweep
from cactus.inputs.text import reason_of
from cactus.models.base import Architecture, load_architecture
from cactus.models.vision import TABLES
from cactus.progress import Progress
from cactus.tokenizer import Tokenizer
from cactus.weights import names
from cactus.weights.format.folder import FORMAT, WeightsFolder
from cactus.weights.format.layout import GROUPS
from cactus.weights.rounding.calibrate import MAX_TEXT_BYTES, OWN_TEXT, Calibration, cut, tokenize
from cactus.weights.rounding.storage import (
    PRECISIONS,
    TensorDtypes,
    all_floats,
    choose_dtype,
    precision_of,
    searched,
)
from cactus.weights.rounding.widen import widened
from cactus.weights.sources.lora import merge
from cactus.weights.sources.open import open_source
from cactus.weights.sources.source import Source, SourceTensor, as_matrix, with_offset
from cactus.weights.write import TensorReport, stored_nbytes, write_tensors
from cactus.weights.write_embedding import write_embedding, write_plain


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
    def loss(self) -> float:
        """|stored - source| / |source| over all values of the tensors that lost something."""
        power = sum(tensor.power for tensor in self.tensors)
        return math.sqrt(sum(tensor.error for tensor in self.tensors) / power) if power else 0.0

    @property
    def worst(self) -> TensorReport:
        """The tensor with the largest relative error."""
        return max(self.tensors, key=lambda tensor: tensor.relative_rms)

    @property
    def worst_output(self) -> TensorReport | None:
        """The calibrated matrix whose outputs are furthest off; None if none was calibrated."""
        measured = [tensor for tensor in self.tensors if tensor.output_rms is not None]
        return max(measured, key=lambda tensor: tensor.output_rms or 0.0, default=None)


def convert(
    source: Path | str,
    target: Path | str,
    precision: str | None = None,
    progress: Progress | None = None,
    lora: Path | str | None = None,
    origin: Mapping[str, str] | None = None,
    calibration: Path | str | None = OWN_TEXT,
    bits: float | None = None,
    mmproj: Path | str | None = None,
) -> ConversionReport:
    """Convert a `.gguf` file or a Hugging Face folder to the weights folder `target`.

    `precision` None keeps each matrix as it is where that is possible; "INT4", "INT8", "FP16" or
    "FP32" store all matrices so (INT4 keeps embedding and output matrix in 8 bits, and what is in
    4 bits as it is). Vectors and convolution kernels are always f32. An existing weights folder is
    replaced. `lora` is the folder of an adapter to merge before; `precision` None is "INT8" then.
    `origin` is what else is known of where the source comes from, and its "license"; the folder's
    config.json keeps it. For "INT4" the model reads the text `calibration`, so that errors are
    small where they count; None rounds each weight for itself. With `bits`, at most so many bits a
    weight in all, the matrices that 4 bits hurt most on that text get 8 as far as they fit.
    `mmproj` is the file with which the model of a GGUF file sees, where it is not the one beside.

    Raises `InvalidRequest` for a bad precision or calibration text and for a target that is
    something else or cannot be written, `CactusError` with figures for a full disk,
    `ModelNotFound`, `ModelFormatError`, `TokenizerError` for a tokenizer that could not be loaded
    later, or `UnsupportedModel` naming tensor and type. What `progress` raises ends the conversion
    and comes out as it is.
    """
    source, target = Path(source), Path(target).absolute()
    if precision is not None and precision not in PRECISIONS:
        raise InvalidRequest(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    text = read_text(Path(calibration), MAX_TEXT_BYTES) if calibration is not None else ""
    check_target(target)
    started = time.monotonic()
    name = (origin or {}).get("hub_id") or names.name_of_checkpoint(source)
    model = open_source(source, name, None if mmproj is None else Path(mmproj))
    try:
        if lora is not None:
            model, precision = merge(model, Path(lora), source), precision or "INT8"
        # Before anything is written: every tensor that the model needs is there, in its shape.
        architecture = load_architecture(model.config)
        architecture.check({tensor.name: tensor.shape for tensor in model.tensors})
        architecture.check_tables({table.name: table.shape for table in model.tables})
        tensors = _as_the_model_has_them(model, architecture)
    except BaseException:
        model.close()
        raise
    partial = begin(target)
    watched, need = _Watched(progress), 0
    try:
        matrices = {weight.name for weight in architecture.weights if weight.kind == "matrix"}
        # What makes no logits of a text is not made better by reading one.
        reads = architecture.build_encoder() is None and not architecture.encodes
        wide = all_floats(tensors) and not architecture.encodes
        dtypes = [  # refuses unreadable ones
            choose_dtype(each, precision, calibrated=reads, wide=wide) for each in tensors
        ]
        stored: TensorDtypes = [
            (each, dtype if each.name in matrices else "plain")
            for each, dtype in zip(tensors, dtypes, strict=True)
        ]
        label = precision or precision_of(stored)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        partial.mkdir()
        need = _stored_nbytes(stored)
        _check_room(partial, need)
        _write_small_files(model, partial, label, origin or {})
        if model.embedding is not None:
            write_embedding(model.embedding, architecture.config, partial)
        if model.tables:
            write_plain(model.tables, partial / TABLES)
        # A model that cannot be loaded afterwards is refused before its weights are written.
        Tokenizer.load(partial, str(source))
        calibrated = None
        if precision == "INT4" and text and reads:
            calibrated = _calibration(text, partial, architecture, stored)
            if calibrated is not None and bits is not None:
                stored = widened(stored, calibrated, bits)
                kept = {tensor.name for tensor, dtype in stored if searched(tensor, dtype)}
                groups = {n: g for n, g in calibrated.groups.items() if n in kept}
                calibrated = replace(calibrated, groups=groups)
            need = _stored_nbytes(stored)
            _check_room(partial, need)
        path, task = partial / "model.safetensors", f"converting {name}"
        reports = write_tensors(stored, path, task, watched, calibrated)
        WeightsFolder.open(partial).close()
        nbytes = sum(file.stat().st_size for file in partial.iterdir())
        _publish(partial, target)
    except OSError as error:
        if error is watched.failure:
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            end(partial)
            raise _full_disk(target, need) from error
        raise InvalidRequest(f"{target}: cannot be written: {reason_of(error)}") from error
    finally:
        model.close()
        end(partial)
    parameters = sum(math.prod(report.shape) for report in reports)
    took = time.monotonic() - started
    return ConversionReport(target, label, tuple(reports), parameters, nbytes, took, model.notes)


def _stored_nbytes(tensors: TensorDtypes) -> int:
    return sum(stored_nbytes(tensor, dtype) for tensor, dtype in tensors)


def _check_room(folder: Path, need: int) -> None:
    """`OSError`, as a write would raise it, where the disk of `folder` has fewer bytes."""
    if need > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _full_disk(target: Path, need: int) -> CactusError:
    free = shutil.disk_usage(next(path for path in target.parents if path.exists())).free
    return CactusError(
        f"{target}: the disk is full: {need / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are "
        "free; nothing was kept. Make room, choose a folder on another disk, or a smaller precision"
    )


def _calibration(
    text: str, folder: Path, architecture: Architecture, tensors: TensorDtypes
) -> Calibration | None:
    """What rounds the matrices that are searched for, if there are any."""
    groups = {tensor.name: GROUPS[dtype] for tensor, dtype in tensors if searched(tensor, dtype)}
    if not groups:
        return None
    config = architecture.config
    start, ids = tokenize(text, folder, config.vocab_size)
    return Calibration(
        architecture.build(),
        {tensor.name: tensor for tensor, _ in tensors},
        cut(ids, start, config.context_length),
        groups,
    )


def _as_the_model_has_them(model: Source, architecture: Architecture) -> tuple[SourceTensor, ...]:
    """The tensors that are asked for, as the model multiplies with them.

    The offsets of norms are in those of a GGUF file already.
    """
    weights = {weight.name: weight for weight in architecture.weights}
    tensors = []
    for tensor in model.tensors:
        weight = weights.get(tensor.name)
        if weight is None:
            continue  # redundant, as `check` has found
        if weight.offset and model.origin["format"] != "gguf":
            tensor = with_offset(tensor, weight.offset)
        tensors.append(as_matrix(tensor) if weight.taps > 1 else tensor)
    return tuple(tensors)


class _Watched:
    """The caller's progress function; remembers its own failure: that is not a failure to write."""

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


def check_target(target: Path) -> None:
    """Raises `InvalidRequest`: only a weights folder or an empty folder may be replaced."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise InvalidRequest(f"{target} exists and is not a folder; choose another target")
    if not any(target.iterdir()):
        return
    try:
        own = "cactus" in read_json(target / "config.json")
    except CactusError:
        own = False
    if not own:
        raise InvalidRequest(f"{target} exists and is not a weights folder; choose another target")


def _publish(partial: Path, target: Path) -> None:
    """Sync everything and give the folder its name; readers of an old one keep their files."""
    for entry in (*partial.iterdir(), partial):
        _sync(entry)
    old = begin(target, "old")
    try:
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        end(old)
        raise
    end(old)
    _sync(target.parent)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folder as a file
        return
    # and flushes only what may be written.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_small_files(
    model: Source, folder: Path, precision: str, origin: Mapping[str, str]
) -> None:
    own: dict[str, Any] = {"format": FORMAT, "precision": precision}
    license = model.license or origin.get("license")
    source = {key: value for key, value in origin.items() if key != "license"}
    own |= {"source": {**model.origin, **source}}
    if model.embedding is not None and model.embedding.use is not None:
        own["use"] = model.embedding.use
    if license:
        own["license"] = license
    _write_json(folder / "config.json", model.config | {"cactus": own})
    _write_json(folder / "generation_config.json", model.generation)
    if model.chat_template is not None:
        (folder / "chat_template.jinja").write_text(model.chat_template, "utf-8", newline="")
    model.write_tokenizer(folder)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
