"""Three ways to end an answer: a stop sequence, a limit, and a call from another thread."""

import sys
import threading

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
QUESTION = "Write a story about a dragon."

with Model(MODEL) as model:
    answer = model.chat(QUESTION, stop=[".", "\n"])
    print(answer.finish_reason, "-", answer.text)

    answer = model.chat(QUESTION, max_tokens=5)
    print(answer.finish_reason, "-", answer.text)

    threading.Timer(0.2, model.stop).start()
    answer = model.chat(QUESTION, max_tokens=5000)
    print(answer.finish_reason, "-", len(answer.tokens), "tokens")
