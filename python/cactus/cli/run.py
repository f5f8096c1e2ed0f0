"""``cactus run``: a chat, or one answer to a prompt."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_chat
from cactus.cli.options import (
    Real,
    Whole,
    activations_option,
    image_options,
    kv_option,
    max_tokens_option,
    offline_option,
    resident_option,
    threads_option,
)
from cactus.cli.text import note, printable, whole_characters
from cactus.errors import CactusError, InvalidRequest, ModelNotFound
from cactus.weights.catalog import STARTER

if TYPE_CHECKING:
    from cactus.cloud.cloud import Cloud
    from cactus.engine.loaded import Loaded

log = logging.getLogger(__name__)

SETTINGS = (
    "sampling", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "repetition_window", "presence_penalty", "frequency_penalty", "stop_loops", "seed",
    "max_tokens", "stop", "thinking", "max_tiles", "max_image_tokens", "frames", "overflow",
    "wrap", "history", "quiet",
)  # fmt: skip
"""The options that /set changes in a chat."""


@click.command("run", short_help="Chat with a model.")
@click.argument("model", required=False, shell_complete=complete_chat)
@click.argument("words", nargs=-1, metavar="[PROMPT]...")
@click.option(
    "--prompt", "-p", help="Print one answer and leave; '-' takes standard input as the prompt."
)
@click.option(
    "--image",
    "-i",
    "images",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="An image that the prompt is about, or a PDF or a video, for a model that can see; may be "
    "repeated.",
)
@image_options
@click.option("--system", "-s", help="The system message: what the model is told first.")
@max_tokens_option
@click.option(
    "--temperature",
    type=Real(0),
    metavar="X",
    help="0 takes the likeliest token each time; higher values vary more.  "
    "[default: the model's own, as of --top-p and so on]",
)
@click.option(
    "--greedy",
    "sampling",
    flag_value="greedy",
    default="model",
    type=click.Choice(["model", "greedy"]),
    help="Take the likeliest token each time, whatever the model's makers recommend.",
)
@click.option(
    "--top-p",
    type=Real(0, 1),
    metavar="X",
    help="Sample from the likeliest tokens that have this probability together.",
)
@click.option(
    "--top-k",
    type=Whole(0),
    metavar="N",
    help="Sample from this many of the likeliest tokens; 0 is off.",
)
@click.option(
    "--min-p",
    type=Real(0, 1),
    metavar="X",
    help="Drop tokens with less than this share of the likeliest one's probability.",
)
@click.option(
    "--repetition-penalty",
    type=float,
    metavar="X",
    help="Above 1 the model repeats itself less, and what it was told.",
)
@click.option(
    "--repetition-window",
    type=Whole(1),
    metavar="N",
    help="Tokens that --repetition-penalty looks back on.  [default: all]",
)
@click.option(
    "--presence-penalty",
    type=float,
    metavar="X",
    help="Above 0 the model uses a token less once the answer has it.",
)
@click.option(
    "--frequency-penalty",
    type=float,
    metavar="X",
    help="Above 0 the model uses a token less, the more often the answer has it.",
)
@click.option(
    "--stop-loops/--no-stop-loops",
    default=True,
    help="End an answer that only repeats itself.  [default: on]",
)
@click.option("--seed", type=int, metavar="N", help="Makes sampling repeatable.")
@click.option("--stop", multiple=True, help="End an answer before this text; may be repeated.")
@click.option(
    "--think/--no-think",
    "thinking",
    default=None,
    help="Whether the model thinks before it answers.  [default: as the model does]",
)
@click.option(
    "--tools",
    "tools_file",
    metavar="FILE.py",
    help="Functions that the model may call; each call is shown, and asked for.",
)
@click.option(
    "--mcp",
    "servers",
    multiple=True,
    metavar="COMMAND",
    help="A program that speaks MCP, or an http(s) address: the model may call its tools; each "
    "call is shown, and asked for. May be repeated.",
)
@click.option(
    "--allow-tool",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Run the calls of this tool without asking; may be repeated.",
)
@click.option(
    "--docs",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Answer from the documents in this folder, and show which passages say so.",
)
@click.option("--yes", "-y", is_flag=True, help="Run the calls of --tools without asking.")
@click.option(
    "--schema", "schema_file", metavar="FILE.json", help="Answer with JSON that fits this schema."
)
@threads_option
@click.option(
    "--context",
    type=Whole(1),
    metavar="N",
    help="Most tokens of the whole conversation.  [default: the model's own limit]",
)
@click.option(
    "--context-overflow",
    "overflow",
    type=click.Choice(["stop", "roll"]),
    default="stop",
    show_default=True,
    help="Where a chat fills the context: stop says so, roll forgets the oldest turns.",
)
@kv_option
@activations_option
@resident_option
@click.option(
    "--draft",
    metavar="SMALL",
    shell_complete=complete_chat,
    help="A smaller model of the same vocabulary, which guesses what MODEL says: the same answers, "
    "sooner.",
)
@click.option(
    "--confidence-threshold",
    type=Real(0, 1),
    metavar="X",
    help="An answer that the model is less sure of is handed off: to --cloud, or else with exit "
    "status 1.  [default: off; 0.7 with --cloud]",
)
@click.option(
    "--cloud",
    "ask_cloud",
    is_flag=True,
    help="Where it is less sure, ask the model of 'cactus auth', and send it the conversation.",
)
@offline_option
@click.option("--quiet", "-q", is_flag=True, help="Print the answers only, no thoughts or speeds.")
@click.option(
    "--wrap/--no-wrap", default=True, help="Break lines between words on a terminal.  [default: on]"
)
@click.option(
    "--history/--no-history",
    default=lambda: not os.environ.get("CACTUS_NO_HISTORY"),
    help="Keep messages for the next chats, readable by you only.  [default: on]",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    words: tuple[str, ...],
    prompt: str | None,
    images: tuple[str, ...],
    system: str | None,
    tools_file: str | None,
    servers: tuple[str, ...],
    allowed: tuple[str, ...],
    docs: Path | None,
    yes: bool,
    schema_file: str | None,
    threads: int | None,
    context: int | None,
    kv: str | None,
    activations: str | None,
    resident: bool,
    draft: str | None,
    ask_cloud: bool,
    offline: bool,
    quiet: bool,
    wrap: bool,
    history: bool,
    overflow: str,
    frames: int | None,
    **options: Any,
) -> None:
    """Chat with MODEL: a name, a Hugging Face id, a folder or a .gguf file.

    Without MODEL it is the starter model, with --image one that can see; it is fetched the first
    time. With a PROMPT, or --prompt, or text that is piped in, there is one answer; piped text
    stands before the prompt.

    \b
    cactus run                                  chat
    cactus run "What is a cactus?"              one answer of the starter model
    cactus run MODEL "What is a cactus?"        one answer of MODEL
    cactus run -p "Sum this up." < notes.txt    one answer about a text
    cactus run -i cat.jpg "What is this?"       one answer about an image

    In the chat, Ctrl-C stops an answer and a second Ctrl-C leaves; /help lists the commands.
    """
    from cactus.cli.functions import Gate, open_tools
    from cactus.cli.images import is_image_file, load_images
    from cactus.cli.models import find_or_fetch, find_seeing
    from cactus.cli.prompt import prompt_of

    if options["sampling"] == "greedy" and options["temperature"]:
        raise click.UsageError("--greedy and --temperature exclude each other.")
    if offline and ask_cloud:
        raise click.UsageError("--offline and --cloud exclude each other.")
    cloud = _find_cloud() if ask_cloud else None
    if (tools_file or servers) and schema_file:
        name = "--tools" if tools_file else "--mcp"
        raise click.UsageError(f"{name} and --schema exclude each other.")
    tools, unasked = open_tools(ctx, tools_file, servers, allowed, yes=yes, quiet=quiet)
    if tools:  # one call at a time is asked for; and small models repeat one in an answer
        options["parallel_tool_calls"] = False
    if schema_file:
        options["schema"] = _schema(schema_file)
        wrap = False  # a line that is broken inside a string is not JSON
    if model is not None and not words and _is_a_prompt(model):
        words, model = (model,), None
    for word in words:
        if is_image_file(word):
            note(f"{word} is read as text here; --image {word} shows it")
    if model is not None and is_image_file(model):
        raise click.UsageError(
            f"{model} is not a model; an image is shown with --image {model}, and then a prompt."
        )
    tell = None if quiet else note
    attached = [image for file in images for image in load_images(file, frames, tell)]
    folder = (
        find_seeing(model, offline=offline) if attached else _find_chatting(model, words, offline)
    )
    small = None if draft is None else find_or_fetch(draft, offline=offline, ability="chat")
    asked = prompt_of(words, prompt)
    # What was not given keeps the default of the library.
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    if "stop" in chosen:
        chosen["stop"] = list(chosen["stop"])

    from cactus.cli.progress import Late

    with Late(f"loading {folder.name} ...", quiet=quiet):
        from cactus.cli.chat import Chat, Manner
        from cactus.cli.conversation import Conversation
        from cactus.cli.talk import talk
        from cactus.engine.loading import load
        from cactus.model import Model

        began = time.perf_counter()
        # Not Model(folder), which takes a speech model, too.
        engine = load(
            folder, threads=threads, context=context, kv=kv, activations=activations, preload=True,
            resident=resident, draft=small,
        )  # fmt: skip
    log.info(
        "loaded %s (%s, context %d, %s threads%s) in %.2f s",
        engine.name, engine.architecture, engine.context_length, threads or "default",
        "" if engine.draft is None else f", draft {engine.draft.name}",
        time.perf_counter() - began,
    )  # fmt: skip
    with Model.from_engine(engine, cloud, docs) as loaded:
        if schema_file:
            _check_schema(schema_file, options["schema"], engine)
        if tools and not quiet:
            _tell_of_tools(engine)
        chat = Chat(
            loaded,
            Path(folder),
            Conversation(system and whole_characters(system)),
            chosen,
            Manner(quiet, wrap, history, overflow, frames),
            chat_settings(),
            tools,
            Gate(loaded.stop, yes=yes and not servers, quiet=quiet, unasked=unasked),
            calibrated=engine.calibration is not None,
            sees="see" in engine.abilities,
            attached=attached,
        )
        if asked is not None:
            ctx.exit(chat.answer_once(asked))
        if not quiet:
            note(f"{printable(loaded.name)}: /help lists the commands, Ctrl-C stops an answer")
        ctx.exit(talk(chat))


def _find_cloud() -> Cloud:
    """What `cactus auth` has set up. Raises CloudError, and a usage error where there is none."""
    from cactus.cloud.cloud import Cloud
    from cactus.cloud.store import is_forbidden

    found = Cloud.find()
    if found is None:
        raise click.UsageError("--cloud: there is none; 'cactus auth' sets one up.")
    if is_forbidden():
        raise click.UsageError("--cloud: CACTUS_NO_CLOUD is set, which forbids it.")
    return found


def chat_settings() -> dict[str, click.Option]:
    """The options that can be changed in a chat, by their names there."""
    options = {str(p.name): p for p in command.params if isinstance(p, click.Option)}
    return {name: options[name] for name in SETTINGS}


def _schema(file: str) -> dict[str, Any]:
    """The JSON schema in a file, or a usage error."""
    from cactus.grammar.formats import read_schema

    try:
        return read_schema(file)
    except CactusError as error:
        raise click.UsageError(f"--schema {error}.") from None


def _check_schema(file: str, schema: dict[str, Any], engine: Loaded) -> None:
    """A usage error that names the file where no grammar can be made of it."""
    from cactus.grammar.formats import schema_option
    from cactus.grammar.schema import grammar_of

    try:
        grammar_of(schema_option("schema", schema), engine.grammars)
    except InvalidRequest as error:
        raise click.UsageError(f"--schema {file}: {str(error).removeprefix('schema: ')}") from None


def _tell_of_tools(engine: Loaded) -> None:
    """Say where a model is told of tools in another way than its own."""
    template = engine.template
    if not isinstance(template, CactusError) and not template.renders_tools:
        note(
            f"The chat template of {engine.name} does not know tools: the system message lists "
            "them, and the model may not call them as it should."
        )


def _find_chatting(model: str | None, words: tuple[str, ...], offline: bool) -> Path:
    """The folder of the model, fetched where it must be; None is the starter model.

    Where the first word names none, the error says how all of them would be a prompt.
    """
    from cactus.cli.models import find_or_fetch
    from cactus.weights import locate, names

    try:
        return find_or_fetch(model or STARTER.name, offline=offline, ability="chat")
    except ModelNotFound as error:
        if model is None or locate.is_path(model) or names.parse_hub_name(model) is not None:
            raise
        asked = printable(" ".join((model, *words)))
        if len(asked) > 60:
            asked = "..."
        raise ModelNotFound(f'{error}; to ask {STARTER.name}: cactus run -p "{asked}"') from None


def _is_a_prompt(text: str) -> bool:
    """Whether the only argument is a question and not a model: it has spaces and names nothing."""
    from cactus.weights import locate

    return (
        len(text.split()) > 1
        and not Path(text).expanduser().exists()
        and not locate.is_path(text)
        and locate.find_named(text) is None
    )
