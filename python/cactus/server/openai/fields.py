"""The names that fields have here, where a model's error has those of `Model`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cactus.errors import InvalidRequest
from cactus.server.errors import ApiError, api_error

_BEGINS_WITH_FIELD = re.compile(r"(\w+)((?:\[\d+\])*)(?![\w.])")


def renamed(error: InvalidRequest, names: Mapping[str, str]) -> ApiError:
    """An error of `Model` whose text begins with one of its own names, by the field of the body.

    `names` has the field for each name; what begins otherwise stays as it is, without a field.
    """
    told = api_error(error)
    found = _BEGINS_WITH_FIELD.match(told.message)
    field = None if found is None else names.get(found[1])
    if found is None or field is None:
        return told
    param = field + found[2]
    message = param + told.message[found.end() :]
    return ApiError(told.status, message, code=told.code, param=param)
