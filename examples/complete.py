"""Continue a raw text, without a chat template; and an answer whose beginning is given."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with Model(MODEL) as model:
    text = "The capital of France is"
    print(text + model.complete(text, max_tokens=12).text)

    with model.complete_stream("1, 2, 3, 4,", max_tokens=12) as stream:
        for event in stream:
            print(event.text, end="", flush=True)
    print()

    begun = "A cactus is"
    messages = [
        {"role": "user", "content": "What is a cactus?"},
        {"role": "assistant", "content": begun},
    ]
    print(begun + model.chat(messages, max_tokens=20).text)
    print(model.count_tokens(messages), "tokens in that prompt")
