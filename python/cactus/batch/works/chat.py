"""Chat: an answer for each row, as a text or as the columns of a JSON schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cactus import ChatOptions
from cactus.batch.rows import Row
from cactus.batch.template import Template
from cactus.batch.works.work import Result, Work
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import expected
from cactus.models.abilities import Ability
from cactus.types import Completion


class Chat(Work):
    """An answer to `prompt` behind `system`, both with places for columns; `schema` names columns.

    Without `prompt` a row's column `messages` is the conversation, or `prompt` what is said.
    """

    KIND = "chat"
    FIELDS: ClassVar[tuple[str, ...]] = ("system", "prompt", "schema")
    # What makes another thing than a text of each answer, or is not a value of JSON.
    OPTIONS = ChatOptions.__optional_keys__ - {
        "schema",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "force_tools",
        "tool_rag_top_k",
        "logprobs",
        "top_logprobs",
        "image_progress",
    }
    FORMS = ("text",)
    ABILITY: ClassVar[Ability] = "chat"

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(fields, options)
        self._system = _template("system", fields)
        self._prompt = _template("prompt", fields)
        self._schema = fields.get("schema")
        self.columns = ("answer", "finish_reason")
        if self._schema is not None:
            self.types = _properties(self._schema)
            self.columns = tuple(self.types)

    def needed(self, columns: Collection[str]) -> Sequence[str]:
        needed = [] if self._system is None else list(self._system.columns)
        if self._prompt is not None:
            return [*needed, *self._prompt.columns]
        return needed if "messages" in columns else [*needed, *_UNTOLD.columns]

    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        asked: dict[int, tuple[Row, str | None]] = {}

        def conversations() -> Iterator[list[Any]]:
            for number, row in enumerate(rows):
                messages, wrong = [], row.wrong
                if wrong is None:
                    try:
                        messages = self._messages(row, base)
                    except InvalidRequest as error:
                        wrong = str(error)
                asked[number] = row, wrong
                yield messages  # none are an error of the row, which is told at once

        options: Any = dict(self.options)
        if self._schema is not None:
            options["schema"] = self._schema
        with model.chat_as_completed(conversations(), return_exceptions=True, **options) as answers:
            for number, answer in answers:
                row, wrong = asked.pop(number)
                yield row, wrong or self._result(answer)

    def _messages(self, row: Row, base: Path) -> list[Any]:
        """The conversation of a row. Raises InvalidRequest naming the column."""
        messages: list[Any] = []
        if self._system is not None:
            messages.append({"role": "system", "content": self._system.fill(row.values)})
        if self._prompt is not None:
            said: Any = self._prompt.fill(row.values)
        elif "messages" in row.values:
            given = row.values["messages"]
            if not isinstance(given, list) or not given:
                raise InvalidRequest(expected("column 'messages'", "a list of messages", given))
            return [*messages, *given]
        else:
            said = _UNTOLD.fill(row.values)
        return [*messages, {"role": "user", "content": said}]

    def _result(self, answer: Completion | CactusError) -> Result:
        if isinstance(answer, CactusError):
            return str(answer) or type(answer).__name__
        result = self._columns(answer)
        if self.form is not None and isinstance(result, dict):
            result["document"] = f"{answer.text}\n"
        return result

    def _columns(self, answer: Completion) -> Result:
        if self._schema is None:
            return {"answer": answer.text, "finish_reason": answer.finish_reason}
        if not isinstance(answer.parsed, dict):
            return f"the answer is not whole JSON: it ended by {answer.finish_reason!r}"
        if answer.structure is not None and answer.structure.errors:
            return f"the answer breaks the schema: {answer.structure.errors[0]}"
        return {name: answer.parsed.get(name) for name in self.columns}


_UNTOLD = Template("prompt", "{prompt}")


def _template(name: str, fields: Mapping[str, Any]) -> Template | None:
    return Template(name, fields[name]) if name in fields else None


def _properties(schema: Any) -> dict[str, Any]:
    """The columns of a schema of an object, and what it says of their types."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not properties:
        raise InvalidRequest(
            expected("schema", "a JSON schema of an object with 'properties'", schema)
        )
    return {
        name: part.get("type") if isinstance(part, Mapping) else None
        for name, part in properties.items()
    }
