"""Tool definitions, checked and brought into OpenAI's form."""

from __future__ import annotations

import re
from typing import Any

from cactus.chat.schema import check_schema
from cactus.errors import InvalidRequest
from cactus.inputs.values import clean, parse_json, shown

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_MAX_TOOLS = 10_000


def validate_tools(tools: Any) -> list[dict[str, Any]]:
    """Tools as ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    ``tools``: None, a list, or a JSON string of one. The flat form ``{"name", "description",
    "parameters"}`` is accepted; missing parameters become an object without properties. Raises
    InvalidRequest naming the field (``tools[3].parameters.required``).
    """
    if tools is None:
        return []
    if isinstance(tools, str):
        tools = parse_json(tools, "tools")
    if not isinstance(tools, (list, tuple)):
        raise InvalidRequest(f"tools: expected a list of tool definitions, got {shown(tools)}")
    if len(tools) > _MAX_TOOLS:
        raise InvalidRequest(f"tools: expected at most {_MAX_TOOLS} tools, got {len(tools)}")
    checked = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    first: dict[str, int] = {}
    for index, tool in enumerate(checked):
        name = tool["function"]["name"]
        if first.setdefault(name, index) != index:
            raise InvalidRequest(
                f"tools[{index}].name: {name!r} is the name of tools[{first[name]}] too; "
                "expected unique names"
            )
    return checked


def _tool(tool: Any, name: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{name}: expected an object with a name, got {shown(tool)}")
    kind = tool.get("type", "function")
    if kind != "function":
        raise InvalidRequest(f"{name}.type: expected 'function', got {shown(kind)}")
    flat = "function" not in tool
    place = name if flat else f"{name}.function"
    function = clean(tool if flat else tool["function"], place)
    if not isinstance(function, dict):
        raise InvalidRequest(f"{place}: expected an object with a name, got {shown(function)}")
    function.pop("type", None)
    given = function.pop("name", None)
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise InvalidRequest(
            f"{place}.name: expected 1 to 128 letters, digits, '_', '-', '.', ':' or '/', "
            f"got {shown(given)}"
        )
    description = function.pop("description", None)
    if description is not None and not isinstance(description, str):
        raise InvalidRequest(f"{place}.description: expected a string, got {shown(description)}")
    parameters = function.pop("parameters", None)
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    _check_parameters(parameters, f"{place}.parameters")
    checked: dict[str, Any] = {"name": given}
    if description is not None:
        checked["description"] = description
    return {"type": "function", "function": {**checked, "parameters": parameters, **function}}


def _check_parameters(schema: Any, name: str) -> None:
    """A JSON schema of an object."""
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{name}: expected a JSON schema object, got {shown(schema)}")
    check_schema(schema, name)
    if schema.get("type", "object") != "object":
        raise InvalidRequest(f"{name}.type: expected 'object', got {shown(schema['type'])}")
