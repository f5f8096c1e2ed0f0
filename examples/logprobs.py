"""How sure the model was of each token, and what else it might have said."""

import math
import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

with Model(MODEL) as model:
    answer = model.chat("Name a colour.", logprobs=True, top_logprobs=3, max_tokens=8)
    for token in answer.token_logprobs or ():
        others = [f"{other.text!r} {math.exp(other.logprob):.0%}" for other in token.top]
        print(f"{token.text!r} {math.exp(token.logprob):.0%}, of {', '.join(others)}")
