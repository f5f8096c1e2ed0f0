"""Python functions as tools: their signature, type hints and docstring become the definition."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.checks import text
from cactus.inputs.values import shown
from cactus.schemas.docstrings import parse_docstring
from cactus.schemas.kinds import Definitions, Schema
from cactus.schemas.objects import Field, Record
from cactus.schemas.resolve import hints_of, kind_of


class Tool:
    """A Python function that a model may call.

    Its name, type hints and docstring (Google's, NumPy's or Sphinx's form) say what the model is
    told; `name` and `description` replace those of the function. Raises InvalidRequest naming the
    parameter whose type JSON has nothing for.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidRequest(f"a tool is made of a function, got {shown(function)}")
        self.function = function
        inner = _inner(function)
        self.name: str = text("name", name) if name is not None else _name_of(inner)
        if self.name == "<lambda>":
            raise InvalidRequest("a lambda has no name: give Tool(function, name=...)")
        doc = parse_docstring(inspect.getdoc(inner) if hasattr(inner, "__name__") else None)
        self.description: str = (
            doc.description if description is None else text("description", description)
        )
        self._parameters = _parameters(function, self.name)
        fields = _fields(function, self.name, self._parameters, doc.parameters)
        self._arguments = Record(self, self.name, lambda: fields, dict, closed=False)
        defs = Definitions()
        schema = self._arguments.schema(defs)
        self.parameters: Schema = {**schema, "$defs": defs.schemas} if defs.schemas else schema
        """The JSON schema of its arguments."""

    def __repr__(self) -> str:
        return f"<Tool {self.name}({', '.join(self._arguments.fields)})>"

    @property
    def definition(self) -> dict[str, Any]:
        """What a model is told, in OpenAI's form."""
        described = {"description": self.description} if self.description else {}
        return {
            "type": "function",
            "function": {"name": self.name, **described, "parameters": self.parameters},
        }

    def bind(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        """JSON arguments as the function takes them, objects of the declared types.

        Raises InvalidRequest naming the argument that is missing, unknown or does not fit.
        """
        values = self._arguments.build(dict(arguments), self.name)
        positional: list[Any] = []
        for name, parameter in self._parameters.items():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(values.pop(name, parameter.default))
        signature = inspect.Signature(list(self._parameters.values()))
        return signature.bind(*positional, **values)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)


def tool_of(given: Any) -> Tool | None:
    """The tool of a Python function, or None for what is not one, such as a dict."""
    if isinstance(given, Tool):
        return given
    return Tool(given) if callable(given) else None


def _inner(function: Any) -> Any:
    """The function below what was set beforehand with ``functools.partial``."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def _parameters(function: Any, name: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # many that are not written in Python do not tell
        raise InvalidRequest(
            f"{name}: its parameters are not known; give the tool a function of yours that calls it"
        ) from None


def _fields(
    function: Any,
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    texts: Mapping[str, str],
) -> dict[str, Field]:
    set_before = function.keywords if isinstance(function, functools.partial) else {}
    inner = _inner(function)
    if inspect.isfunction(getattr(inner, "__wrapped__", None)):
        inner = inner.__wrapped__  # such as a cache around a function
    plain = inspect.isfunction(inner) or inspect.ismethod(inner) or inspect.isclass(inner)
    hinted = inner if plain else type(inner).__call__
    hints = hints_of(hinted.__init__ if inspect.isclass(hinted) else hinted)
    found = {}
    for each, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise InvalidRequest(
                f"{name}: a model cannot be told of {stars}{each}; give the tool a function with "
                "named parameters"
            )
        if each in set_before:
            continue
        given = parameter.default is not parameter.empty
        found[each] = Field(
            kind_of(hints.get(each, Any), f"{name}.{each}"),
            required=not given,
            default=parameter.default if given else None,
            description=texts.get(each),
        )
    return found
