"""The chat of `cactus run --tools` with a model that calls get_weather; run by test_tools_chat.py.

Arguments: the folder of a model, to be shown, and the file of the tools.
"""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path

from cactus.cli import commands
from cactus.cli import main as cli
from cactus.cli.chat import Chat, Manner
from cactus.cli.functions import Gate, load_tools
from cactus.cli.run import chat_settings
from cactus.cli.talk import talk
from cactus.model import Model
from tests.generate.scripted import END, scripted_engine

CALL = {"name": "get_weather", "arguments": {"city": "Rome"}}


def script(history: list[int], answered: int) -> int:
    """Calls the tool; once it has a result, says what that is.

    Asked to wait, it calls once something was typed.
    """
    asked = bytes(history[: len(history) - answered])
    told = asked.rpartition(b"\nu:")[2].partition(b"\nt:")[2].partition(b"\n")[0]
    if not told and b"\nu:Wait" in asked:
        select.select([sys.stdin], [], [], 20)
    says = b"I was told: " + told if told else f"<tool_call>{json.dumps(CALL)}</tool_call>".encode()
    return says[answered] if answered < len(says) else END


if __name__ == "__main__":
    model = Model.from_engine(scripted_engine(script, context=20_000, chunk=512))
    chat = Chat(
        model,
        Path(sys.argv[-2]),
        manner=Manner(history=False),
        settings=chat_settings(),
        tools=load_tools(sys.argv[-1]),
        gate=Gate(model.stop, yes="--yes" in sys.argv, quiet=False),
    )
    commands.cactus.invoke = lambda context: context.exit(talk(chat))
    sys.exit(cli.run_cli(["run"]))
