"""An agent: Python functions that the model calls until it has its answer, step by step."""

import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
SYSTEM = (
    "You are a helpful assistant. "
    "When you have the result of a function, answer the user in one sentence."
)


def get_price(fruit: str) -> float:
    """Get the price of a fruit in euros."""
    return {"apple": 0.5, "melon": 3.0}[fruit]


def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"sunny in {city}"


question = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "What does a melon cost?"},
]
# A model as small as the starter calls nothing by itself; larger ones do without force_tools.
options = {"tools": [get_price, get_weather], "force_tools": True, "parallel_tool_calls": False}
with Model(MODEL) as model, model.run_tools_stream(question, max_tokens=60, **options) as stream:
    for event in stream:
        if event.kind == "call":
            print(f"{event.step}: {event.call.name} {event.call.arguments}")
        elif event.kind == "result":
            print(f"   = {event.text}")
    print(stream.result.finish_reason, "-", stream.result)
