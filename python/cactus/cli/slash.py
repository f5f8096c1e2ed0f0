"""The commands of a chat, which begin with a slash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from cactus.cli.chat import Chat
from cactus.cli.conversation import Conversation, Question
from cactus.cli.documents import show_hit
from cactus.cli.images import PATHS, by_file, listed
from cactus.cli.pasted import files_of
from cactus.cli.show import describe, render
from cactus.cli.text import counted, message_of, note, printable, table, whole_characters
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import one_line


@dataclass(frozen=True)
class Slash:
    """A command: how it is written, what it does, and the function that gets what stands behind."""

    usage: str
    help: str
    run: Callable[[Chat, str], None]


class Leave(Exception):
    """Raised by the command that ends the chat."""


def run_command(chat: Chat, line: str) -> bool:
    """Runs the command that a line is; False if it is not a command but a message."""
    if "\n" in line.strip() or not line.startswith("/"):
        return False
    name, _, rest = line[1:].strip().partition(" ")
    if name != "?" and not name.isalpha():  # a path, a comment, a regular expression
        return False
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None:
        close = get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
        advice = f"did you mean /{close[0]}? " if close else ""
        note(f"There is no command /{printable(name)}: {advice}/help lists the commands.")
        return True
    try:
        command.run(chat, rest.strip())
    except (CactusError, OSError) as error:
        note(message_of(error))
    except click.BadParameter as error:
        note(f"/{name} {printable(rest.strip())}: {error.message}")
    return True


def completions(chat: Chat, text: str) -> Sequence[str]:
    """What Tab offers for the beginning of a line."""
    if text.startswith("/set "):
        start = text.removeprefix("/set ")
        return [f"/set {name} " for name in chat.settings if name.startswith(start)]
    if text.startswith("/show "):
        return [f"/show {what}" for what in SHOWN if what.startswith(text.removeprefix("/show "))]
    if text.startswith(("/save ", "/load ")):
        return _paths(text[:6], text[6:])
    if text.startswith("/image "):
        # What has begun in quotes or with backslashes goes on without, as /image takes it.
        start = text.removeprefix("/image ").lstrip("'\"").replace("\\", "")
        return _paths("/image ", start, PATHS)
    return [f"/{name}" for name in COMMANDS if f"/{name}".startswith(text)] if text else []


def _paths(command: str, start: str, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    path = Path(start).expanduser()
    folder = path if start.endswith("/") else path.parent
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        f"{command}{entry}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if str(entry).startswith(str(path)) and not entry.name.startswith(".")
        if entry.is_dir() or entry.name.lower().endswith(suffixes)
    ]


def _leave(chat: Chat, rest: str) -> None:
    raise Leave


def _help(chat: Chat, rest: str) -> None:
    print(table([*((command.usage, command.help) for command in COMMANDS.values()), *KEYS]))


KEYS = (
    ("Ctrl-C", "stop the answer; once more: leave"),
    ("Up, Down", "earlier messages"),
    ("Tab", "complete a command, a setting or a file"),
    ('"""', 'begin and end a message of several lines; a line that ends with "\\" goes on, too'),
)


def _reset(chat: Chat, rest: str) -> None:
    chat.forget()
    note("The conversation is forgotten.")


def _undo(chat: Chat, rest: str) -> None:
    if chat.attached:
        last = by_file(chat.attached)[-1]
        del chat.attached[-len(last) :]
        note(f"No longer attached: {listed(last)}")
        return
    if not chat.conversation.turns:
        note("There is nothing to take back.")
        return
    question, _ = chat.conversation.turns.pop()
    note(f"Taken back: {_short(question)}")


def _retry(chat: Chat, rest: str) -> None:
    if not chat.conversation.turns:
        note("There is nothing to ask again.")
        return
    question, answer = chat.conversation.turns.pop()
    if not chat.answer(question):
        chat.conversation.turns.append((question, answer))


def _system(chat: Chat, rest: str) -> None:
    if not rest:
        print(printable(chat.conversation.system or "No system message. /system TEXT sets one."))
        return
    chat.conversation.system = None if rest in ('""', "none") else whole_characters(rest.strip('"'))
    note("The system message is set." if chat.conversation.system else "No system message now.")


def _think(chat: Chat, rest: str) -> None:
    _set(chat, f"thinking {rest or 'on'}")


def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.removeprefix("parameter ").strip().partition(" ")
    if not name:
        print(table([(name, chat.setting(name)) for name in chat.settings]))
        return
    name, value = _as_ours(name.replace("-", "_"), value.strip())
    if name == "system":
        _system(chat, value)
        return
    settings = chat.settings
    if name not in settings:
        close = get_close_matches(name, settings, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(settings)}"
        raise InvalidRequest(f"there is no setting {short(name)}: {advice}")
    option = settings[name]
    if not value:
        print(f"{name}  {chat.setting(name)}")
    elif value == "default":
        chat.set(name, None)
        note(f"{name}: {chat.setting(name)}")
    else:
        chosen: Any = option.type.convert(value, None, None)
        chat.set(name, [chosen] if option.multiple else chosen)
        note(f"{name}: {chat.setting(name)}")


