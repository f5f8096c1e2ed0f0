"""A larger model elsewhere is asked where the local one is unsure; set one up: `cactus auth`."""

import sys

from cactus import Cloud, Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
QUESTIONS = ["What is the capital of France?", "Is P equal to NP? Answer with one word."]

cloud = Cloud.find()  # of the environment, or of `cactus auth`
print("A larger model that may be asked:", cloud or "none; `cactus auth` sets one up")

with Model(MODEL, cloud=cloud) as model:
    for question in QUESTIONS:
        # Without a threshold a model that has no cloud would just answer.
        answer = model.chat(question, confidence_threshold=0.65, max_tokens=40)
        if answer.handoff is not None and answer.handoff.answered:
            who = f"{answer.handoff.model} at {answer.handoff.host}"
        elif answer.finish_reason == "handoff":
            who = "nobody: a larger model should be asked"
        else:
            who = "the local model"
        print(f"{question} {who} (confidence {answer.confidence:.2f}): {answer}")
        if answer.handoff is not None and answer.handoff.code is not None:
            print("the larger one gave no answer:", answer.handoff.reason)
