"""A tool with the flat functions: the model's call, the function's result, the model's answer."""

import json
import sys

from cactus import CactusModel

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
SYSTEM = (
    "You are a helpful assistant. "
    "When you have the result of a function, answer the user in one sentence."
)

weather = {
    "name": "get_weather",
    "description": "Get weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


def get_weather(location):
    return "22 degrees and sunny"


messages = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "What's the weather in Paris?"},
]
with CactusModel(MODEL) as model:
    wanted = {"tools": [weather], "force_tools": True, "parallel_tool_calls": False}
    calls = json.loads(model.complete(messages, **wanted))["function_calls"]
    messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    for call in calls:
        print(call)
        messages.append({"role": "tool", "content": get_weather(**call["arguments"])})
    print(json.loads(model.complete(messages, confidence_threshold=0))["response"])
