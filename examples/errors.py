"""What goes wrong has a type and says what to do."""

import sys

from cactus import Model, errors

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
HELLO = "Hello!"

try:
    Model("smolm2-135m-instrukt")
except errors.ModelNotFound as error:
    print("ModelNotFound:", error)

with Model(MODEL, context=64) as model:
    try:
        model.chat(HELLO, temperature=-1)
    except errors.InvalidRequest as error:
        print("InvalidRequest:", error)

    try:
        model.chat("very " * 100 + "long")
    except errors.ContextLengthExceeded as error:
        print("ContextLengthExceeded:", error.prompt_tokens, "tokens, room for", error.limit)
