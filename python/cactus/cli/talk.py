"""The conversation of ``cactus run``: messages and commands, until the user leaves."""

from __future__ import annotations

from functools import partial

from cactus.cli import slash
from cactus.cli.chat import Chat
from cactus.cli.lines import PROMPT, LineReader
from cactus.cli.process import INTERRUPTED
from cactus.cli.text import counted, note


def talk(chat: Chat) -> int:
    """Reads messages until the user leaves; the exit status."""
    chat.check_thinking(chat.options.get("thinking"))
    read = LineReader(chat.history, partial(slash.completions, chat))
    interrupted = False  # by Ctrl-C, with nothing said since
    while True:
        read.history = chat.history
        count = len(chat.attached)
        read.prompt = f"[{counted(count, 'image')}] {PROMPT}" if count else PROMPT
        try:
            text = read()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            if interrupted:
                return INTERRUPTED
            interrupted = True
            note("Ctrl-C once more leaves; /help lists the commands.")
            continue
        interrupted = False
        try:
            if text.strip() and not slash.run_command(chat, text):
                completion = chat.say(text)
                interrupted = completion is not None and completion.finish_reason == "cancelled"
        except slash.Leave:
            return 0
