"""What is done with each row: a job, from a file or from options, checked before a model is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cactus.batch.works import KINDS
from cactus.batch.works.work import Work
from cactus.errors import InvalidRequest
from cactus.grammar.formats import read_schema
from cactus.inputs.checks import expected, known
from cactus.inputs.files import read_text
from cactus.inputs.values import clean, parse_json

LARGEST = 16 << 20
"""Bytes of a job file at most."""


@dataclass(frozen=True)
class Job:
    """What is done with each row: `kind` is a name such as "chat", `fields` are what it takes.

    `options` are those of the model's method. Raises InvalidRequest naming the field.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidRequest(expected("job", " or ".join(map(repr, KINDS)), self.kind))
        self.work()

    def work(self) -> Work:
        """What does it."""
        return KINDS[self.kind](self.fields, self.options)

    def to_dict(self) -> dict[str, Any]:
        """The job as a file of it has it."""
        return {"job": self.kind, **self.fields, "options": dict(self.options)}

    @classmethod
    def parse(cls, raw: Any, where: str = "job") -> Job:
        """The job of an object: `job` (its kind), its fields, `options`."""
        if not isinstance(raw, Mapping):
            raise InvalidRequest(expected(where, "an object with the key 'job'", raw))
        fields = {name: value for name, value in raw.items() if value is not None}
        kind, options = fields.pop("job", None), fields.pop("options", {})
        if kind not in KINDS:
            wanted = " or ".join(map(repr, KINDS))
            raise InvalidRequest(expected(f"{where}: 'job'", wanted, kind))
        if not isinstance(options, Mapping):
            raise InvalidRequest(expected(f"{where}: 'options'", "an object", options))
        try:
            known(fields, KINDS[kind].FIELDS)
            return cls(kind, clean(fields, "job"), clean(dict(options), "options"))
        except InvalidRequest as error:
            raise InvalidRequest(f"{where}: {error}") from None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Job:
        """The job of a JSON or TOML file; a `schema` may be the name of a file beside it."""
        file = Path(path)
        text = read_text(file, LARGEST)
        raw = _toml(text, file) if file.suffix.lower() == ".toml" else parse_json(text, str(file))
        if isinstance(raw, dict) and isinstance(raw.get("schema"), str):
            raw["schema"] = read_schema(file.parent / raw["schema"])
        return cls.parse(raw, str(file))


def named_job(job: Job | Mapping[str, Any] | str | os.PathLike[str]) -> Job:
    """A job from whatever stands for one: itself, an object, the name of a kind, a file."""
    if isinstance(job, Job):
        return job
    if isinstance(job, Mapping):
        return Job.parse(job)
    if isinstance(job, str) and job in KINDS:
        return Job(job)
    if Path(job).suffix.lower() in (".json", ".toml"):
        return Job.read(job)
    raise InvalidRequest(
        expected("job", f"{', '.join(KINDS)}, or a file that ends in .json or .toml", str(job))
    )


def _toml(text: str, file: Path) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidRequest(f"{file}: not TOML: {error}") from None
    raise InvalidRequest(f"{file}: TOML needs Python 3.11; write the job as JSON")
