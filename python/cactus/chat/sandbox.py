"""A place to run a model's own Jinja template, which is somebody else's code.

Jinja's immutable sandbox keeps it away from Python. What that leaves open is closed here: no
loader and no way to name another template, limits on loop steps, time, the size of every value
and the sum of them, and only those filters and methods whose cost is known beforehand.
The rest is the environment that Hugging Face gives to chat templates.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from string import Formatter
from typing import Any, TypeVar

from jinja2 import Template, ext, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from cactus.chat.budget import CHARACTERS_PER_ITEM, MAX_BITS, MAX_WIDTH, Budget
from cactus.chat.traced import Traced, join, trusted
from cactus.inputs.text import cut

STRING_METHODS = frozenset(
    (
        *("capitalize", "casefold", "center", "count", "endswith", "find", "format", "index"),
        *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower"),
        *("isnumeric", "isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower"),
        *("lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex"),
        *("rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith"),
        *("strip", "swapcase", "title", "upper", "zfill"),
    )
)
"""The methods of strings whose cost is known beforehand."""

_SCALARS = frozenset({str, Traced, int, float, bool, type(None)})


_T = TypeVar("_T")


class _Generator(CodeGenerator):
    """Compiles a template so that its literals are traced and its operations are charged."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, str):
            self.write(f"environment.literal({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.literal({''.join(map(str, group))!r})"

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
            return
        self.write("environment.concat_values((")
        for item in node.nodes:
            self.visit(item, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.slice(")
        self.visit(node.node, frame)
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
        self.write(")")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(environment.measured(")
        self.visit(node.expr, frame)
        self.write(")")
        for operand in node.ops:
            self.visit(operand, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {_OPERATORS[node.op]} environment.measured(")
        self.visit(node.expr, frame)
        self.write(")")


_OPERATORS = {"eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<="} | {
    "in": "in",
    "notin": "not in",
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all chat templates. A rendering runs inside ``with_budget``."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self.measured,
            extensions=[ext.loopcontrols, _GenerationTag],
        )
        self._local = threading.local()
        self.literal = lru_cache(4096)(trusted)
        self.globals = {name: self.globals[name] for name in ("range", "cycler", "joiner")} | {
            "dict": _make_dict,
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }
        self.filters = {_TICK: _tick}

    def add_filters(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        """Let templates use these filters; what they take and give is charged to the budget."""
        self.filters |= {name: self._charged(function) for name, function in filters.items()}

    @property
    def budget(self) -> Budget:
        """The budget of the rendering that runs in this thread."""
        return getattr(self._local, "budget", None) or Budget()

    def with_budget(self, budget: Budget, run: Callable[[], _T]) -> _T:
        """The result of ``run``, which may use no more than ``budget``."""
        self._local.budget = budget
        try:
            return run()
        finally:
            self._local.budget = None

    def load_source(self, source: str) -> tuple[Template, set[str]]:
        """Compile a template; returns it and the names of all variables it reads.

        Raises what jinja2 raises; ``lineno`` tells where.
        """
        tree = self.parse(source)
        for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise TemplateSyntaxError(
                f"{type(node).__name__.lower()} is not allowed: a chat template stands alone",
                node.lineno,
            )
        blocks: list[Any] = list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)))
        for block in blocks:
            tick = nodes.Filter(nodes.Const(None), _TICK, [], [], None, None)
            block.body.insert(0, nodes.ExprStmt(tick).set_lineno(block.lineno))
        # literal expressions are evaluated while a template is compiled
        code = self.with_budget(
            Budget(), lambda: self.compile(tree, filename="chat_template.jinja")
        )
        template = self.template_class.from_code(self, code, self.make_globals(None))
        return template, {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"}

    # -- what compiled templates call ---------------------------------------------------------

    def concat(self, pieces: Iterable[str]) -> str:
        """Join the output of a macro, a block or the template."""
        texts = []
        size = 0
        budget = self.budget
        for text in pieces:
            texts.append(text)
            size += len(text)
            if size > budget.value:
                break
        budget.charge(size)
        return join(texts)

    def concat_values(self, values: Iterable[Any]) -> str:
        """``a ~ b``: values as text, joined."""
        return self.concat([str(self.measured(value)) for value in values])

    def measured(self, value: Any) -> Any:
        """A value that is about to become text or to be compared."""
        if type(value) not in _SCALARS:
            self.budget.measure(value)
        return value

    def slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """``value[start:stop:step]``"""
        result = value[start:stop:step]
        self._charge_result(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``+``, ``*``, ``**`` and ``%``, once their result is known to be of bearable size."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            if type(left) in _SCALARS and type(right) in _SCALARS:
                return self.concat((left, right))
            self.budget.charge(5 * (len(left) + len(right)))  # Markup escapes the other
        elif operator == "+" and isinstance(left, (list, tuple)) and type(right) is type(left):
            self.budget.charge(CHARACTERS_PER_ITEM * (len(left) + len(right)))
        elif operator == "*":
            self._charge_product(left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * max(right, 0) > MAX_BITS:
                raise SecurityError(f"it computes a number of more than {MAX_BITS} bits")
        elif operator == "%" and isinstance(left, str):
            values = right if isinstance(right, tuple) else (right,)
            self.check_percent(left, values)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.budget.step()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = __obj.__name__
            if name == "join":
                return __self.join_values(args[0] if args else (), owner)
            __self.check_method(owner, name, args)
        result = super().call(__context, __obj, *args, **kwargs)
        if type(result) in (list, tuple, dict):
            __self._charge_result(result)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr not in STRING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"it asks for {attribute!r} of a {type(obj).__name__}")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatter = super().wrap_str_format(value)
        if formatter is None:
            return None
        template = str(value.__self__)
        if value.__name__ != "format":
            raise SecurityError("it uses str.format_map")

        @wraps(formatter)
        def checked(*args: Any, **kwargs: Any) -> str:
            self._check_format(template, [*args, *kwargs.values()])
            return formatter(*args, **kwargs)

        return checked

    # -- what things cost ---------------------------------------------------------------------

    def _charge_result(self, value: Any) -> None:
        if isinstance(value, str):
            self.budget.charge(len(value))
        elif isinstance(value, (list, tuple, dict)):
            self.budget.charge(CHARACTERS_PER_ITEM * len(value))

    def _charge_product(self, left: Any, right: Any) -> None:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, (str, list, tuple)) and isinstance(count, int):
                weight = 1 if isinstance(sequence, str) else CHARACTERS_PER_ITEM
                self.budget.charge(weight * len(sequence) * max(count, 0))
        if (
            isinstance(left, int)
            and isinstance(right, int)
            and left.bit_length() + right.bit_length() > MAX_BITS
        ):
            raise SecurityError(f"it computes a number of more than {MAX_BITS} bits")

    def check_method(self, text: str, name: str, args: tuple[Any, ...]) -> None:
        if name in ("ljust", "rjust", "center", "zfill") and args:
            self.budget.charge(args[0] if isinstance(args[0], int) else 0)
        elif name == "replace" and len(args) >= 2:
            old, new = str(args[0]), str(args[1])
            self.budget.charge(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
        else:
            weight = CHARACTERS_PER_ITEM if "split" in name else 1
            self.budget.charge(weight * len(text))

    def check_percent(self, template: str, values: Iterable[Any]) -> None:
        if re.search(r"%[^a-zA-Z%]*(\*|\d{4,})", template):
            raise SecurityError("it formats a field of more than 999 characters")
        largest = max((self.budget.measure(value) for value in values), default=0)
        self.budget.charge(len(template) + template.count("%") * (largest + MAX_WIDTH))

    def _check_format(self, template: str, values: Iterable[Any]) -> None:
        fields = [
            spec or "" for _, name, spec, _ in Formatter().parse(template) if name is not None
        ]
        if any("{" in spec or re.search(r"\d{4,}", spec) for spec in fields):
            raise SecurityError("it formats a field of more than 999 characters")
        largest = max((self.budget.measure(value) for value in values), default=0)
        self.budget.charge(len(template) + len(fields) * (largest + MAX_WIDTH))

    def join_values(self, values: Iterable[Any], separator: str) -> str:
        texts = []
        for value in values:
            self.budget.step()
            texts.append(str(self.measured(value)))
        self.budget.charge(sum(map(len, texts)) + len(separator) * len(texts))
        return join(texts, separator)

    # -- filters ------------------------------------------------------------------------------

    def _charged(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose result counts; what it yields lazily counts where it is used."""

        @wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            self._charge_result(result)
            return result

        return charged


_TICK = " tick"  # a template cannot spell a name with a space


@pass_context
def _tick(context: Context, value: None) -> None:
    context.environment.budget.step()  # type: ignore[attr-defined]


class _GenerationTag(ext.Extension):
    """``{% generation %}`` marks what the model wrote, for training; here it only groups."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(Namespace):
    """Jinja's ``namespace`` without names that Python itself would look up."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"it stores {name!r} in a namespace")


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise_exception(message: str) -> None:
    raise RaisedByTemplate(cut(str.__str__(str(message)), 500))  # str of a Traced is one, too


def _strftime_now(format: str) -> str:
    if len(format) > 256 or re.search(r"%[^a-zA-Z%]*\d{3,}", format):
        raise SecurityError("it asks for a date of more than 256 characters")
    return datetime.now().strftime(format)


class RaisedByTemplate(JinjaError):
    """The template called ``raise_exception``; the message is for the caller."""
