"""One run of a model with tools: answers and calls in turn, until nothing more is called."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from cactus.agent.execute import Executor
from cactus.agent.results import RunReason, ToolCall, ToolEvent, ToolResult, ToolRun, ToolStep
from cactus.calls.run import Run
from cactus.calls.turns import Call, Turns
from cactus.errors import ContextLengthExceeded, InvalidRequest
from cactus.generate.generation import Generation
from cactus.inputs.values import parse_json, shown
from cactus.schemas.functions import Tool, tool_of
from cactus.types import Completion

Begin = Callable[[list[dict[str, Any]], Mapping[str, Any], Call], Generation]
"""Makes the run that answers messages, as ``Chat.generation``."""

FORCING = ("force_tools", "tool_choice")
"""Options that make the model call a tool: in every answer, the run could never end."""


class ToolsRun(Run[ToolEvent, ToolRun]):
    """The answers of a model to `messages` with `tools`, and what the tools gave.

    The first request is checked here. ``options`` are those of a chat; a choice of tool that is
    forced holds for the first answer alone, since it could never end otherwise.
    """

    def __init__(
        self,
        turns: Turns,
        begin: Begin,
        executor: Executor,
        others: frozenset[str],
        messages: list[dict[str, Any]],
        max_steps: int,
        options: Mapping[str, Any],
    ) -> None:
        self._begin, self._executor, self._others = begin, executor, others
        self._messages, self._options = list(messages), dict(options)
        self._max_steps = max_steps
        self._steps: list[ToolStep] = []
        self._reason: RunReason = "cancelled"
        self._pending: tuple[ToolCall, ...] = ()
        self._streamed = True
        self._recorded: Generation | None = None
        self._running = self._generation(executor.call)
        super().__init__(turns, executor.call)

    def run(self) -> ToolRun:
        """Run to the end; no thread looks at single tokens."""
        self._streamed = False
        return super().run()

    def _generation(self, call: Call) -> Generation:
        """The next answer. It is a call of its own, which ends when this run is stopped."""
        own = Call()
        own.flag, own.tenant = call.flag, call.tenant
        return self._begin(self._messages, self._options, own)

    def _events(self) -> Generator[ToolEvent, None, None]:
        while True:
            yield from self._answer()
            told = len(self._messages)
            completion, calls = self._record()
            if not calls or completion.finish_reason != "tool_calls":
                return
            if len(self._steps) == self._max_steps:
                self._reason = "max_steps"
                return
            yield from self._run_calls(completion, calls)
            self._turns.cancel_if_closed()
            if self.call.stopped:
                self._reason = "cancelled"
                return
            if self._pending:
                return
            for forced in FORCING:
                self._options.pop(forced, None)
            if not self._is_news():
                del self._messages[told:]
                self._options["tool_choice"] = "none"
            running = self._fitting()
            if running is None:
                self._reason = "length"
                return
            self._running = running

    def _fitting(self) -> Generation | None:
        """The next answer; None where the context is full.

        Results that do not fit are taken back, the longest first, and the model is told so.
        """
        while True:
            try:
                return self._generation(self.call)
            except ContextLengthExceeded as error:
                results = self._steps[-1].results
                left = [result for result in results if result.error is None]
                if not left:
                    return None
                longest = max(left, key=lambda result: len(result.text))
                text = f"Error: the result has {len(longest.text)} characters, too long: {error}"
                short = replace(longest, text=text, error=error)
                self._messages[self._messages.index(longest.message)] = short.message
                self._steps[-1] = replace(
                    self._steps[-1],
                    results=tuple(short if each is longest else each for each in results),
                )

    def _answer(self) -> Generator[ToolEvent, None, None]:
        step = len(self._steps) + 1
        if not self._streamed:
            self._running.run()
            return
        with closing(self._running.events()) as events:
            for event in events:
                told = event.text or event.logprob is not None
                if told and event.kind in ("text", "reasoning"):
                    yield ToolEvent(event.kind, step, event.text, logprob=event.logprob)

    def _record(self) -> tuple[Completion, tuple[ToolCall, ...]]:
        """Keep the answer that has ended, or as far as it came; its calls are still to be run."""
        completion = self._running.result
        assert completion is not None
        self._recorded = self._running
        calls = calls_of(completion)
        self._steps.append(ToolStep(completion))
        self._messages.append(completion.message)
        self._reason, self._pending = completion.finish_reason, calls
        return completion, calls

    def _run_calls(
        self, completion: Completion, calls: tuple[ToolCall, ...]
    ) -> Generator[ToolEvent, None, None]:
        step = len(self._steps)
        results: list[ToolResult] = []
        ours = [call for call in calls if call.name not in self._others]
        with closing(self._executor.run(ours)) as running:
            try:
                for found in running:
                    if isinstance(found, ToolCall):
                        yield ToolEvent("call", step, call=found)
                    else:
                        results.append(found)
                        yield ToolEvent("result", step, found.text, found.call, found)
            finally:
                results.sort(key=lambda result: calls.index(result.call))
                self._steps[-1] = ToolStep(completion, tuple(results))
                self._messages += [result.message for result in results]
                known = [result.call for result in results]
                self._pending = tuple(call for call in calls if call not in known)

    def _is_news(self) -> bool:
        """Whether the last results say anything that earlier ones did not.

        Small models repeat a call whose result they have, for ever. Asked again without tools, and
        without what they have just said, they answer.
        """
        *before, last = self._steps
        known = [(r.call.name, r.call.arguments, r.text) for step in before for r in step.results]
        return any((r.call.name, r.call.arguments, r.text) not in known for r in last.results)

    def _result(self) -> ToolRun:
        if self._recorded is not self._running:  # its reader has gone in the middle of an answer
            self._record()
        return ToolRun(self._messages, tuple(self._steps), self._reason, self._pending)

    def _let_go(self) -> None:
        self._running.close_unread()


def tools_of(tools: Any) -> tuple[list[dict[str, Any]], dict[str, Tool], frozenset[str]]:
    """The definitions of all tools, those that are functions by name, and the others' names.

    Raises InvalidRequest naming the tool that is wrong.
    """
    if isinstance(tools, str):
        tools = parse_json(tools, "tools")
    if not isinstance(tools, (list, tuple)):
        raise InvalidRequest(
            f"tools: expected a list of functions or tool definitions, got {shown(tools)}"
        )
    definitions, functions, others = [], {}, set()
    for index, each in enumerate(tools):
        try:
            tool = tool_of(each)
        except InvalidRequest as error:
            raise InvalidRequest(f"tools[{index}]: {error}") from None
        if tool is None:
            function = each.get("function", each) if isinstance(each, dict) else {}
            others.add(function.get("name") if isinstance(function, dict) else None)
            definitions.append(each)
        else:
            functions[tool.name] = tool
            definitions.append(tool.definition)
    return definitions, functions, frozenset(filter(None, others))


def calls_of(completion: Completion) -> tuple[ToolCall, ...]:
    """The calls in an answer, with the ids that its message has."""
    calls = completion.message.get("tool_calls", ())
    return tuple(
        ToolCall(call["id"], function["name"], function["arguments"])
        for call, function in zip(calls, completion.function_calls, strict=True)
    )
