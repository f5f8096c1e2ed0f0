"""Turns of a conversation: each reads only what is new, and the last one can be taken back."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with Model(MODEL) as model:
    talk = model.conversation(max_tokens=60)
    print(talk.chat("What is the capital of France?"))

    second = talk.chat("And of Italy?")
    print(second)
    cost = second.metrics
    print(f"{cost.prefill_tokens} tokens read, {cost.cached_tokens} already known")

    talk.undo()
    for message in talk.messages:
        print(f"{message['role']}: {message['content']}")
