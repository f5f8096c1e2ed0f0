"""Tiny models with random weights, one of each architecture, for forced_calls.py.

    python benchmarks/forced_tiny.py FOLDER

Each gets the chat template of another family's calls, so that every form is written by noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from make_random_checkpoint import CHAT_TEMPLATE, write  # noqa: E402
from published_models import PUBLISHED, tiny  # noqa: E402

from cactus.weights.convert import convert  # noqa: E402

MARKS = (
    "<tool_call>",
    "<|tool_call_start|>",
    "<|tool_call|>",
    "<|tool_call|> <|/tool_call|>",
    "<start_function_call>",
    "<function= <parameter=",
    "python_tools <code>",
    '"parameters": ipython',
    "",
)
"""What a template has by which its form of calls is known."""


def write_all(folder: Path) -> list[Path]:
    """The weights folders of all architectures that write text."""
    found: dict[str, Path] = {}
    for each in PUBLISHED:
        kind = each.config["model_type"]
        if kind in found:
            continue
        checkpoint = folder / f"{kind}-checkpoint"
        config = tiny(each.config) | {"max_position_embeddings": 4096}
        write(config, checkpoint, seed=len(found))
        settings = checkpoint / "tokenizer_config.json"
        values = json.loads(settings.read_text("utf-8"))
        mark = MARKS[len(found) % len(MARKS)]
        values["chat_template"] = "{# " + mark + " #}" + CHAT_TEMPLATE
        settings.write_text(json.dumps(values), "utf-8")
        found[kind] = folder / kind
        convert(checkpoint, found[kind], "INT8")
    return list(found.values())


if __name__ == "__main__":
    print(*write_all(Path(sys.argv[1])), sep="\n")
