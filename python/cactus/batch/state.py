"""What a job was begun with, beside its output: so that it goes on with that and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.files import naming, replace_file
from cactus.inputs.text import cut, reason_of
from cactus.inputs.values import parse_json
from cactus.inputs.versions import wrong_version

FORMAT = 1
"""Version of the file, and of the lines of the output beside it."""

SMALL = 1 << 20
"""Bytes up to which a file of a model is read whole, and the beginning of others."""


class State:
    """The file that says what an output is made of: job, input, model, and whether it is whole."""

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self._output = path, output

    def read(self) -> dict[str, Any] | None:
        """What is there, None if nothing is."""
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"{self.path}: {reason_of(error)}; --restart begins anew"
            ) from None
        try:
            found = parse_json(text, str(self.path))
        except InvalidRequest as error:
            raise InvalidRequest(f"{error}; --restart begins anew") from None
        if not isinstance(found, dict) or not isinstance(found.get("made_of"), dict):
            raise InvalidRequest(f"{self.path} is no file of a job; --restart begins anew")
        advice = "begin anew with --restart"
        if wrong := wrong_version(str(self.path), "format", found.get("format"), FORMAT, advice):
            raise InvalidRequest(wrong)
        return found

    def write(self, made_of: Mapping[str, Any], **more: Any) -> None:
        """Write it in one go; on the disk when this returns."""
        text = json.dumps(
            {"format": FORMAT, "made_of": made_of, **more}, indent=1, ensure_ascii=False
        )
        replace_file(self.path, text.encode("utf-8", "surrogatepass"), durable=True)

    def check(self, made_of: Mapping[str, Any], begun: Mapping[str, Any]) -> None:
        """InvalidRequest that says what is another than when the output was begun."""
        now = json.loads(json.dumps(made_of))
        for part in {**begun, **now}:
            if begun.get(part) != now.get(part):
                where, then, given = _difference(cut(part), begun.get(part), now.get(part))
                raise InvalidRequest(
                    f"{self._output} was begun with something else: {where} was {short(then)}, "
                    f"is {short(given)}; --restart begins anew"
                )


def _difference(name: str, then: Any, now: Any) -> tuple[str, Any, Any]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            if then.get(key) != now.get(key):
                return _difference(f"{name}: {cut(key)}", then.get(key), now.get(key))
    return name, then, now


def model_known_by(folder: Path) -> dict[str, Any]:
    """What a model is recognised by: the names, sizes and beginnings of its files."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".bin":  # those are made when it is loaded
            name = file.relative_to(folder).as_posix()
            digest.update(json.dumps([name, file.stat().st_size]).encode())
            with naming(file), file.open("rb") as stream:
                digest.update(stream.read(SMALL))
    return {"name": folder.name, "files": digest.hexdigest()}


@contextmanager
def alone(path: Path, output: Path) -> Iterator[None]:
    """While nobody else writes `output`. InvalidRequest if somebody does."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidRequest(f"another process is writing {output}") from None
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # Windows does not let go at once
            path.unlink()
