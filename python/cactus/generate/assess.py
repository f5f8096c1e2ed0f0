"""Asking a model once more about an answer: other answers to the question, and its own verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cactus.calls.turns import Call
from cactus.chat.messages import Message, parse_messages
from cactus.confidence.calibration import CUT
from cactus.engine.contract import Sampling
from cactus.errors import InvalidRequest
from cactus.generate.answer import Request
from cactus.generate.batch import Batch
from cactus.generate.many import ManyRun
from cactus.generate.options import MAX_TOP_LOGPROBS, Options
from cactus.generate.prompt import build_request
from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded
    from cactus.vision.work import Vision

MOST_SAMPLES = 32

TEMPERATURE = 0.8
"""Of the other answers, where the options are greedy: the same answer again would say nothing."""

QUESTION = "Is this answer correct? Reply with one word: Yes or No."


class Assessment:
    """What is asked about `answer`, all of it in one batch: the prompt is read once for all.

    Raises InvalidRequest for an answer without text, and what `build_request` raises.
    """

    def __init__(
        self,
        engine: Loaded,
        messages: Sequence[Mapping[str, Any]] | str,
        answer: Completion,
        options: Options,
        samples: int,
        self_check: bool,
        vision: Vision | None = None,
    ) -> None:
        if not answer.text.strip() or answer.scores is None:
            raise InvalidRequest("the answer has no text that could be assessed")
        self._calibration, self._answer, self._samples = engine.calibration, answer, samples
        began = time.perf_counter()
        options = replace(options, logprobs=False, top_logprobs=0, confidence_threshold=None)
        self._requests: list[Request] = []
        if samples:
            # A sample that is much longer is another answer, however it goes on.
            limit = min(options.max_tokens, 2 * len(answer.tokens) + 16)
            limited = replace(options, max_tokens=limit)
            request = build_request(engine, messages, limited, began, vision=vision)
            chosen = options.sampling
            if chosen.temperature == 0:
                chosen = Sampling(temperature=TEMPERATURE, seed=chosen.seed)
            first = chosen.seed or 0
            self._requests += [
                replace(
                    request,
                    options=replace(
                        request.options, sampling=replace(chosen, seed=(first + n) % 2**64)
                    ),
                )
                for n in range(samples)
            ]
        if self_check:
            asked = [*_answered(messages, answer, options), Message("user", QUESTION)]
            verdict = replace(
                options,
                max_tokens=1,
                logprobs=True,
                top_logprobs=min(MAX_TOP_LOGPROBS, engine.program.vocab_size),
                sampling=Sampling(),
                continue_final_message=None,
            )
            self._requests.append(build_request(engine, asked, verdict, began, vision=vision))

    def run(self, batch: Batch, call: Call) -> Completion:
        """The answer with what was found in its scores, and the confidence that follows from it."""
        from cactus.confidence.agreement import agreement

        answer, scores = self._answer, self._answer.scores
        assert scores is not None
        found = ManyRun(batch, call, self._requests, return_exceptions=False).run()
        others = [each for each in found if isinstance(each, Completion)]
        if any(each.finish_reason == "cancelled" for each in others):
            return answer
        if self._samples:
            texts = [other.text for other in others[: self._samples]]
            scores = replace(scores, agreement=agreement(answer.text, texts))
        if len(others) > self._samples:
            scores = replace(scores, self_check=_yes(others[-1]))
        confidence = answer.confidence
        if self._calibration is not None:
            cut = answer.finish_reason in CUT
            confidence = self._calibration.probability(scores, cut=cut)
        return replace(answer, scores=scores, confidence=confidence)


def _answered(
    messages: Sequence[Mapping[str, Any]] | str, answer: Completion, options: Options
) -> list[Message]:
    """The conversation with the answer in it."""
    turns = parse_messages(messages)
    if turns[-1].role == "assistant" and options.continue_final_message is not False:
        turns = [*turns[:-1], turns[-1].with_text(answer.text)]
    if turns[-1].role != "assistant":
        turns.append(Message("assistant", answer.text))
    return turns


def _yes(verdict: Completion) -> float:
    """The probability of Yes, of Yes and No; a half where it thought of neither."""
    entries = verdict.token_logprobs or ()
    total = {"yes": 0.0, "no": 0.0}
    for entry in entries[0].top if entries else ():
        word = entry.text.strip().casefold()
        if word in total:
            total[word] += math.exp(entry.logprob)
    both = sum(total.values())
    return total["yes"] / both if both else 0.5