def _as_ours(name: str, value: str) -> tuple[str, str]:
    """The setting that is meant where another program's name for it is given."""
    switches = {
        "history": ("history", "on"), "nohistory": ("history", "off"),
        "wordwrap": ("wrap", "on"), "nowordwrap": ("wrap", "off"),
        "quiet": ("quiet", "on"), "verbose": ("quiet", "off"),
        "think": ("thinking", "on"), "nothink": ("thinking", "off"),
    }  # fmt: skip
    if name in switches and not value:
        return switches[name]
    names = {
        "num_predict": "max_tokens", "repeat_penalty": "repetition_penalty", "think": "thinking",
        "wordwrap": "wrap", "context_overflow": "overflow",
    }  # fmt: skip
    return names.get(name, name), value


SHOWN = ("info", "parameters", "system", "template", "license")


def _show(chat: Chat, rest: str) -> None:
    what = rest or "info"
    if what == "system":
        _system(chat, "")
    elif what == "parameters":
        _set(chat, "")
    elif what in SHOWN:
        facts = describe(chat.folder)
        if what == "info":
            print(render(facts))
        else:
            print(printable(str(facts.get(what) or f"The model's folder has no {what}.")))
    else:
        raise InvalidRequest(f"there is no /show {short(what)}; there are {', '.join(SHOWN)}")


def _save(chat: Chat, rest: str) -> None:
    if not rest:
        raise InvalidRequest("/save FILE: a name for the file is missing")
    file = Path(rest).expanduser()
    try:
        chat.conversation.save(file, chat.name)
    except FileExistsError:
        raise InvalidRequest(f"{file} is there already; choose another name") from None
    note(f"Saved to {file}; /load {rest} goes on from here.")


def _load(chat: Chat, rest: str) -> None:
    if not rest:
        raise InvalidRequest("/load FILE: which file that /save wrote?")
    file = Path(rest).expanduser()
    if not file.exists():
        raise InvalidRequest(
            f"{file} does not exist; another model is started with: cactus run {rest}"
        )
    chat.conversation = Conversation.load(file)
    count = len(chat.conversation.turns)
    note(f"Loaded {counted(count, 'turn')}; the last: {_last(chat)}")


def _docs(chat: Chat, rest: str) -> None:
    corpus = chat.model.corpus
    if corpus is None:
        raise InvalidRequest(
            "this chat has no documents; cactus run MODEL --docs DIR gives it some"
        )
    if not rest:
        files, chunks = counted(corpus.files, "file"), counted(corpus.chunks, "chunk")
        print(printable(f"{corpus.folder}: {files}, {chunks}; found with {corpus.embedder}"))
        return
    hits = corpus.search(whole_characters(rest))
    for hit in hits:
        show_hit(corpus, hit)
    if not hits:
        note(f"Nothing in {corpus.chunks:,} chunks is similar enough.")


def _image(chat: Chat, rest: str) -> None:
    if rest:
        chat.attach(files_of(rest))
        return
    asked, attached = chat.conversation.images, chat.attached
    if asked:
        print("asked about: " + printable(listed(asked)))
    if attached:
        print("for the next question: " + printable(listed(attached)))
    if not asked and not attached:
        print("No images. /image FILE attaches one, and so does a path that is pasted.")


def _last(chat: Chat) -> str:
    turns = chat.conversation.turns
    return _short(turns[-1][0]) if turns else "none"


def _short(question: Question) -> str:
    line = question.text
    if question.images:
        line = f"{listed(question.images)}: {line}"
    return one_line(line, 60)


COMMANDS = {
    "help": Slash("/help, /?", "list these", _help),
    "set": Slash("/set [NAME VALUE]", "show the settings, or change one", _set),
    "show": Slash("/show [WHAT]", f"show the model: {', '.join(SHOWN)}", _show),
    "system": Slash("/system [TEXT]", "show or set what the model is told first", _system),
    "think": Slash("/think [on|off]", "whether the model thinks before it answers", _think),
    "retry": Slash("/retry", "ask the last message again", _retry),
    "undo": Slash("/undo", "take the last message and its answer back", _undo),
    "reset": Slash("/reset, /clear", "forget the conversation", _reset),
    "image": Slash(
        "/image [FILE]",
        "show an image, PDF or video with the next message, or list them",
        _image,
    ),
    "docs": Slash("/docs [QUERY]", "show the documents, or search them", _docs),
    "save": Slash("/save FILE", "write the conversation to a file", _save),
    "load": Slash("/load FILE", "go on with a conversation from a file", _load),
    "bye": Slash("/bye, /exit", "leave (Ctrl-D, too)", _leave),
}

ALIASES = {
    "?": "help", "clear": "reset", "exit": "bye", "quit": "bye", "regenerate": "retry",
    "images": "image",
}  # fmt: skip
