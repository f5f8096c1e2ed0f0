"""Answer a list of questions together: quicker than one after another, and the same answers."""

import sys

from cactus import CactusError, Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "What is 2+2?",
    "Say hello.",
    "Who wrote Hamlet?",
]


def show(done: int, total: int) -> None:
    print(f"{done} of {total}")


with Model(MODEL) as model:
    answers = model.chat_many(QUESTIONS, max_tokens=30, progress=show)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        print(f"- {question} {answer.text}")

    # One that is wrong (here longer than the context) ends the call, unless errors are results.
    QUESTIONS[1] = "word " * 10_000
    with model.chat_as_completed(QUESTIONS, max_tokens=30, return_exceptions=True) as results:
        for index, result in results:
            failed = isinstance(result, CactusError)
            print(index, f"{type(result).__name__}: {result}" if failed else result)
