"""Greedy answers are always the same; sampled ones differ, and repeat with the same seed."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
QUESTION = "Invent a name for a cactus."

with Model(MODEL) as model:
    print("greedy:", model.chat(QUESTION, max_tokens=12).text)
    for seed in (1, 2, 1):
        answer = model.chat(QUESTION, max_tokens=12, temperature=0.9, top_p=0.95, seed=seed)
        print(f"seed {seed}:", answer.text)
