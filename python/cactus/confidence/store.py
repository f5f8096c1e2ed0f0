"""The calibration of a model in its weights folder."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from cactus.confidence.calibration import Calibration, parse_calibration
from cactus.errors import CactusError, ModelFormatError
from cactus.inputs.fields import Fields
from cactus.inputs.files import JSON_LIMIT, RegularFile, find_json, replace_file
from cactus.inputs.text import reason_of
from cactus.inputs.versions import wrong_version

FILE = "calibration.json"
FORMAT = 1

log = logging.getLogger("cactus.confidence")


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration in a weights folder; None where there is none.

    Raises ModelFormatError, naming the field, for a damaged file and for one of other weights.
    """
    path = folder / FILE
    raw = find_json(path)
    if raw is None:
        return None
    fields = Fields(raw, str(path))
    found = fields.integer("format", 0, 2**31 - 1)
    advice = "run `cactus calibrate` again"
    if wrong := wrong_version(str(path), "calibration format", found, FORMAT, advice):
        raise ModelFormatError(wrong)
    if raw.get("model") != identity(folder):
        raise ModelFormatError(
            f"{path} was made for other weights than those beside it; "
            "run `cactus calibrate` again, or delete it"
        )
    return parse_calibration(fields)


def find_calibration(folder: Path) -> Calibration | None:
    """`read_calibration`; one that cannot be used is left out, and the log says why.

    A model answers without it, too: it is no reason not to load.
    """
    try:
        return read_calibration(folder)
    except ModelFormatError as error:
        log.warning("%s; confidence is not calibrated", error)
        return None


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Store a calibration in a weights folder, whole or not at all; the file.

    Raises CactusError where the folder cannot be written.
    """
    path = folder / FILE
    content = {"format": FORMAT, "model": identity(folder), **calibration.to_dict()}
    try:
        replace_file(path, json.dumps(content, indent=1).encode(), durable=True)
    except OSError as error:
        raise _unwritable(path, reason_of(error)) from error
    return path


def check_writable(folder: Path) -> None:
    """Raises CactusError where `write_calibration` would."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder / FILE, "no permission")


def _unwritable(path: Path, why: str) -> CactusError:
    return CactusError(
        f'cannot write "{path}": {why}; copy the model\'s folder to where you may write, and '
        "calibrate it there"
    )


def remove_calibration(folder: Path) -> bool:
    """Delete the calibration of a weights folder; whether there was one."""
    path = folder / FILE
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CactusError(f'cannot delete "{path}": {reason_of(error)}') from error
    return True


def identity(folder: Path) -> dict[str, Any]:
    """What tells these weights from others: their precision, size, and digests.

    They are of the tensors' names, types and shapes, and of samples of their values.
    """
    from cactus.weights.locate import describe
    from cactus.weights.sources.origin import describe_file

    file = RegularFile(folder / "model.safetensors")
    try:
        header = 8 + min(int.from_bytes(file.read(0, 8), "little"), JSON_LIMIT)
        found = describe_file(file, min(header, file.size))
    finally:
        file.close()
    del found["file"]
    return {"precision": describe(folder).get("precision"), **found}
