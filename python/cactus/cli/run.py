"""``cactus run``: a chat, or one answer with --prompt."""

from __future__ import annotations

import sys
from typing import Any

import click

from cactus.cli.options import activations_option, kv_option, threads_option
from cactus.cli.text import printable, whole_characters
from cactus.weights.catalog import STARTER


@click.command("run", short_help="Chat with a model.")
@click.argument("model", default=STARTER.name)
@click.option("--prompt", "-p", help="Print one answer and leave; '-' reads it from stdin.")
@click.option("--system", "-s", help="What the model is told before the conversation.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    default=512,
    show_default=True,
    help="Tokens at most in an answer.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="X",
    default=0.0,
    show_default=True,
    help="0 takes the likeliest token each time; higher varies more.",
)
@click.option(
    "--top-p", type=click.FloatRange(0, 1), metavar="X", help="Sample from this much probability."
)
@click.option("--top-k", type=click.IntRange(0), metavar="N", help="Sample from this many tokens.")
@click.option(
    "--min-p", type=click.FloatRange(0, 1), metavar="X", help="Drop what is this much less likely."
)
@click.option("--repetition-penalty", type=float, metavar="X", help="Above 1: repeat less.")
@click.option("--seed", type=int, metavar="N", help="Makes sampling repeatable.")
@click.option("--stop", multiple=True, help="End an answer before this text; may be repeated.")
@click.option(
    "--think/--no-think",
    "thinking",
    default=None,
    help="Whether the model thinks before it answers.  [default: as the model does]",
)
@threads_option
@click.option("--context", type=click.IntRange(1), metavar="N", help="Tokens to remember at most.")
@kv_option
@activations_option
@click.option("--offline", is_flag=True, help="Open no connection; the model must be here.")
@click.option("--quiet", "-q", is_flag=True, help="Print the answers only, no thoughts or speeds.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    prompt: str | None,
    system: str | None,
    threads: int | None,
    context: int | None,
    kv: str,
    activations: str,
    offline: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Chat with MODEL: a name, a Hugging Face id, a folder or a .gguf file.

    Without MODEL it is the starter model, which is fetched the first time. In the chat, Ctrl-C
    stops an answer and a second Ctrl-C leaves; /help shows the commands. Text that is piped in is
    answered once.
    """
    from cactus.cli.chat import Chat
    from cactus.cli.models import find_or_fetch

    folder = find_or_fetch(model, offline=offline)
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("The prompt is empty.")
    # What was not given keeps the default of the library.
    chosen = {name: value for name, value in options.items() if value not in (None, ())}
    if "stop" in chosen:
        chosen["stop"] = list(chosen["stop"])

    from cactus.engine import load_engine
    from cactus.model import Model

    # Not Model(folder), which takes a speech model, too.
    engine = load_engine(
        folder, threads=threads, context=context, kv=kv, activations=activations, preload=True
    )
    with Model.from_engine(engine) as loaded:
        chat = Chat(loaded, system=system and whole_characters(system), options=chosen, quiet=quiet)
        if prompt is not None:
            ctx.exit(chat.answer_once(whole_characters(prompt)))
        click.echo(f"{printable(loaded.name)}  (/help for help, Ctrl-C stops an answer)")
        ctx.exit(chat.talk())
