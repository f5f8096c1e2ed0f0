"""How often a model calls the right tools with the right arguments: three sets of BFCL.

    python benchmarks/bfcl.py weights/qwen2.5-coder-0.5b-instruct            # 50 cases of each set
    python benchmarks/bfcl.py MODEL --force --count 400 --show

"simple" has one tool and one call, "multiple" several tools and one call, "parallel" several calls.
An answer is right if each call is of the expected tool and each argument is one of the possible
ones: the rule of BFCL's own checker for Python, where text is compared without spaces, case and
some punctuation, and an optional argument may be left out. The cases come from the package
``bfcl-eval``, which is fetched into the cache folder, and is no dependency.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from runner import cache_folder

from cactus import Completion, Model

PACKAGE = "bfcl-eval==2026.3.23"
AT_ONCE = 8
SETS = ("simple", "multiple", "parallel")
TYPES = {
    **{"string": str, "any": str, "integer": int, "float": float, "boolean": bool},
    **{"array": list, "tuple": list, "dict": dict},
}
SCHEMA_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


class Case(NamedTuple):
    """A question with the tools that it may need, and for each call the possible arguments."""

    id: str
    messages: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    expected: list[dict[str, dict[str, list[Any]]]]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The functions as tools, with the types of JSON schema."""
        return [json_schema(function) for function in self.functions]


def json_schema(value: Any) -> Any:
    """A description with the names of JSON schema for types; "any" is no type at all."""
    if isinstance(value, list):
        return [json_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: json_schema(item) for key, item in value.items()}
    kind = changed.get("type")
    if isinstance(kind, str):
        changed["type"] = SCHEMA_TYPES.get(kind, kind)
        if kind == "any":
            del changed["type"]
    return changed


def cases(name: str, count: int) -> list[Case]:
    """The first `count` cases of a set."""
    with zipfile.ZipFile(wheel()) as archive:
        wanted = re.compile(rf"/BFCL_v\d+_{name}(_python)?\.json$")
        paths = [path for path in archive.namelist() if wanted.search(path)]
        asked = next(path for path in paths if "possible_answer" not in path)
        answers = next(path for path in paths if "possible_answer" in path)
        lines = [archive.read(path).decode().splitlines() for path in (asked, answers)]
    expected = {row["id"]: row["ground_truth"] for row in map(json.loads, lines[1])}
    rows = map(json.loads, lines[0][:count])
    return [Case(r["id"], r["question"][0], r["function"], expected[r["id"]]) for r in rows]


def wheel() -> Path:
    """The package, fetched once."""
    folder = cache_folder() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    name = PACKAGE.replace("-", "_").replace("==", "-")
    found = sorted(folder.glob(f"{name}*.whl"))
    if not found:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "-d", str(folder), PACKAGE], check=True)
        found = sorted(folder.glob(f"{name}*.whl"))
    return found[0]


def is_right(case: Case, calls: list[dict[str, Any]]) -> bool:
    """Whether each expected call is among `calls`, and no other; their order is free."""
    left = list(calls)
    if len(left) != len(case.expected):
        return False
    functions = {function["name"]: function for function in case.functions}
    for expected in case.expected:
        ((name, possible),) = expected.items()
        match = (call for call in left if is_call(functions[name], possible, call))
        found = next(match, None)
        if found is None:
            return False
        left.remove(found)
    return True


def is_call(function: dict[str, Any], possible: dict[str, list[Any]], call: dict[str, Any]) -> bool:
    """Whether a call is of this function, with arguments that are possible."""
    given, parameters = call["arguments"], function["parameters"]
    if call["name"] != function["name"] or any(k not in given for k in parameters["required"]):
        return False
    if any("" not in values for key, values in possible.items() if key not in given):
        return False
    return all(
        key in possible
        and key in parameters["properties"]
        and is_value(parameters["properties"][key], possible[key], value)
        for key, value in given.items()
    )


def is_value(schema: dict[str, Any], possible: list[Any], value: Any) -> bool:
    """Whether an argument is one of the possible ones, and of the type that is declared."""
    kind = TYPES[schema["type"]]
    inner = TYPES[schema["items"]["type"]] if schema["type"] in ("array", "tuple") else None
    if kind is float and type(value) is int:
        value = float(value)
    other = next((type(each) for each in possible if each != ""), kind)
    if type(value) not in (kind, other):
        return False
    if type(value) is not kind or other is not kind:  # a variable where a value is declared
        return value in possible
    if kind is dict:
        return any(is_object(each, value) for each in possible if each != "")
    if kind is list and inner is dict:
        return any(
            len(each) == len(value) and all(map(is_object, each, value))
            for each in possible
            if each != ""
        )
    if inner is not None and not all(
        type(item) in (inner, _first_type(possible)) for item in value
    ):
        return False
    return plain(value) in [plain(each) for each in possible]


def _first_type(possible: list[Any]) -> Any:
    return next((type(each[0]) for each in possible if each and isinstance(each, list)), None)


def is_object(possible: Any, value: Any) -> bool:
    """Whether an object has possible values only, and all that must be there."""
    if not isinstance(value, dict) or not isinstance(possible, dict):
        return False
    return all("" in possible[key] for key in possible if key not in value) and all(
        key in possible and plain(item) in [plain(each) for each in possible[key]]
        for key, item in value.items()
    )


def plain(value: Any) -> Any:
    """Text without what BFCL does not look at."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')


def ask(model: Model, asked: list[Case], force: bool, max_tokens: int) -> list[Completion]:
    """The model's answers. Each case has tools of its own; calls in threads share the steps."""
    options: dict[str, Any] = {"force_tools": True} if force else {}

    def answer(case: Case) -> Completion:
        return model.chat(case.messages, tools=case.tools, max_tokens=max_tokens, **options)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = []
        for done in threads.map(answer, asked):
            answers.append(done)
            print(f"\r{len(answers)}/{len(asked)}", end="", flush=True, file=sys.stderr)
    print("\r", end="", file=sys.stderr)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--force", action="store_true", help="with force_tools")
    parser.add_argument("--show", action="store_true", help="print what is wrong")
    arguments = parser.parse_args()
    with Model(arguments.model) as model:
        for name in arguments.sets.split(","):
            asked = cases(name, arguments.count)
            answers = ask(model, asked, arguments.force, arguments.max_tokens)
            right = [
                is_right(c, list(a.function_calls)) for c, a in zip(asked, answers, strict=True)
            ]
            called = sum(bool(answer.function_calls) for answer in answers)
            print(f"{name}: {sum(right)}/{len(right)} right, {called} with calls")
            for case, answer, fine in zip(asked, answers, right, strict=True):
                if arguments.show and not fine:
                    print(f"  {case.id}: {case.messages[-1]['content']}")
                    print(f"    expected {json.dumps(case.expected)}")
                    print(f"    got {json.dumps(answer.function_calls)}, text {answer.text!r}")


if __name__ == "__main__":
    main()
