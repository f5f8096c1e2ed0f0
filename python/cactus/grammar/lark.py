"""Writing a grammar in Lark, with JSON schemas as its leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from cactus.chat.calls.syntax import Syntax
from cactus.errors import InvalidRequest
from cactus.grammar.limits import SECONDS, compiler_limits, explained, in_words
from cactus.grammar.table import Table
from cactus.grammar.underway import UNDERWAY

ESCAPES = 'nrbtf\\"'
"""What may stand behind a backslash: no escapes of code units, half of which are no characters."""

BLANK = r"[\x20\x0A\x0D\x09]{1,40}"
"""White space where JSON allows any: a model that writes nothing else would never end."""


class Lark:
    """Rules, one after another; the markup of `syntax` becomes tokens where it is that.

    `unenforced` says what was left out of the schemas.
    """

    def __init__(self, table: Table, syntax: Syntax) -> None:
        self.syntax, self._table = syntax, table
        self._markers = [marker for marker in syntax.markers if table.id_of(marker) is not None]
        self._leaves: dict[str, dict[str, Any]] = {}  # by their paths
        self._lenient: dict[str, bool] = {}  # False: nothing of the leaf's schema can be enforced
        self._relaxed: list[str] = []
        self.clear()

    def clear(self) -> None:
        """Begin anew; what was relaxed stays so."""
        self._rules: list[str] = []
        self._names = count(1)
        self.unenforced = list(self._relaxed)

    def text(self, text: str) -> str:
        """An expression for a text."""
        pattern = "|".join(map(re.escape, self._markers))
        pieces = re.split(f"({pattern})", text) if pattern else [text]
        said = [self._piece(piece) for piece in pieces if piece]
        return " ".join(said) or '""'

    def _piece(self, piece: str) -> str:
        id = self._table.id_of(piece) if piece in self._markers else None
        return json.dumps(piece, ensure_ascii=False) if id is None else f"<[{id}]>"

    def rule(self, body: str, name: str | None = None) -> str:
        """A rule with that body; its name."""
        name = name or self.name()
        self._rules.append(f"{name}: {body}")
        return name

    def name(self) -> str:
        """A name for a rule that is still to be written."""
        return f"r{next(self._names)}"

    def terminal(self, body: str) -> str:
        """A terminal with that body; its name."""
        return self.rule(body, self.name().upper())

    def is_markup(self, text: str) -> bool:
        """Whether a text is a token of its own, which no other text can hold."""
        return text in self._markers

    def until(self, pattern: str, end: str) -> str:
        """A text that `pattern` matches and that does not hold `end`, and `end`."""
        if self.is_markup(end):  # which no text can hold
            return f"{self.terminal(pattern)} {self.text(end)}"
        inside = re.escape(end).replace("/", r"\/").replace("\n", "n")
        name = self.name()
        text = self.terminal(f"{pattern} & ~/(?s:.*){inside}(?s:.*)/")
        self._rules.append(f"{name}[suffix={json.dumps(end)}]: {text}")
        return name

    def json(self, schema: dict[str, Any], path: str, *, spaced: bool = False) -> str:
        """A value of JSON by its schema, with the separators of the syntax, or `spaced` freely."""
        self._leaves[path] = schema
        lenient = self._lenient.get(path)
        item, key = self.syntax.separators
        options: dict[str, Any] = {"lenient": lenient is not None}
        if spaced:
            options["whitespace_pattern"] = BLANK
        else:
            options |= {
                "item_separator": item,
                "key_separator": key,
                "whitespace_flexible": False,
                "json_allowed_escapes": ESCAPES,
            }
        kept = schema
        if lenient is False:
            kept = {"type": schema["type"]} if "type" in schema else {}
        return self.rule(f"%json {json.dumps({**kept, 'x-guidance': options})}")

    def several(self, parts: Sequence[tuple[str, bool]], between: str) -> str:
        """`parts` in their order, of which some may be left out, with `between` between them.

        A part is an expression, and whether it must be there.
        """
        first, more = (
            '""',
            '""',
        )  # what may follow where nothing stands yet, and where something does
        for part, needed in reversed(parts):
            here = f"{part} {more}"
            after = f"{between} {part} {more}"
            first, more = (
                self.rule(here if needed else f"{here} | {first}"),
                self.rule(after if needed else f"{after} | {more}"),
            )
        return first

    def left_out(self, path: str, what: str) -> None:
        """Note what of a schema no grammar of this syntax says."""
        self.unenforced.append(f"{path}: {what}")

    def written(self, start: str) -> str:
        """The whole grammar."""
        from llguidance import LLMatcher

        return LLMatcher.grammar_from_lark("\n".join([f"start: {start}", *self._rules, ""]))

    def relax(self, strict: Sequence[str]) -> bool:
        """Leave out of the schemas what cannot be enforced; False where that is nothing.

        `strict` are the paths below which that is an InvalidRequest.
        """
        for path, schema in self._leaves.items():
            error = _error_of(schema, lenient=False)
            if not error:
                continue
            why = explained(error, schema, path)
            if any(path.startswith(each) for each in strict):
                raise InvalidRequest(why)
            self._lenient[path] = not _error_of(schema, lenient=True)
            self._relaxed.append(why)
        return bool(self._relaxed)


def _error_of(schema: dict[str, Any], *, lenient: bool) -> str:
    """What the compiler says against a schema; "" where that is nothing."""
    from llguidance import LLMatcher

    text = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"lenient": lenient})

    def validate() -> str:
        failed, messages = LLMatcher.validate_grammar_with_warnings(text, limits=compiler_limits())
        return in_words(str(messages[0])) if failed else ""

    error = UNDERWAY.within(SECONDS, ("schema", text), validate)
    return "it takes too long to compile" if error is None else error
