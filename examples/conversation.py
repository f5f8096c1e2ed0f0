"""Two turns of a conversation: the second one reads only what is new."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with Model(MODEL) as model:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    first = model.chat(messages)
    print(first.text)

    messages += [
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And of Italy?"},
    ]
    second = model.chat(messages)
    print(second.text)
    cost = second.metrics
    print(f"{cost.prefill_tokens} tokens read, {cost.cached_tokens} already known")
