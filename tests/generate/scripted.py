"""An engine without a model: a program that says what a script tells it, and byte-sized tokens.

What it says may depend on every token that the session truly holds, so a cache that is not what it
should be changes the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from cactus.calls.stop_flag import StopFlag
from cactus.calls.turns import Call, Turns
from cactus.chat.reasoning import Reasoning
from cactus.chat.template import ChatTemplate
from cactus.confidence.calibration import Calibration
from cactus.engine.costs import StepCosts
from cactus.engine.loaded import Loaded
from cactus.errors import Cancelled, ModelClosed
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.chat import Chat
from cactus.generate.conversations import Conversations
from cactus.generate.generation import Generation
from cactus.generate.options import parse_options
from cactus.generate.prefix import CachedSession
from cactus.model import Model
from cactus.types import Completion, StreamEvent

END = 256
"""The token that ends an answer; ids below it are bytes."""

THINK, ANSWER = 258, 259
"""The tags around reasoning, in a vocabulary that has tokens for them."""

VOCABULARY = 300


class ScriptedOutput(NamedTuple):
    token: int
    logprob: float
    entropy: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class ScriptedSession:
    tokens: list[int] = field(default_factory=list)
    closed: bool = False
    grain: int = 1
    family: list[ScriptedSession] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.tokens)

    def truncate(self, length: int) -> int:
        if self.closed:
            raise ModelClosed("the session has been closed")
        if length < len(self.tokens):
            # Like a hybrid model, it may only be able to go back to a multiple of `grain`.
            del self.tokens[length // self.grain * self.grain :]
        return len(self.tokens)

    def fork(self) -> ScriptedSession:
        assert not self.closed
        copy = ScriptedSession(list(self.tokens), grain=self.grain, family=self.family)
        self.family.append(copy)
        return copy

    def close(self) -> None:
        self.closed = True


class ScriptedRow(NamedTuple):
    session: ScriptedSession
    tokens: Sequence[int]
    outputs: str = "last"
    sampler: Any = None
    top_logprobs: int = 0
    stop: StopFlag | None = None
    features: Any = None
    positions: Any = None

    @property
    def read(self) -> list[int]:
        """What the session remembers: of a feature a number from 1000 on, which it has itself."""
        seen = self.features
        assert (seen is None) == all(token >= 0 for token in self.tokens)
        return [
            token if token >= 0 else 1000 + int(seen[-1 - token].sum()) for token in self.tokens
        ]


class ScriptedSampler:
    open_samplers = 0

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.prompt: int | None = None  # where its answer begins
        self.masks: Any = None
        self.drawn = 0
        ScriptedSampler.open_samplers += 1

    def allow(self, masks: Any) -> None:
        self.masks = masks.copy()

    def rewind(self, tokens: int) -> None:
        self.drawn = tokens

    def choose(self, token: int, output: int) -> int:
        """`token` where the mask of that output allows it, else one that it allows."""
        if self.masks is None:
            return token
        words = self.masks[output].tolist()
        allowed = [id for id in range(VOCABULARY) if words[id // 32] >> id % 32 & 1]
        assert allowed, "the mask allows no token"
        return token if token in allowed else allowed[token % len(allowed)]

    def close(self) -> None:
        ScriptedSampler.open_samplers -= 1


Script = Callable[[list[int], int], "int | tuple[int, float]"]
"""From the session's tokens and the number of answered tokens to a token, or (token, entropy)."""


