"""Ask one question and print the answer."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with Model(MODEL) as model:
    answer = model.chat("What is the capital of France?")
    print(answer)
