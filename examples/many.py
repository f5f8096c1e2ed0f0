"""Answer a list of questions together: quicker than one after another, and the same answers."""

import sys

from cactus import Model
from cactus.errors import CactusError

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "word " * 10_000,  # longer than the context: an error of this one alone
    "What is 2+2?",
    "Say hello.",
    "Who wrote Hamlet?",
]

with Model(MODEL) as model:
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    results = model.chat_many(conversations, max_tokens=30, return_exceptions=True)

errors = [result for result in results if isinstance(result, CactusError)]
print(f"{len(results) - len(errors)} answers, {len(errors)} error")
for question, result in zip(QUESTIONS, results, strict=True):
    if isinstance(result, CactusError):
        print(f"- {question[:20]}... {type(result).__name__}: {result}")
    else:
        print(f"- {question} {result.text}")
