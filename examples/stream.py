"""Print an answer as it is generated, and how fast that was."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
QUESTION = "Tell me about cacti."

with Model(MODEL) as model, model.stream(QUESTION, max_tokens=60) as stream:
    for event in stream:
        print(event.text, end="", flush=True)
    metrics = stream.completion.metrics
    print(f"\n{metrics.decode_tokens} tokens, {metrics.decode_tps:.0f} tokens/s")
