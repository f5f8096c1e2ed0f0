"""How a model's makers sample it: generation_config.json, else what the catalog knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cactus.errors import ModelFormatError
from cactus.inputs.checks import short
from cactus.inputs.files import read_json
from cactus.weights.locate import name_of, source_of
from cactus.weights.recommended import recommended

FILE = "generation_config.json"

# Field: the least and the most it may be. None in the file means what is left out means.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
}

# What transformers takes for a field that is left out, where a model samples.
_LEFT_OUT = {"temperature": 1.0, "top_k": 50}


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """The sampling options that a model's makers recommend; see the options of ``Model.chat``.

    `source`: "model" (its own generation_config.json), "catalog" (published values that Cactus
    knows), or "none": neither says anything, and the choice is greedy.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    source: Literal["model", "catalog", "none"] = "none"

    def options(self) -> dict[str, Any]:
        """The values by the names of their options."""
        values = asdict(self)
        del values["source"]
        return values


def read_defaults(folder: Path) -> SamplingDefaults:
    """The sampling defaults of the weights folder `folder`.

    Raises ModelFormatError naming the field of generation_config.json that is damaged.
    """
    path = folder / FILE
    generation = read_json(path) if path.exists() else {}
    fields = ("do_sample", *_RANGES)
    if any(generation.get(name) is not None for name in fields):
        return _parse(generation, str(path), "model")
    source = source_of(folder)
    # A folder of the cache has the name of its file, and one that was converted may have any.
    for name in (str(source.get("hub_id", "")), name_of(folder), str(source.get("file", ""))):
        known = recommended(name)
        if known:
            return _parse(known, name, "catalog")
    return SamplingDefaults()


def _parse(
    given: Mapping[str, Any], where: str, source: Literal["model", "catalog"]
) -> SamplingDefaults:
    samples = given.get("do_sample")
    if samples is not None and not isinstance(samples, bool):
        raise ModelFormatError(f"{where}: do_sample is {short(samples)}, expected true or false")
    values: dict[str, Any] = {}
    for name, (low, high) in _RANGES.items():
        value = given.get(name)
        if value is None:
            continue
        kinds = (int,) if name == "top_k" else (int, float)
        # Written so that NaN is refused, too.
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            kind = "an integer" if name == "top_k" else "a number"
            raise ModelFormatError(
                f"{where}: {name} is {short(value)}, expected {kind} from {low:g} to {high:g}"
            )
        values[name] = value
    if samples is None:
        # Some models give a temperature alone, and mean it.
        samples = bool(values.keys() - {"repetition_penalty"})
    if not samples:
        # transformers ignores the others then.
        kept = {name: values[name] for name in ("repetition_penalty",) if name in values}
        return SamplingDefaults(**kept, source=source)
    return SamplingDefaults(**{**_LEFT_OUT, **values}, source=source)
