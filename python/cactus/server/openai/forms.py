"""The fields of a form as the type that names them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.datastructures import FormData, UploadFile

from cactus.server.body import split_path
from cactus.server.errors import ApiError

T = TypeVar("T")


def fields(form: FormData, kind: type[T]) -> T:
    """The texts of a form as `kind`; files are left out.

    ``name[]`` is one value of a list, ``name[key]`` one of an object. Raises ApiError naming the
    field that is wrong, or that comes twice.
    """
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            continue
        field, bracket, key = name.partition("[")
        key = key.removesuffix("]")
        known = values.setdefault(field, _empty(bracket, key))
        if known is None:
            values[field] = value
        elif bracket and not key and isinstance(known, list):
            known.append(value)
        elif key and isinstance(known, dict) and key not in known:
            known[key] = value
        else:
            raise ApiError(400, f"{name} is given twice", code="invalid_value", param=name)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message, param = split_path(str(error))
        raise ApiError(400, message, code="invalid_type", param=param) from None


def _empty(bracket: str, key: str) -> Any:
    if not bracket:
        return None
    return {} if key else []
