"""Whether forced calls always parse and fit their schemas, whatever the model would say.

    python benchmarks/forced_calls.py weights/smollm2-135m-instruct --temperature 1

Two hundred requests: ten of a user for each of twenty tools, with `force_tools`. A model with
random weights shows best that nothing depends on what it says. Prints the share of answers that
have calls, all of declared tools, whose arguments `jsonschema` finds valid.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from forced_tools import ASKS, TOOLS
from jsonschema import Draft202012Validator

from cactus import Completion, Model


def wrong(answer: Completion, tools: list[dict[str, Any]]) -> str:
    """What is wrong with the calls of an answer; "" where nothing is."""
    schemas = {tool["name"]: tool["parameters"] for tool in tools}
    if not answer.function_calls:
        return "no call"
    for call in answer.function_calls:
        if call["name"] not in schemas:
            return "a tool that is not declared"
        validator = Draft202012Validator(
            schemas[call["name"]], format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        for error in validator.iter_errors(call["arguments"]):
            return f"{error.json_path}: {error.message}"
    return ""


def check(model: Model, most: int, **options: Any) -> tuple[int, Counter[str]]:
    """Ask everything; how many answers there were, and how they ended, with what was wrong."""
    counts: Counter[str] = Counter()
    asked = 0
    for n, tool in enumerate(TOOLS):
        others = [TOOLS[(n + 7) % len(TOOLS)]]
        for m, ask in enumerate(ASKS):
            if asked == most:
                return asked, counts
            tools = [tool] if m % 2 else [tool, *others]
            answer = model.chat(ask, tools=tools, force_tools=True, tool_rag_top_k=0, **options)
            asked += 1
            problem = wrong(answer, tools)
            counts[f"ended: {answer.finish_reason}"] += 1
            counts["right" if not problem else "wrong"] += 1
            if problem:
                print(f"  {tool['name']}, {ask!r}: {problem}\n    {answer.text!r}")
    return asked, counts


def main() -> None:
    """Read the arguments, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--most", type=int, default=len(TOOLS) * len(ASKS))
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0)
    given = parser.parse_args()
    for name in given.models:
        with Model(name, threads=given.threads) as model:
            asked, counts = check(
                model,
                given.most,
                max_tokens=given.max_tokens,
                temperature=given.temperature,
                seed=1,
            )
        print(f"{name}: {counts['right']} of {asked} right; {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
