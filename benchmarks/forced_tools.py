"""The tools of forced_calls.py: twenty schemas that differ in what they ask for."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}


def _object(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 10},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "get_weather": _object(location=TEXT),
    "get_time": _object(),
    "set_alarm": _object(
        ["hour"], hour={"type": "integer", "minimum": 0, "maximum": 23}, note=TEXT
    ),
    "set_light": _object(room={"enum": ["kitchen", "bath", "Küche"]}, on={"type": "boolean"}),
    "convert": _object(amount=NUMBER, source={"const": "EUR"}, target={"enum": ["USD", "JPY"]}),
    "send": _object(
        ["to"],
        to={"type": "array", "items": TEXT, "minItems": 1},
        body=TEXT,
        urgent={"type": "boolean"},
    ),
    "book": _object(
        guest=_object(["name"], name=TEXT, age={"type": "integer", "minimum": 0, "maximum": 120}),
        nights={"type": "integer", "minimum": 1, "maximum": 30},
    ),
    "tag": _object(tags={"type": "array", "items": {"enum": ["a", "b", "ü"]}, "maxItems": 4}),
    "plate": _object(number={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    "colour": _object(code={"type": "string", "pattern": "^#[0-9a-f]{6}$"}, name=TEXT),
    "remind": _object(
        day={"type": "string", "format": "date"}, text={"type": "string", "minLength": 1}
    ),
    "score": _object(points={"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
    "pick": _object(
        value={"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}, {"type": "null"}]}
    ),
    "optional": _object([], first=TEXT, second={"type": "integer"}, third={"type": "boolean"}),
    "grow": {**_object(tree={"$ref": "#/$defs/node"}), "$defs": TREE["$defs"]},
    "matrix": _object(
        rows={
            "type": "array",
            "items": {"type": "array", "items": NUMBER, "maxItems": 3},
            "maxItems": 3,
        }
    ),
    "pair": _object(
        values={
            "type": "array",
            "prefixItems": [TEXT, {"type": "integer"}],
            "items": False,
            "minItems": 2,
        }
    ),
    "über": _object(größe={"type": "integer", "minimum": -5, "maximum": 5}, straße=TEXT),
    "map": _object(
        counts={"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3}
    ),
    "step": _object(
        size={"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
        kind={"type": ["string", "null"]},
    ),
}

TOOLS: list[dict[str, Any]] = [
    {"name": name.replace("ü", "ue"), "description": f"Does {name}.", "parameters": parameters}
    for name, parameters in PARAMETERS.items()
]

ASKS = (
    "Do it, please.",
    "What is the weather in Paris?",
    "Wake me at seven o'clock.",
    'Switch on the light in the kitchen, and say "hello".',
    "Convert 20 euros.",
    "Tell Anna and Bob that I am late.\nIt is urgent.",
    "Book two nights for Jürgen, who is 44.",
    "Ich möchte etwas anderes: Straße, Größe, 東京.",
    "Call the tool with everything you can.",
    "12345",
)
"""What the user says."""