class FixedCosts(StepCosts):
    """A step takes a millisecond, and every further row as much as `slope` steps: 0 makes guessing
    free, 1 never pays."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self._one = 0.001
        self._slopes = [slope] * len(self._slopes)

    def record(self, rows: int, seconds: float) -> None:
        pass


class ScriptedStep:
    """A step of a scripted program, as the native one prepares it."""

    def __init__(
        self,
        program: ScriptedProgram,
        rows: Sequence[ScriptedRow],
        stop: StopFlag | None,
        steps: int,
        ends: Iterable[int],
    ) -> None:
        self._program, self._rows, self._stop = program, rows, stop
        self._steps, self._ends = steps, list(ends)
        self._outputs: list[ScriptedOutput] | None = None
        self.made = 1

    @property
    def done(self) -> bool:
        return self._outputs is not None

    def run(self) -> None:
        assert self._outputs is None, "a prepared step runs once"
        rows, outputs = self._rows, self._program.step(self._rows, self._stop)
        found = [[output] for output in outputs] if self._steps > 1 else [outputs]
        while self.made < self._steps and not any(o.token in self._ends for o in outputs):
            if any(row.stop for row in rows):
                break
            assert all(row.outputs == "last" and row.features is None for row in rows)
            rows = [row._replace(tokens=[o.token]) for row, o in zip(rows, outputs, strict=True)]
            outputs = self._program.step(rows)
            for each, output in zip(found, outputs, strict=True):
                each.append(output)
            self.made += 1
        self._outputs = [output for each in found for output in each]
        self._program.after()

    def outputs(self) -> list[ScriptedOutput]:
        assert self._outputs is not None
        return self._outputs


class ScriptedProgram:
    """`after` is called when a step is over, still inside ``run``: to interrupt.

    `during` is called inside every step, with its tokens: to block, to fail, or to look.

    `steps` are the tokens of every step, `batches` the same row by row. `longest_run`: as many
    steps in a row it takes at once.
    """

    longest_run = 1

    def __init__(self, script: Script, *, chunk: int = 4, grain: int = 1) -> None:
        self.vocab_size = VOCABULARY
        self.chunk = chunk
        self.script = script
        self.grain = grain
        self.steps: list[list[int]] = []
        self.batches: list[list[list[int]]] = []
        self.sessions: list[ScriptedSession] = []
        self.during: Callable[[Sequence[int]], None] = lambda tokens: None
        self.after: Callable[[], None] = lambda: None
        self.closed = False
        self.inside = 0

    def session(self) -> ScriptedSession:
        self.sessions.append(ScriptedSession(grain=self.grain, family=self.sessions))
        return self.sessions[-1]

    @property
    def kv_bytes(self) -> int:
        """A byte for each token of a session that is open."""
        return sum(len(session.tokens) for session in self.sessions if not session.closed)

    def prepare(
        self,
        rows: Sequence[ScriptedRow],
        *,
        stop: StopFlag | None = None,
        steps: int = 1,
        ends: Iterable[int] = (),
    ) -> ScriptedStep:
        assert 1 <= steps <= self.longest_run
        return ScriptedStep(self, rows, stop, steps, ends)

    def step(
        self, rows: Sequence[ScriptedRow], stop: StopFlag | None = None
    ) -> list[ScriptedOutput]:
        tokens = [token for row in rows for token in row.tokens]
        assert not self.closed, "a step after the program was closed"
        assert not any(row.session.closed for row in rows), "a step in a closed session"
        assert 1 <= len(tokens) <= self.chunk
        assert all(row.tokens for row in rows)
        assert len({id(row.session) for row in rows}) == len(rows), "a session twice in one step"
        self.inside += 1
        assert self.inside == 1, "two steps at once"
        try:
            self.during(tokens)
            if stop:
                raise Cancelled("the step was stopped")
            self.steps.append(tokens)
            self.batches.append([list(row.tokens) for row in rows])
            return [output for row in rows for output in self._run(row)]
        finally:
            self.inside -= 1

    def _run(self, row: ScriptedRow) -> list[ScriptedOutput]:
        history = row.session.tokens
        history.extend(row.read)
        if row.outputs == "none":
            return []
        first = len(history) - len(row.tokens) + 1 if row.outputs == "all" else len(history)
        if row.sampler.prompt is None:
            row.sampler.prompt = first
        ends = range(first, len(history) + 1)
        masks = row.sampler.masks
        assert masks is None or len(masks) == len(ends), "not a mask for each output"
        said = [self._say(history[:end], row, end - first) for end in ends]
        row.sampler.masks = None
        return said

    def _say(self, history: list[int], row: ScriptedRow, output: int) -> ScriptedOutput:
        """The next likeliest tokens are those with the next numbers."""
        said = self.script(history, len(history) - row.sampler.prompt)
        token, entropy = said if isinstance(said, tuple) else (said, 0.1)
        token, count = row.sampler.choose(token, output), row.top_logprobs
        top = tuple((token + rank, -entropy - rank) for rank in range(count))
        return ScriptedOutput(token, -entropy, entropy, top)

    def close(self) -> None:
        assert self.inside == 0, "closed in the middle of a step"
        self.closed = True

    @property
    def fed(self) -> list[int]:
        return [token for step in self.steps for token in step]


class ByteTokenizer:
    """One token a byte. Special ids have no text. `tags`: it has tokens for those of reasoning."""

    token_bytes = SimpleNamespace(exact=True)
    vocab_size = VOCABULARY
    eos_ids = (END,)
    bos_id = None

    def __init__(self, tags: bool = False) -> None:
        self._special = {"<end>": END, "<turn>": END + 1}
        if tags:
            self._special |= {"<think>": THINK, "</think>": ANSWER}
        self.special_ids = frozenset(self._special.values())

    @property
    def markup(self) -> list[str]:
        return list(self._special)

    def encode(self, text: str, special: bool = False) -> list[int]:
        return list(text.encode())

    def encode_prompt(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        return list("".join(text for text, _ in parts).encode())

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        stream = self.stream() if skip_special else self.stream(shown=self.special_ids)
        return "".join([*map(stream.push, ids), stream.flush()])

    def token_to_id(self, token: str) -> int | None:
        return self._special.get(token)

    def token_bytes_of(self, id: int) -> bytes:
        spelled = {id: text for text, id in self._special.items()}
        return spelled[id].encode() if id in spelled else bytes([id] if id < 256 else [])

    def stream(self, shown: Iterable[int] = ()) -> ByteDecoder:
        return ByteDecoder({id: text for text, id in self._special.items() if id in shown})


class ByteDecoder:
    def __init__(self, shown: dict[int, str]) -> None:
        self._bytes = bytearray()
        self._shown = shown

    def push(self, token: int) -> str:
        self._bytes += self._shown.get(token, "").encode()
        if token < 256:
            self._bytes.append(token)
        try:
            text = self._bytes.decode()
        except UnicodeDecodeError:
            return ""
        self._bytes.clear()
        return text

    def flush(self) -> str:
        text = self._bytes.decode("utf-8", "replace")
        self._bytes.clear()
        return text


def saying(text: str, *, entropies: Sequence[float] = ()) -> Script:
    """A script that says `text`, byte by byte, and then ends its turn, whatever it was asked."""
    return uttering([*text.encode(), END], entropies=entropies)


def uttering(tokens: Sequence[int], *, entropies: Sequence[float] = ()) -> Script:
    """A script that says `tokens`, the last one for ever, whatever it was asked."""

    def script(_history: list[int], answered: int) -> tuple[int, float]:
        entropy = entropies[answered] if answered < len(entropies) else 0.1
        return tokens[min(answered, len(tokens) - 1)], entropy

    return script


def babbling(history: list[int], _answered: int) -> int:
    """An endless answer of letters in which every letter depends on the whole history."""
    return 97 + hash(tuple(history)) % 26


def rambling(history: list[int], answered: int) -> int:
    """Answers of different lengths that depend on the whole history."""
    letter = babbling(history, answered)
    return END if letter % 9 == 0 else letter


TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:"
"""One letter of the role and the text: "u:Hello", a line a message, and "a:" for the answer."""


def scripted_engine(
    script: Script,
    *,
    context: int = 200,
    template: str = TEMPLATE,
    slope: float = 1.0,
    tags: bool = False,
    calibration: Calibration | None = None,
    draft: Loaded | None = None,
    **options: Any,
) -> Loaded:
    """An engine around `script`, with prompts that are as short as tokens of a byte allow.

    `tags`: the vocabulary has tokens for those of reasoning. `slope` 0 makes it guess whatever it
    can, 1 nothing at all.
    """
    tokenizer: Any = ByteTokenizer(tags)
    program: Any = ScriptedProgram(script, **options)
    return Loaded(
        folder=Path("scripted"),
        name="scripted",
        architecture="script",
        abilities=("chat", "complete"),
        context_length=context,
        program=program,
        programs=program,  # the only one
        tokenizer=tokenizer,
        template=ChatTemplate(template),
        row=ScriptedRow,
        make_sampler=ScriptedSampler,
        costs=FixedCosts(slope),
        calibration=calibration,
        draft=draft,
    )


class Harness:
    """One model's worth of state around a scripted engine."""

    def __init__(self, script: Script, **options: Any) -> None:
        self.engine = engine = scripted_engine(script, **options)
        self.program: Any = engine.program
        self.conversations = Conversations(engine, 1 << 20)
        owned = ExitStack()
        owned.callback(engine.close)
        owned.callback(self.conversations.free)
        self.turns = Turns(owned.close)
        self.batch = Batch(engine, self.turns, self.conversations)
        if self.batch.draft is not None:
            owned.callback(self.batch.draft.free)

    @property
    def conversation(self) -> CachedSession[Any]:
        """The one that was remembered last."""
        return self.conversations.remembered[-1]

    def start(
        self,
        prompt: str | list[int] = "question",
        stop_tokens: dict[int, str] | None = None,
        reasoning: Reasoning = "never",
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        **raw: Any,
    ) -> Generation:
        tokens = list(prompt.encode()) if isinstance(prompt, str) else prompt
        options = parse_options(raw, vocab_size=VOCABULARY)
        request = Request(
            tokens, options, stop_tokens or {}, reasoning=reasoning, tools=tools or {}
        )
        call = self.call = Call()
        self.turns.register(call)
        return Generation(self.batch, call, request)

    def answer(self, prompt: str | list[int] = "question", **raw: Any) -> Completion:
        return self.start(prompt, **raw).run()


def read(generation: Generation) -> tuple[list[StreamEvent], Completion]:
    """All events, and what they come to."""
    events = list(generation.events())
    assert generation.result is not None
    return events, generation.result


class InThread:
    """Runs `work` in a thread; `result()` joins it and gives what it returned or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._work = work
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error

    @property
    def running(self) -> bool:
        return self.thread.is_alive()

    def result(self, timeout: float = 20.0) -> Any:
        self.thread.join(timeout)
        assert not self.running, "the thread did not end"
        if self.error is not None:
            raise self.error
        return self.value


def joined(texts: Iterable[Any]) -> str:
    """The text of a stream of events."""
    return "".join(event.text for event in texts)


def with_program(model: Model) -> tuple[Model, Any]:
    """A model around a script, and the program that says it."""
    return model, model._engine.program


def lanes(model: Model) -> list[Any]:
    """The requests that are in flight."""
    chat: Any = model._workers[Chat]
    found: list[Any] = chat._batch._lanes
    return found


def wait_until(true: Callable[[], bool]) -> None:
    """Come back when it is true; an error after ten seconds."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.001)


def same(left: Completion, right: Completion) -> bool:
    """All but what it cost."""
    fields = ("text", "finish_reason", "tokens", "logprobs", "confidence", "function_calls")
    return all(getattr(left, name) == getattr(right, name) for name in fields)


WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}
"""A tool in the flat form."""

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["item", "count"],
    "additionalProperties": False,
}
"""A schema that an answer of a tiny model soon fits."""
